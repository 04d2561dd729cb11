"""Positions in a machine file: sources, places, words and mistakes.

This module knows neither the language's grammar nor elements. Everything that a person wrote travels
as a `Word` that remembers its `Place`, so that whoever finds fault with it can point at it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Source:
    """One text that statements were read from: a file, or a string given by a program."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def _lines(self) -> list[str]:
        # Only a newline ends a line, as in the parser that counted the lines; form feeds and the like do not.
        return self.text.split("\n")

    def line(self, number: int) -> str:
        """The text of line `number` (from 1) without its line end; empty beyond the last."""
        return self._lines[number - 1].removesuffix("\r") if 0 < number <= len(self._lines) else ""


@dataclass(frozen=True, slots=True)
class Place:
    """A part of one line of a source; `line` and `column` count from 1, `length` in characters."""

    source: Source
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a statement, without quotes, and its place."""

    text: str
    place: Place

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a machine file: where, what, and what to write instead."""

    place: Place
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" ({self.hint})" if self.hint else "")

    def render(self) -> str:
        """The mistake as a person reads it: the message, the source line, a caret under the word."""
        line = self.place.source.line(self.place.line)
        if not line.strip():
            return str(self)
        # Tabs before the caret are kept, so that it stands under the word however wide a tab is shown.
        indent = "".join("\t" if c == "\t" else " " for c in line[: self.place.column - 1])
        line = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)
        room = max(1, len(line) - self.place.column + 1)
        caret = "^" + "~" * (min(self.place.length, room) - 1)
        return f"{self}\n    {line}\n    {indent}{caret}"

    def as_data(self) -> dict[str, object]:
        """The mistake for `--json`: file, line, column, length, message, hint."""
        return {
            "file": self.place.source.name,
            "line": self.place.line,
            "column": self.place.column,
            "length": self.place.length,
            "message": self.message,
            "hint": self.hint,
        }


Report = Callable[[Mistake], None]
"""Takes a mistake and returns, so that all mistakes are collected before anything is opened."""


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """ "did you mean X?" for the known word nearest to `word`, or None if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.65)
    return f"did you mean {near[0]}?" if near else None
