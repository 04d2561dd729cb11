"""Explains a syntax mistake to a person: what was expected, and what to write instead.

Knows the terminals of `grammar/tmesh.lark` by name and what may follow what; knows no parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tmelink.source import suggestion
from tmelink.tmesh.statements import RESERVED


class Symbol(NamedTuple):
    """A terminal of the grammar: its name, and the text that it matched, without quotes."""

    kind: str
    text: str


def is_forbidden(character: str) -> bool:
    """Whether not even quoted text may hold it; U+FFFD stands for bytes that are not UTF-8."""
    return character in "\0\ufffd" or "\ud800" <= character <= "\udfff"


def explain_character(character: str) -> tuple[str, str | None]:
    """What is wrong with a character that no word may hold."""
    if character == "\0":
        return "a NUL character, which no machine file can hold", None
    if is_forbidden(character):
        return "this is not UTF-8", "save the file as UTF-8"
    if character == "\\":
        return "a backslash continues a line only as its last character", "put it in double quotes"
    if character in "'`‘’“”„«»":
        return f"unexpected {character}", 'quotes are written "so"'
    if character in "‐‑‒–—―−":
        return f"unexpected '{character}'", "options begin with two plain dashes, as --dev; was this pasted?"
    shown = f"'{character}'" if character.isprintable() else f"the character U+{ord(character):04X}"
    return f"unexpected {shown}", "put a word that contains it in double quotes"


_OPERANDS = {
    "_SOURCE": ("source", "a file's name"),
    "_MKDIR": ("mkdir", "a directory's name"),
    "_RMDIR": ("rmdir", "a directory's name"),
    "_CD": ("cd", "a directory's name"),
    "_RM": ("rm", "an element's name"),
    "_MV": ("mv", "an old and a new name"),
    "_ALIAS": ("alias", "a new and an existing name"),
    "_COMMAND": ("command", "an element's name"),
    "_LOG": ("log", "an element's name and a level"),
    "_CONNECT": ("connect", "an element's name"),
    "_IMPAIR": ("impair", "a connection, 'ELEMENT at OTHER', and what happens to its frames"),
    "_FILTER": ("filter", "a connection, 'ELEMENT at OTHER', and which frames pass"),
    "PWD": ("pwd", "nothing"),
    "LS": ("ls", "at most options and one path"),
}

_BLOCKS = "a block begins with 'machine NAME {' or 'host NAME address ADDRESS {'"


def explain(read: Sequence[Symbol], found: Symbol) -> tuple[str, str | None]:
    """What is wrong with `found` after the symbols `read` of the same command, and what to write."""
    text = found.text
    if not read:
        return _explain_first(found, text)
    first, last = read[0], read[-1]
    kinds = [t.kind for t in read]
    what = {"_END": "the command ends", "LBRACE": "found '{'", "RBRACE": "found '}'"}.get(
        found.kind, f"found '{text}'"
    )
    if first.kind == "MACHINE":
        expected = "a name after 'machine'" if last is first else "'{' after the machine's name"
        return f"expected {expected}, but {what}", "machine NAME { … }"
    if first.kind == "HOST":
        expected = {
            "HOST": "a name after 'host'",
            "NAME": "'address' after the host's name",
            "ADDRESS": "an address after 'address'",
        }.get(last.kind, "'{' after the host's address")
        return f"expected {expected}, but {what}", "host NAME address ADDRESS { … }"
    if found.kind in _OPERANDS and last.kind in _OPERANDS:
        return f"'{text}' is a reserved word and cannot be a name", None
    if found.kind == "OPTIONS" and last.kind in _OPERANDS:
        return f"'{text}' cannot be a name, since it begins with '-'", None
    if found.kind == "LBRACE":
        return "a '{' can only open a block here", _BLOCKS
    if first.kind in _OPERANDS and first.kind != "_CONNECT":
        command, operands = _OPERANDS[first.kind]
        return f"'{command}' takes {operands}, but {what}", None
    return _explain_connection(read, kinds, found, what)


def _explain_first(found: Symbol, text: str) -> tuple[str, str | None]:
    match found.kind:
        case "RBRACE":
            return "this '}' closes no block", None
        case "LBRACE":
            return "a '{' can only open a block here", _BLOCKS
        case "_COLON":
            return "expected a name before ':'", "NAME: MODULE"
        case "_AT":
            return "expected an element's name before 'at'", "NAME at OTHER"
        case "OPTIONS":
            return f"'{text}' cannot be a name, since it begins with '-'", None
        case _:
            return f"unexpected '{text}'", None


def _explain_connection(
    read: Sequence[Symbol], kinds: list[str], found: Symbol, what: str
) -> tuple[str, str | None]:
    names = [t for t in read if t.kind in ("NAME", "WORD", "ARGUMENT")]
    name = names[0].text if names else ""
    last = read[-1]
    if last.kind == "_COLON":
        return f"expected a module name after ':', but {what}", f"such as '{name}: tme/host/tun/tap'"
    if last.kind == "_AT":
        return f"expected an element's name after 'at', but {what}", None
    if last.kind == "_CONNECT":
        return f"expected an element's name after 'connect', but {what}", None
    if "_COLON" in kinds:
        if found.kind == "_AT":
            return "'at' must stand before ':'", f"write '{name} at OTHER: MODULE'"
        return f"unexpected '{found.text}' among the arguments", "put it in double quotes"
    if "_AT" in kinds:
        if found.kind == "_AT":
            return "'at' appears here twice", "a connection has two sides"
        return f"expected ':' or the end of the command, but {what}", None
    if found.kind == "_COLON":
        hint = f"write '{name}: MODULE', or '{name} WORDS at OTHER: MODULE'"
        if re.fullmatch("[0-9A-Fa-f]{1,2}", last.text):
            hint = "put a MAC address before the colon in double quotes"
        return "only a name may stand before ':'", hint
    near = suggestion(name, RESERVED - {"at"} | {"machine", "host"})
    if near is None and len(names) > 1 and "/" in names[1].text:
        near = f"write '{name}: {names[1].text}'"
    return f"expected ':' or 'at' after '{last.text}', but {what}", near
