"""`tmelink shell [NAME]`: the language in a running lab, line by line, with history and completion.

prompt_toolkit gives the line its comfort, where it is installed (`pip install tmelink[tui]`); without it, or
where no terminal is there, lines are read as they come.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tmelink import registry
from tmelink.cli import exec as execute
from tmelink.cli import labs, streams
from tmelink.control import Client, ControlError
from tmelink.tmesh.statements import RESERVED

NAME = "shell"
HELP = "type statements of the language into a running lab"
EPILOG = labs.epilog(
    ("tmelink shell lab", "end it with 'exit' or Ctrl-D"),
    ("tmelink shell lab < more.conf", "run a file; if it has a mistake, nothing changes"),
)

LEAVING = ("exit", "quit")

WORDS = sorted(RESERVED | {"disconnect", "exit", "help"})

BRIEF = """\
  NAME at OTHER: MODULE ARGUMENTS   a new element, connected
  connect NAME at OTHER             another connection; disconnect NAME [at OTHER] removes it
  rm NAME                           end an element
  NAME WORDS                        a command of an element, such as 'le0 ping 10.0.77.2'
  log NAME LEVEL                    how much it logs: debug, info, warning, error, default
  ls [-alR] [PATH], cd, mkdir, mv, alias, source FILE   as in a file
  exit                              leave; the lab keeps running"""


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser)


def main(options: argparse.Namespace) -> int:
    with labs.control(options) as lab:
        if streams.is_terminal():
            return _converse(lab, _lines(lab))
        execute.tell(execute.run(lab, _until_exit(streams.read()), "/"))
    return 0


def _until_exit(text: str) -> str:
    """The prefix of a line that would leave a conversation."""
    lines = text.splitlines(keepends=True)
    return "".join(itertools.takewhile(lambda line: line.strip() not in LEAVING, lines))


def _converse(lab: Client, lines: Callable[[str], str]) -> int:
    directory = "/"
    while True:
        try:
            line = lines(f"{lab.lab.name}:{directory}> ").strip()
        except EOFError:
            return 0
        except KeyboardInterrupt:
            continue
        if line in LEAVING:
            return 0
        if line == "help":
            print(BRIEF)
        elif line:
            try:
                done = execute.run(lab, line, directory)
            except ControlError as error:
                print(error, file=sys.stderr)
                if not lab.connected:
                    return 1
            else:
                execute.tell(done)
                directory = done["directory"]


def _lines(lab: Client) -> Callable[[str], str]:
    """What reads a line, given the prompt; raises `EOFError` at the end."""
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory
    except ImportError:
        return input
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "tmelink"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    session: Any = PromptSession(
        history=FileHistory(str(state / "history")),
        completer=WordCompleter(lambda: list(completions(lab)), sentence=False, WORD=True),
        complete_while_typing=False,
    )
    read: Callable[[str], str] = session.prompt
    return read


def completions(lab: Client) -> Iterator[str]:
    """Words that may come next: statements, elements, modules."""
    yield from WORDS
    try:
        yield from (element["name"] for element in lab.call("elements"))
    except ControlError:
        # The lab has ended: the next statement says so.
        return
    yield from registry.names()
