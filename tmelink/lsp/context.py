"""What stands at a place of a machine file that is being written: a module, an argument, a name, a keyword.

Reads the command up to the place, and nothing else: it works in a text that no parser takes yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

SpotKind = Literal["command", "module", "argument", "element", "host word", "level", "file", "none"]

_ELEMENT_FOLLOWS = {(word, 1) for word in ("command", "connect", "filter", "impair", "log", "mv", "rm")} | {
    ("alias", 2)
}
"""After which first word, and after how many words, the name of an element comes."""

_TOKEN = re.compile(r'\\[ \t]*\r?\n|#[^\n]*|(?:"[^"]*"?|[^\s"\\#;{}:])+|[\n\r;{}:]|\s|.', re.DOTALL)


@dataclass(frozen=True)
class Spot:
    """A place in a text: what its word is, and the words of its command before it.

    `start` and `end` are the word's offsets; `blocks` are the names of the `machine` blocks around it.
    """

    kind: SpotKind
    word: str
    start: int
    end: int
    before: tuple[str, ...] = ()
    module: str | None = None
    blocks: tuple[str, ...] = ()


@dataclass
class _Command:
    """The words of the command that is being read, and where its colon is."""

    words: list[str]
    colon: int | None = None
    name_end: bool = False

    @property
    def first(self) -> str:
        return self.words[0] if self.words else ""


def spot(text: str, offset: int) -> Spot:
    """What stands at `offset`, with the whole word that touches it."""
    command = _Command([])
    blocks: list[str] = []
    machines: list[str | None] = []
    for found in _TOKEN.finditer(text):
        token, start, end = found[0], found.start(), found.end()
        if token.startswith("#"):
            if start < offset <= end:
                return Spot("none", "", offset, offset)
            continue
        if _is_word(token):
            if start <= offset <= end:
                # A colon ends a name, and is part of an argument.
                whole = _whole(text, command, token, end)
                return _spot(command, whole, start, start + len(whole), tuple(blocks))
            command.words.append(token.replace('"', ""))
            continue
        if start >= offset:
            break
        if token == ":" and command.colon is None and command.first not in ("command", "log"):
            command.colon = len(command.words)
        elif token == "{":
            name = command.words[1] if command.first == "machine" and len(command.words) > 1 else None
            machines.append(name)
            if name is not None:
                blocks.append(name)
            command = _Command([])
        elif token == "}":
            if machines and machines.pop() is not None:
                blocks.pop()
            command = _Command([])
        elif token in "\n\r;":
            command = _Command([])
    return _spot(command, "", offset, offset, tuple(blocks))


def _is_word(token: str) -> bool:
    return not token.isspace() and token[0] not in "\\#;{}:"


def _whole(text: str, command: _Command, token: str, end: int) -> str:
    """The word with the colons in it, where colons are part of words."""
    if command.colon is None and command.first not in ("command", "log"):
        return token
    more = re.compile(r'(?:"[^"]*"?|[^\s"\\#;{}])*').match(text, end)
    return token + (more[0] if more else "")


def _spot(command: _Command, word: str, start: int, end: int, blocks: tuple[str, ...]) -> Spot:
    words = tuple(command.words)
    kind: SpotKind
    module = None
    if command.colon is not None:
        arguments = words[command.colon :]
        kind = "argument" if arguments else "module"
        module = arguments[0] if arguments else None
        return Spot(kind, word, start, end, arguments[1:], module, blocks)
    count = len(words)
    if count == 0:
        kind = "command"
    elif words[-1] == "at" or (command.first, count) in _ELEMENT_FOLLOWS:
        kind = "element"
    elif command.first == "log" and count == 2:
        kind = "level"
    elif command.first == "source":
        kind = "file"
    elif command.first == "host" and count > 3:
        kind = "host word"
    else:
        kind = "none"
    return Spot(kind, word, start, end, words, None, blocks)
