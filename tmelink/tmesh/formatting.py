"""One layout for machine files: the same words and comments, evenly indented and spaced.

It indents blocks and continued lines by four columns, puts one blank between words and none before the colon
of a creation, leaves one empty line at most, and begins the comments of neighbouring lines in one column. The
author decides where lines end and are continued, which blocks stand on one line, how words are quoted, and
every word of a comment. Formatting a formatted text changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tmelink.errors import MachineError
from tmelink.source import Source
from tmelink.tmesh.language import lexemes, parse

INDENT = "    "

_GAP = re.compile(r"\\[ \t]*\r?\n|\r\n|[\n\r;]|#[^\n]*")
"""What matters between words: a continued line, the end of a line or a command, and comments."""


class _Piece(NamedTuple):
    """`kind` is word, colon, open, close, newline, semicolon, comment or continued."""

    kind: str
    text: str = ""


@dataclass
class _Line:
    """A line of the result; `code` may hold line ends, in quotes or where it is continued."""

    depth: int
    code: str = ""
    comment: str = ""

    @property
    def end(self) -> int:
        """The column in which its code ends."""
        indent = 0 if "\n" in self.code else len(INDENT) * self.depth
        return indent + len(self.code.rsplit("\n", 1)[-1])

    def text(self, column: int) -> str:
        if not self.code:
            return INDENT * self.depth + self.comment if self.comment else ""
        code = INDENT * self.depth + self.code
        return code + " " * (column - self.end) + self.comment if self.comment else code


def formatted(source: Source) -> str:
    """The text in its layout; raises `MachineError` for a text whose grammar is wrong."""
    script = parse(source)
    if script.mistakes:
        raise MachineError(script.mistakes)
    lines = _Layouter(list(_pieces(source.text))).run()
    return "".join(f"{line}\n" for line in _aligned(lines))


def _pieces(text: str) -> Iterator[_Piece]:
    at = 0
    for kind, start, end in lexemes(text):
        yield from _between(text[at:start])
        at = end
        match kind:
            case "_END":
                yield from _between(text[start:end])
            case "LBRACE":
                yield _Piece("open")
            case "RBRACE":
                yield _Piece("close")
            case "_COLON":
                yield _Piece("colon")
            case _:
                yield _Piece("word", text[start:end])
    yield from _between(text[at:])


def _between(gap: str) -> Iterator[_Piece]:
    for found in _GAP.findall(gap):
        if found.startswith("#"):
            yield _Piece("comment", found.rstrip())
        elif found.startswith("\\"):
            yield _Piece("continued")
        else:
            yield _Piece("semicolon" if found == ";" else "newline")


class _Layouter:
    """Pieces to lines."""

    def __init__(self, pieces: list[_Piece]) -> None:
        self.pieces = pieces
        self.tall = _tall(pieces)
        self.blocks: list[bool] = []
        """Whether each open block stands on several lines."""
        self.lines: list[_Line] = []
        self.line = _Line(0)
        self.glue = ""
        """What comes before the next word of the line; a line end where that begins a line of its own."""
        self.newlines = 0

    def run(self) -> list[_Line]:
        for number, piece in enumerate(self.pieces):
            match piece.kind:
                case "word":
                    self.word(piece.text)
                case "colon":
                    self.line.code += ":"
                    self.glue = " "
                case "open":
                    self.open(self.tall[number])
                case "close":
                    self.close()
                case "comment":
                    self.start()
                    self.line.comment = piece.text
                case "continued":
                    # At the end of a command it continues nothing.
                    if self.glue == " ":
                        self.glue = f" \\\n{INDENT * (self.line.depth + 1)}"
                case "semicolon":
                    if self.line.code and self.glue != "\n" and not self.line.code.endswith("{"):
                        self.glue = "; "
                case "newline":
                    self.newlines += 1
                    self.finish()
        self.finish()
        return self.lines

    def start(self) -> None:
        """Before what stands in a line: the empty line that the author left above it."""
        if self.line.code or self.line.comment:
            return
        above = self.lines[-1] if self.lines else None
        if self.newlines > 1 and above is not None and not above.code.endswith("{"):
            self.lines.append(_Line(0))
        self.newlines = 0

    def word(self, text: str) -> None:
        if self.glue == "\n":
            self.finish()
        self.start()
        self.line.code += self.glue + text
        self.glue = " "

    def open(self, tall: bool) -> None:
        self.line.code += " {"
        self.blocks.append(tall)
        self.glue = "\n" if tall else " "

    def close(self) -> None:
        if self.blocks.pop():
            self.finish()
            self.newlines = 0
            self.line.code = "}"
        else:
            self.line.code += " }"
        self.glue = "; " if self.blocks and not self.blocks[-1] else "\n"

    def finish(self) -> None:
        """End the line."""
        if self.line.code or self.line.comment:
            self.lines.append(self.line)
        self.line = _Line(len([tall for tall in self.blocks if tall]))
        self.glue = ""


def _tall(pieces: list[_Piece]) -> dict[int, bool]:
    """By the number of each piece that opens a block: whether the block has more than one line."""
    found: dict[int, bool] = {}
    opened: list[tuple[int, int]] = []
    newlines = 0
    for number, piece in enumerate(pieces):
        if piece.kind == "open":
            opened.append((number, newlines))
        elif piece.kind == "close":
            start, before = opened.pop()
            found[start] = newlines > before
        elif piece.kind in ("newline", "continued") or "\n" in piece.text:
            newlines += 1
    return found


def _aligned(lines: Iterable[_Line]) -> Iterator[str]:
    """The lines as text; the comments of neighbouring lines begin in one column."""
    neighbours: list[_Line] = []
    for line in lines:
        if neighbours and not (line.code and line.comment and line.depth == neighbours[-1].depth):
            yield from _in_one_column(neighbours)
            neighbours = []
        if line.code and line.comment:
            neighbours.append(line)
        else:
            yield line.text(0)
    yield from _in_one_column(neighbours)


def _in_one_column(lines: list[_Line]) -> Iterator[str]:
    column = max((line.end for line in lines), default=0) + 2
    for line in lines:
        yield line.text(column)
