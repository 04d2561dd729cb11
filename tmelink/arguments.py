"""An element's arguments as a typed declaration: parser, usage line and reference rows from one place.

An element declares a dataclass whose fields are made by `keyword`, `flag` or `positional`::

    @dataclass(frozen=True)
    class Arguments:
        inet: IPv4Interface = keyword("ADDR/LEN", values.ipv4_interface, help="its IPv4 address")
        mtu: int = keyword("BYTES", values.mtu, default=1500, help="largest packet")

A keyword without a default is required. `__post_init__` may raise `ArgumentError(field, message)` for what
only two arguments together get wrong. OpenVPN's own option syntax is not declared here but in
`tmelink.openvpn.options.parse`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from tmelink.source import Mistake, Place, Report, Word, suggestion

T = TypeVar("T")
V = TypeVar("V")

_REQUIRED: Any = object()


class ArgumentError(ValueError):
    """Arguments that exclude each other; `argument` is the one that the error points at."""

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument = argument


@dataclass(frozen=True, slots=True)
class Declaration:
    """One argument: how it is written, read and explained."""

    shape: Literal["keyword", "flag", "positional", "rest"]
    metavar: str
    convert: Callable[[str], Any]
    help: str
    required: bool
    many: bool
    default: Any
    alone: Any = None


def keyword(
    metavar: str, convert: Callable[[str], T], *, help: str, default: V = _REQUIRED, alone: V | None = None
) -> T | V:
    """An argument written `name VALUE`; the dataclass field's name is the keyword (`_` written `-`).

    With `alone` the value may be left out, at the end or before another keyword; it is then `alone`.
    """
    return cast("T | V", _field("keyword", metavar, convert, help, default, alone=alone))


def keywords(metavar: str, convert: Callable[[str], T], *, help: str) -> tuple[T, ...]:
    """An argument written `name VALUE` any number of times; the values in order."""
    return cast("tuple[T, ...]", _field("keyword", metavar, convert, help, (), many=True))


def flag(*, help: str) -> bool:
    """A single word that switches something on."""
    return cast(bool, _field("flag", "", bool, help, False))


def positional(metavar: str, convert: Callable[[str], T], *, help: str, default: V = _REQUIRED) -> T | V:
    """An argument known by its place, before any keyword."""
    return cast("T | V", _field("positional", metavar, convert, help, default))


def rest(metavar: str, *, help: str) -> tuple[str, ...]:
    """All remaining words; the field must be the last."""
    return cast("tuple[str, ...]", _field("rest", metavar, str, help, (), many=True))


def _field(
    shape: Literal["keyword", "flag", "positional", "rest"],
    metavar: str,
    convert: Callable[[str], Any],
    help: str,
    default: Any,
    many: bool = False,
    alone: Any = None,
) -> Any:
    required = default is _REQUIRED
    default = None if required else default
    declaration = Declaration(shape, metavar, convert, help, required, many, default, alone)
    return dataclasses.field(default=declaration.default, metadata={"argument": declaration})


def declared(arguments: type[Any]) -> dict[str, Declaration]:
    """The declarations of a dataclass by the name that a machine file uses, in order."""
    return {
        field.name.rstrip("_").replace("_", "-"): field.metadata["argument"]
        for field in dataclasses.fields(arguments)
    }


def parse(arguments: type[T], words: Sequence[Word], place: Place, report: Report) -> T | None:
    """Read `words` as `arguments` declares them.

    Every mistake is reported with the word it concerns (`place` stands for the element as a whole); the
    result is None if there was one.
    """
    known = declared(arguments)
    fields = dict(zip(known, (f.name for f in dataclasses.fields(cast(Any, arguments))), strict=True))
    waiting = [name for name, d in known.items() if d.shape == "positional"]
    remainder = next((name for name, d in known.items() if d.shape == "rest"), None)
    given: dict[str, Any] = {}
    seen: dict[str, Word] = {}
    failures = 0

    def fail(where: Place, message: str, hint: str | None = None) -> None:
        nonlocal failures
        failures += 1
        report(Mistake(where, message, hint))

    def take(name: str, word: Word) -> None:
        declaration = known[name]
        try:
            value = declaration.convert(word.text)
        except ValueError as error:
            fail(word.place, f"{name}: {error}")
            return
        if declaration.many:
            given.setdefault(fields[name], []).append(value)
        else:
            given[fields[name]] = value

    remaining = list(reversed(words))
    while remaining:
        word = remaining.pop()
        declaration = known.get(word.text)
        if declaration is not None and declaration.shape in ("keyword", "flag"):
            if word.text in seen and not declaration.many:
                fail(word.place, f"argument '{word}' is given twice")
            seen[word.text] = word
            if declaration.shape == "flag":
                given[fields[word.text]] = True
            elif declaration.alone is not None and (not remaining or remaining[-1].text in known):
                given[fields[word.text]] = declaration.alone
            elif not remaining:
                fail(word.place, f"argument '{word}' needs a value: {declaration.metavar}")
            else:
                take(word.text, remaining.pop())
        elif waiting:
            name = waiting.pop(0)
            seen[name] = word
            take(name, word)
        elif remainder is not None:
            seen[remainder] = word
            take(remainder, word)
        else:
            names = [name for name, d in known.items() if d.shape in ("keyword", "flag")]
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            name, equals, value = word.text.partition("=")
            if equals and name in names:
                takes = f"write '{name} {value}', with a blank"
            else:
                takes = suggestion(word.text, names) or takes
            fail(word.place, f"unknown argument '{word}'", takes)
    for name, declaration in known.items():
        if declaration.required and name not in seen:
            what = (
                declaration.metavar if declaration.shape == "positional" else f"{name} {declaration.metavar}"
            )
            fail(place, f"missing argument: {what}")
    if failures:
        return None
    for name, declaration in known.items():
        if declaration.many and fields[name] in given:
            given[fields[name]] = tuple(given[fields[name]])
    try:
        return arguments(**given)
    except ArgumentError as error:
        where = seen.get(error.argument)
        fail(where.place if where else place, str(error))
        return None


def usage(arguments: type[Any], module: str) -> str:
    """One line: the module and its arguments, optional ones in brackets."""
    parts = [module]
    for name, declaration in declared(arguments).items():
        if declaration.shape == "positional":
            part = declaration.metavar
        elif declaration.shape == "rest":
            part = f"{declaration.metavar}…"
        else:
            part = f"{name} {_value(declaration)}".rstrip()
        if declaration.many and declaration.shape == "keyword":
            part = f"[{part}]…"
        elif not declaration.required and declaration.shape != "rest":
            part = f"[{part}]"
        parts.append(part)
    return " ".join(parts)


def reference(arguments: type[Any]) -> list[tuple[str, str]]:
    """A row for each argument, for the catalogue and the reference page: how it is written, what it means."""
    rows = []
    for name, declaration in declared(arguments).items():
        written = declaration.metavar if declaration.shape in ("positional", "rest") else name
        if declaration.shape == "keyword":
            written = f"{name} {_value(declaration)}"
        rows.append((written, declaration.help))
    return rows


def _value(declaration: Declaration) -> str:
    return declaration.metavar if declaration.alone is None else f"[{declaration.metavar}]"
