"""Text from others, made safe for a log, a list or a terminal: no line that was not ours, no colour, no bell.

Certificates, options, names, messages and whatever else a peer, a proxy or a guest sends pass through here
before a person sees them, and the log lets nothing through that has not.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 200
"""Characters of one thing that a peer says."""


def printable(text: str, longest: int = LONGEST) -> str:
    """The text on one line, at most `longest` characters of it, the rest escaped."""
    cut = text[: longest + 1]
    if not cut.isprintable():
        cut = "".join(map(_escaped, cut))
    return cut if len(text) <= longest and len(cut) <= 4 * longest else cut[:longest] + "…"


def lines(text: str) -> str:
    """A text of our own of several lines, which may quote others: all but the first are indented."""
    return "\n    ".join("".join(map(_escaped, line)) for line in text.split("\n"))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
