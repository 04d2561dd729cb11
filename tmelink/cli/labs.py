"""What the commands that talk to a running lab share: its name, JSON, exit codes, words for times."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tmelink.cli import colours, completers
from tmelink.cli.examples import NO_LAB
from tmelink.cli.examples import epilog as examples_and_codes
from tmelink.control import Client, LabControl, connect
from tmelink.errors import TmelinkError


def epilog(*examples: tuple[str, str], more: str = "") -> str:
    """The end of the help of a command that needs a running lab."""
    return examples_and_codes(*examples, more=NO_LAB + more)


def declare(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add NAME and --json."""
    name = parser.add_argument(
        "name",
        metavar="NAME",
        nargs=None if required else "?",
        help="the lab's name, as 'tmelink ps' lists it" + ("" if required else " (the only one that runs)"),
    )
    completers.offer(name, completers.labs)
    parser.add_argument("--json", action="store_true", help="print JSON")


def declare_all_hosts(parser: argparse.ArgumentParser) -> None:
    """Add --all-hosts, with which `tmelink.cli.all_hosts` runs the command."""
    parser.add_argument(
        "--all-hosts",
        action="store_true",
        help="NAME is a deployed machine file: ask the lab on each of its hosts, over ssh",
    )


def control(options: argparse.Namespace) -> Client:
    """The lab that the options name; raises `NotRunning`."""
    return connect(options.name)


def connector(options: argparse.Namespace) -> Callable[[], LabControl]:
    """Connects to the lab that the options name, or with --all-hosts to those of a machine file's hosts."""
    if not options.all_hosts:
        return lambda: control(options)
    # Only then, since it knows all elements.
    from tmelink.deploy.all_labs import connector as to_all

    if options.name is None:
        raise TmelinkError("--all-hosts needs the deployed machine file in place of NAME")
    return to_all(Path(options.name))


def dump(value: Any) -> None:
    """Print JSON for a program, which a person can read too."""
    print(json.dumps(value, indent=2))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns below their heads; those at `right` are numbers. Colours do not count as width."""
    cells = [list(heads), *[list(row) for row in rows]]
    widths = [max(colours.width(row[i]) for row in cells) for i in range(len(heads))]
    lines = []
    for number, row in enumerate(cells):
        parts = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - colours.width(cell))
            parts.append(space + cell if i in right else cell + space)
        line = "  ".join(parts).rstrip()
        lines.append(colours.bold(line) if number == 0 else line)
    return "\n".join(lines)


def counted(count: int, what: str) -> str:
    """A number of things, in the singular if there is one."""
    return f"{count} {what}{'s' * (count != 1)}"


def ago(since: float) -> str:
    """How long ago a time in seconds since the epoch was, in two units at most."""
    seconds = max(0, int(time.time() - since))
    for size, unit, smaller, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{seconds} s"


def quantity(value: float | None, unit: str) -> str:
    """A number with a decimal prefix, three digits of it; `-` for None."""
    if value is None:
        return "-"
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 1000 or prefix == "G":
            break
        value /= 1000
    digits = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{digits} {prefix}{unit}"
