"""An element's arguments: one declaration, read, explained and checked."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import pytest

from tmelink import arguments as declaration
from tmelink import values
from tmelink.arguments import ArgumentError, flag, keyword, keywords, positional, rest
from tmelink.source import Mistake, Place, Source, Word


@dataclass(frozen=True)
class Door:
    """An element's arguments, of every shape but `rest`."""

    name: str = positional("NAME", values.text, help="what it is called")
    inet: IPv4Address = keyword("ADDR", values.ipv4, help="where it leads")
    size: int = keyword("BYTES", values.mtu, default=1500, help="what passes")
    open_: bool = flag(help="whether it stands open")
    way_in: tuple[str, ...] = keywords("WORD", values.text, help="ways in")

    def __post_init__(self) -> None:
        if self.open_ and self.size < 100:
            raise ArgumentError("size", "too small for a door that stands open")


@dataclass(frozen=True)
class Anything:
    """Arguments that end in whatever there is."""

    quiet: bool = flag(help="no noise")
    words: tuple[str, ...] = rest("WORD", help="anything")


def parse(kind: type[Any], text: str) -> tuple[Any, list[str]]:
    """The arguments in `text`, and the mistakes as `column: message (hint)`; the element is at column 1."""
    source = Source("f", text)
    words, column = [], 3
    for part in text.split():
        words.append(Word(part, Place(source, 1, column, len(part))))
        column += len(part) + 1
    mistakes: list[Mistake] = []
    value = declaration.parse(kind, words, Place(source, 1, 1), mistakes.append)
    return value, [str(mistake).removeprefix("f:1:") for mistake in mistakes]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("front inet 10.0.0.1", Door("front", IPv4Address("10.0.0.1"))),
        ("inet 10.0.0.1 front", Door("front", IPv4Address("10.0.0.1"))),
        (
            "front open way-in a size 900 inet 10.0.0.1 way-in b",
            Door("front", IPv4Address("10.0.0.1"), 900, True, ("a", "b")),
        ),
    ],
)
def test_arguments(text: str, expected: Door) -> None:
    assert parse(Door, text) == (expected, [])


def test_the_rest() -> None:
    assert parse(Anything, "a quiet b c") == (Anything(True, ("a", "b", "c")), [])
    assert parse(Anything, "") == (Anything(), [])


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["1: missing argument: NAME", "1: missing argument: inet ADDR"]),
        ("front", ["1: missing argument: inet ADDR"]),
        ("front inet", ["9: argument 'inet' needs a value: ADDR"]),
        ("front inet 10.0.0", ["14: inet: '10.0.0' is not a valid IPv4 address"]),
        ("front inet 10.0.0.1 size 9", ["28: size: mtu 9 is out of range: 68 to 65521"]),
        ("front inet 10.0.0.1 inet 10.0.0.2", ["23: argument 'inet' is given twice"]),
        ("front inet 10.0.0.1 sise 900", None),
        ("front inet 10.0.0.1 open size 90", ["28: too small for a door that stands open"]),
    ],
)
def test_mistakes(text: str, mistakes: list[str] | None) -> None:
    value, found = parse(Door, text)
    assert value is None
    if mistakes is None:
        assert found[0] == "23: unknown argument 'sise' (did you mean size?)"
    else:
        assert found == mistakes


def test_an_unknown_argument_with_nothing_near_lists_those_there_are() -> None:
    _, (mistake,) = parse(Door, "front inet 10.0.0.1 zebra")
    assert mistake == "23: unknown argument 'zebra' (it takes inet, size, open, way-in)"


def test_the_usage_line() -> None:
    assert declaration.usage(Door, "a/door") == "a/door NAME inet ADDR [size BYTES] [open] [way-in WORD]…"
    assert declaration.usage(Anything, "a/thing") == "a/thing [quiet] WORD…"


def test_the_reference_rows() -> None:
    assert declaration.reference(Door) == [
        ("NAME", "what it is called"),
        ("inet ADDR", "where it leads"),
        ("size BYTES", "what passes"),
        ("open", "whether it stands open"),
        ("way-in WORD", "ways in"),
    ]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("0", 0),
        ("00", 0),
        ("0x0", 0),
        ("off", 0),
        ("1", 10),
        ("0x10", 10),
        ("100000", 10),
        ("debug", 10),
        ("info", 20),
        ("warning", 30),
        ("error", 40),
    ],
)
def test_log_levels(text: str, level: int) -> None:
    assert values.log_level(text) == level


@pytest.mark.parametrize("text", ["", "-1", "1.5", "0x", "loud", "١"])
def test_no_log_levels(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid log level"):
        values.log_level(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1", "a", "a-b.c1", "1a", "A.example", "x" * 63])
def test_hosts(text: str) -> None:
    assert values.host(text) == text


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.300", "-a", "a..b", "a b", "x" * 64, "fd00::g"])
def test_no_hosts(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid IP address or host name"):
        values.host(text)
