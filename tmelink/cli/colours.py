"""Terminal colours; disabled if NO_COLOR is set (no-color.org), TERM is dumb or output is not a terminal."""

from __future__ import annotations

import os
import re
import sys

_CODES = {"bold": 1, "red": 31, "green": 32, "yellow": 33}
_SEQUENCE = re.compile(r"\x1b\[\d*m")


def wanted() -> bool:
    """Whether standard output shows colours."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()


def paint(text: str, colour: str) -> str:
    """The text in a colour, where colours are wanted."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if wanted() else text


def bold(text: str) -> str:
    """The text as a heading."""
    return paint(text, "bold")


def condition(text: str) -> str:
    """An element's state, in its colour."""
    return paint(text, {"up": "green", "failed": "red"}.get(text, "yellow"))


def width(text: str) -> int:
    """Columns that a text takes on a terminal, without its colours."""
    return len(_SEQUENCE.sub("", text))
