"""Places, mistakes as a person reads them, and near names."""

from __future__ import annotations

import json

import pytest

from tmelink.source import Mistake, Place, Source, Word, suggestion

TEXT = "link0: tme/host\n\ttap0:\ttme/tap x\r\nlast\x0cline\x85 same\nesc \x1b[2J"


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, "link0: tme/host"),
        (2, "\ttap0:\ttme/tap x"),
        (3, "last\x0cline\x85 same"),
        (4, "esc \x1b[2J"),
        (5, ""),
        (0, ""),
        (-1, ""),
    ],
)
def test_lines_end_at_newlines_only(number: int, line: str) -> None:
    assert Source("f", TEXT).line(number) == line


def test_a_place_and_a_word_in_words() -> None:
    place = Place(Source("some/file", TEXT), 2, 8)
    assert str(place) == "some/file:2:8"
    assert str(Word("tme/tap", place)) == "tme/tap"


@pytest.mark.parametrize(
    ("place", "caret"),
    [
        ((1, 8, 8), "           ^~~~~~~~"),
        ((2, 8, 7), "    \t     \t^~~~~~~"),
        ((1, 8, 99), "           ^~~~~~~~"),
        ((1, 16, 5), "                   ^"),
    ],
)
def test_the_caret_stands_under_the_word(place: tuple[int, int, int], caret: str) -> None:
    mistake = Mistake(Place(Source("f", TEXT), *place), "wrong", "did you mean right?")
    message, line, under = mistake.render().split("\n")
    assert message == f"f:{place[0]}:{place[1]}: wrong (did you mean right?)"
    assert line.startswith("    ")
    assert under == caret


def test_nothing_in_a_line_reaches_the_terminal_as_control() -> None:
    assert "\x1b" not in Mistake(Place(Source("f", TEXT), 4, 1), "wrong").render()


def test_a_mistake_at_an_empty_line_shows_no_caret() -> None:
    assert Mistake(Place(Source("f", ""), 1, 1), "cannot read f").render() == "f:1:1: cannot read f"


def test_a_mistake_as_data() -> None:
    mistake = Mistake(Place(Source("f", TEXT), 1, 8, 8), "wrong", None)
    assert json.loads(json.dumps(mistake.as_data())) == {
        "file": "f",
        "line": 1,
        "column": 8,
        "length": 8,
        "message": "wrong",
        "hint": None,
    }


@pytest.mark.parametrize(
    ("word", "hint"),
    [("tme/host/tun/tp", "did you mean tme/host/tun/tap?"), ("bfp", "did you mean bpf?"), ("zebra", None)],
)
def test_suggestions(word: str, hint: str | None) -> None:
    assert suggestion(word, ["bpf", "tme/host/tun/tap", "tme/host/bsd/bpf"]) == hint
