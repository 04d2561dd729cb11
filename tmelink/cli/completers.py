"""What the shell offers when somebody presses Tab: running labs, their elements, the hosts of a file.

argcomplete knows the shells; this module knows the names. A command declares what an argument is with
`offer`, and the functions here look the names up at that moment. What cannot be looked up is not offered.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tmelink.errors import TmelinkError

Names = Mapping[str, str]
"""The possible words, each with a short description."""

Completer = Callable[..., Names]

ASKED = "_ARGCOMPLETE"
"""The variable by which argcomplete's shell functions ask the program."""


def offer(action: argparse.Action, completer: Completer) -> None:
    """Let `completer` say what the argument of `action` may be."""
    action.completer = completer  # type: ignore[attr-defined]


def asked_words() -> list[str] | None:
    """The complete words after the program's name, if a shell asks what may follow; otherwise None."""
    if ASKED not in os.environ:
        return None
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 0)]
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    if not line.endswith(" "):
        # The last one is still being typed.
        words = words[:-1]
    return words[1:]


def answer(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what may follow, and end the process."""
    try:
        import argcomplete
    except ModuleNotFoundError:
        raise SystemExit(1) from None
    argcomplete.autocomplete(parser, always_complete_options="long")


def labs(**_: Any) -> Names:
    """The labs that run."""
    from tmelink.control import running

    return {lab.name: lab.file for lab in running()}


def labs_and_files(prefix: str, **_: Any) -> Names:
    """The labs that run, and files."""
    return {**labs(), **files(prefix)}


def files(prefix: str, **_: Any) -> Names:
    """Files and folders that begin with `prefix`; a folder ends with a slash."""
    folder, slash, start = prefix.rpartition("/")
    try:
        found = sorted(os.scandir(Path((folder + slash) or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return {}
    return {
        folder + slash + entry.name + "/" * entry.is_dir(): ""
        for entry in found
        if entry.name.startswith(start) and (start or not entry.name.startswith("."))
    }


def elements(parsed_args: argparse.Namespace, **_: Any) -> Names:
    """The elements of the lab that the words before name, or of the only one that runs."""
    found = _ask(parsed_args, "elements")
    return {element["name"]: element["module"] for element in found}


def connections(parsed_args: argparse.Namespace, **_: Any) -> Names:
    """The connections of that lab, as `capture` takes them."""
    return {each["name"]: each["kind"] for each in _ask(parsed_args, "connections")}


def elements_of_file(parsed_args: argparse.Namespace, **_: Any) -> Names:
    """The elements of the machine file that the words before name."""
    return {element.path.lstrip("/"): element.module.text for element in _layout(parsed_args).elements}


def hosts(parsed_args: argparse.Namespace, **_: Any) -> Names:
    """The hosts of the machine file that the words before name."""
    return {name: host.address for name, host in _layout(parsed_args).hosts.items()}


def modules(**_: Any) -> Names:
    """What a machine file can create."""
    from tmelink import registry

    return dict.fromkeys(registry.names(), "")


def _ask(options: argparse.Namespace, method: str) -> Sequence[dict[str, Any]]:
    from tmelink.control import connect

    try:
        with connect(getattr(options, "name", None)) as lab:
            found: list[dict[str, Any]] = lab.call(method)
            return found
    except TmelinkError:
        return []


def _layout(options: argparse.Namespace) -> Any:
    from tmelink.tmesh.layout import Layout
    from tmelink.tmesh.source_file import read

    layout = Layout(lambda mistake: None)
    path = Path(str(getattr(options, "file", None) or getattr(options, "subject", None) or ""))
    try:
        layout.text(read(path), path.parent)
    except OSError:
        pass
    return layout
