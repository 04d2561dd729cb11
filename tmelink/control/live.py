"""The language at a running lab: statements that only ask, and scripts that change what the file lays out.

Beside a file's statements there are `disconnect A [at B]` and `ELEMENT WORDS…`, which is short for `command
ELEMENT WORDS…`. A script is run over the layout of the lab's file, as if it stood at the end of that.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tmelink.element import Element
from tmelink.errors import MachineError, UnknownElement
from tmelink.machine import CheckedMachine, ElementCommand
from tmelink.source import Mistake, Place, Source, Word
from tmelink.tmesh import language
from tmelink.tmesh import statements as st
from tmelink.tmesh.directory import Directory
from tmelink.tmesh.layout import Layout
from tmelink.tmesh.statements import Statement

NAME = "<shell>"
"""What places in a script are called."""


class LiveCommand(NamedTuple):
    """Words for an element's `command`."""

    element: Element
    words: tuple[str, ...]

    @classmethod
    def of(cls, command: ElementCommand) -> LiveCommand:
        """As a file has it."""
        return cls(command.element, tuple(map(str, command.words)))

    async def carry_out(self) -> str:
        """What to print; raises `ElementError`."""
        return await self.element.command(self.words)


def orders(text: str, directory: str, machine: CheckedMachine) -> list[LiveCommand] | None:
    """The statements, if all of them only query elements of a lab; None for a script."""
    found: list[LiveCommand] = []
    for line in text.splitlines():
        words = _short(line, directory, machine)
        if words is None:
            script = language.parse(Source(NAME, f"{line}\n"))
            if script.mistakes or not all(isinstance(each, st.Command) for each in script.statements):
                return None
            for statement in script.statements:
                assert isinstance(statement, st.Command)
                words = [statement.element.text, *map(str, statement.words)]
                found.append(LiveCommand(machine.find(absolute(words[0], directory)), tuple(words[1:])))
        else:
            found.append(LiveCommand(machine.find(absolute(words[0], directory)), tuple(words[1:])))
    return found


def absolute(path: str, directory: str) -> str:
    """A path as it is from the root."""
    return posixpath.normpath(posixpath.join(directory, path))


class LiveScript:
    """Statements to run over a layout in `directory`, which is then the directory where they ended.

    `printed_before` and `ordered_before` count what the layout held before of output and commands.
    """

    def __init__(self, text: str, directory: str, machine: CheckedMachine) -> None:
        self.directory = directory
        self.printed_before = 0
        self.ordered_before = 0
        self.changes_something = False
        self._parts = [self._part(line, machine) for line in _lines(text)]

    def _part(self, line: str, machine: CheckedMachine) -> str | tuple[Word, Word | None]:
        """A text in the file's language, or the ends of what is to be disconnected."""
        words = line.split()
        if words[:1] == ["disconnect"]:
            self.changes_something = True
            return _ends(line)
        if (short := _short(line, self.directory, machine)) is not None:
            return " ".join(["command", *map(st.quoted, short)])
        changing = [
            each
            for each in language.parse(Source(NAME, f"{line}\n")).statements
            if not isinstance(each, st.Command | st.Ls | st.Pwd | st.Cd)
        ]
        self.changes_something |= bool(changing)
        return line

    def __call__(self, layout: Layout) -> None:
        """Run over the layout; mistakes go where the layout reports them."""
        tree = layout.tree
        outer = tree.here
        tree.here = layout.tree.root
        _, _, entry = tree.look(self.directory)
        if isinstance(entry, Directory):
            tree.here = entry
        self.printed_before = len(layout.output)
        self.ordered_before = len(layout.orders)
        for part in self._parts:
            if isinstance(part, str):
                layout.text(Source(NAME, f"{part}\n"), Path())
            else:
                layout.disconnect(*part)
        self.directory, tree.here = tree.here.path, outer


def _lines(text: str) -> list[str]:
    """Commands one by one: a block, or a command that a backslash continues, stays together."""
    found: list[str] = []
    open_braces = 0
    continued = False
    for line in text.splitlines():
        if found and (open_braces or continued):
            found[-1] += f"\n{line}"
        elif line.strip():
            found.append(line)
        bare = line.split("#")[0]
        open_braces = max(0, open_braces + bare.count("{") - bare.count("}"))
        continued = line.endswith("\\")
    return found


def _short(line: str, directory: str, machine: CheckedMachine) -> list[str] | None:
    """The words of `ELEMENT WORDS…`; None for any other statement."""
    words = _words(line)
    if len(words) < 2 or words[0] in st.RESERVED or words[0] == "disconnect" or words[1] == "at":
        return None
    if words[0].endswith(":") or "at" in words or ":" in words:
        return None
    try:
        machine.find(absolute(words[0], directory))
    except UnknownElement:
        return None
    return words


def _words(line: str) -> list[str]:
    """The words of one plain command, as far as they are clear without a parser."""
    script = language.parse(Source(NAME, f"command {line}\n"))
    statements: Sequence[Statement] = script.statements
    if script.mistakes or len(statements) != 1 or not isinstance(statements[0], st.Command):
        return []
    command = statements[0]
    return [command.element.text, *map(str, command.words)]


def _ends(line: str) -> tuple[Word, Word | None]:
    """What `disconnect A [at B]` names."""
    source = Source(NAME, line)
    words = [
        Word(found[0], Place(source, 1, found.start() + 1, len(found[0])))
        for found in re.finditer(r"[^\s\"]+", line)
    ]
    names = [word for word in words[1:] if word.text != "at"]
    if len(names) == 1 or (len(names) == 2 and len(words) in (3, 4)):
        return names[0], names[1] if len(names) == 2 else None
    raise MachineError([Mistake(Place(source, 1, 1, len(line)), "write 'disconnect ELEMENT [at OTHER]'")])
