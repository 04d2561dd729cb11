"""The statements of a machine file as values, and back to text.

Knows what can be said in tmesh and how it is written; knows neither how text is read
(`tmelink.tmesh.language`) nor what a statement does (`tmelink.machine`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tmelink.source import Place, Word

RESERVED = frozenset(
    {"alias", "at", "cd", "command", "connect", "filter", "impair", "log"}
    | {"ls", "mkdir", "mv", "pwd", "rm", "rmdir", "source"}
)
"""Words that cannot name anything."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a connection: an element and the words that belong to its side."""

    element: Word
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Create:
    """`NAME [WORD…] [at OTHER [WORD…]]: MODULE [ARGUMENT…]`; without `at`, `side` has no words."""

    side: Side
    at: Side | None
    module: Word
    arguments: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Connect:
    """`NAME [WORD…] at OTHER [WORD…]`, both of which exist."""

    side: Side
    at: Side


@dataclass(frozen=True, slots=True)
class Include:
    """`source FILE`."""

    path: Word


@dataclass(frozen=True, slots=True)
class Mkdir:
    """`mkdir DIRECTORY`."""

    path: Word


@dataclass(frozen=True, slots=True)
class Rmdir:
    """`rmdir DIRECTORY`."""

    path: Word


@dataclass(frozen=True, slots=True)
class Cd:
    """`cd DIRECTORY`."""

    path: Word


@dataclass(frozen=True, slots=True)
class Pwd:
    """`pwd`."""

    place: Place


@dataclass(frozen=True, slots=True)
class Ls:
    """`ls [-OPTIONS] [PATH]`; `options` with its `-`."""

    place: Place
    options: Word | None = None
    path: Word | None = None


@dataclass(frozen=True, slots=True)
class Rm:
    """`rm ELEMENT`."""

    path: Word


@dataclass(frozen=True, slots=True)
class Mv:
    """`mv OLD NEW`."""

    old: Word
    new: Word


@dataclass(frozen=True, slots=True)
class Alias:
    """`alias NEW OLD`."""

    new: Word
    old: Word


@dataclass(frozen=True, slots=True)
class Command:
    """`command ELEMENT [WORD…]`."""

    element: Word
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """`log ELEMENT LEVEL`."""

    element: Word
    level: Word


@dataclass(frozen=True, slots=True)
class Impair:
    """`impair ELEMENT at OTHER [WORD…]`."""

    element: Word
    other: Word
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """`filter ELEMENT at OTHER [WORD…]`."""

    element: Word
    other: Word
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineBlock:
    """`machine NAME { … }`; the name is empty if the file has a mistake there."""

    name: Word
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class HostBlock:
    """`host NAME address ADDR [WORD…] { … }`; name and address are empty if the file is wrong there."""

    name: Word
    address: Word
    body: tuple[Statement, ...]
    access: tuple[Word, ...] = ()


Statement = (
    Create
    | Connect
    | Include
    | Mkdir
    | Rmdir
    | Cd
    | Pwd
    | Ls
    | Rm
    | Mv
    | Alias
    | Command
    | Log
    | Impair
    | Filter
    | MachineBlock
    | HostBlock
)


_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_UNWRITABLE = re.compile('["\0\ud800-\udfff\ufffd]')
_INDENT = "    "


def quoted(text: str) -> str:
    """`text` as one word of a machine file, in quotes where TME needs them.

    Raises `ValueError` for what a word cannot hold: nothing, a double quote, NUL, U+FFFD, lone surrogates,
    and the reserved word `at`.
    """
    if not text or text == "at" or _UNWRITABLE.search(text):
        raise ValueError(f"no word of a machine file can be {text!r}")
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def quoted_name(text: str) -> str:
    """`text` as the name of something; `ValueError` also for a reserved word and for a leading `-`."""
    if text in RESERVED or text.startswith("-"):
        raise ValueError(f"nothing in a machine file can be named {text!r}")
    return quoted(text)


def unparse(statements: Iterable[Statement]) -> str:
    """Text that reads as `statements`, one a line; `ValueError` for words that cannot be written."""
    return "".join(line + "\n" for statement in statements for line in _lines(statement))


def _lines(statement: Statement) -> list[str]:
    match statement:
        case MachineBlock(name, body):
            return _block(f"machine {quoted_name(name.text)}", body)
        case HostBlock(name, address, body, access):
            return _block(f"host {quoted_name(name.text)} address {_words((address, *access))}", body)
        case Create(side, at, module, arguments):
            head = _connection(side, at) if at else _side(side, quoted_name)
            return [f"{head}: {_words((module, *arguments))}"]
        case Connect(side, at):
            return [_connection(side, at)]
        case Pwd():
            return ["pwd"]
        case Ls(_, options, path):
            parts = ["ls", quoted(options.text) if options else "", quoted_name(path.text) if path else ""]
            return [" ".join(filter(None, parts))]
        case Mv(old, new):
            return [f"mv {quoted_name(old.text)} {quoted_name(new.text)}"]
        case Alias(new, old):
            return [f"alias {quoted_name(new.text)} {quoted_name(old.text)}"]
        case Command(element, words):
            return [" ".join(filter(None, ("command", quoted_name(element.text), _words(words))))]
        case Log(element, level):
            return [f"log {quoted_name(element.text)} {quoted(level.text)}"]
        case Impair(element, other, words) | Filter(element, other, words):
            verb = "impair" if isinstance(statement, Impair) else "filter"
            head = f"{verb} {quoted_name(element.text)} at {quoted(other.text)}"
            return [" ".join(filter(None, (head, _words(words))))]
        case _:
            return [f"{_PATH_COMMANDS[type(statement)]} {quoted_name(statement.path.text)}"]


_PATH_COMMANDS = {Include: "source", Mkdir: "mkdir", Rmdir: "rmdir", Cd: "cd", Rm: "rm"}


def _block(head: str, body: Sequence[Statement]) -> list[str]:
    # A quoted text that spans lines is one item here, so that no indentation gets into its quotes.
    return [f"{head} {{", *(_INDENT + line for statement in body for line in _lines(statement)), "}"]


def _connection(side: Side, at: Side) -> str:
    return f"{_side(side, quoted_name)} at {_side(at, quoted)}"


def _side(side: Side, name: Callable[[str], str]) -> str:
    return " ".join((name(side.element.text), *(quoted(word.text) for word in side.words)))


def _words(words: Iterable[Word]) -> str:
    return " ".join(quoted(word.text) for word in words)
