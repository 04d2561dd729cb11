"""The output of `ls`: a directory's entries, or one element, as statements that would create them."""

from __future__ import annotations

from tmelink.source import Word
from tmelink.tmesh.declared import Declared, Join
from tmelink.tmesh.directory import Directory
from tmelink.tmesh.statements import quoted


def listing(entry: Directory | Declared, here: Directory, flags: str) -> str:
    """The lines for `entry` as seen from `here`.

    Flags: `a` every connection, not only that of the creation, and `.` and `..`; `l` absolute paths; `R`
    the directories below too.
    """
    if not isinstance(entry, Directory):
        return "\n".join(_element(entry, entry.path if "l" in flags else here.relative(entry.path), flags))
    lines = _directory(entry, flags)
    if "R" in flags:
        for path, below in entry.walk():
            if isinstance(below, Directory):
                shown = path if "l" in flags else f"./{entry.relative(path)}"
                lines += ["", f"{shown}:", *_directory(below, flags)]
    return "\n".join(lines)


def _directory(directory: Directory, flags: str) -> list[str]:
    lines = [".", ".."] if "a" in flags else []
    for name, entry in directory.entries.items():
        shown = directory.join(name) if "l" in flags else name
        if isinstance(entry, Directory):
            lines.append(f"{shown}/")
        elif isinstance(entry, Declared):
            lines += _element(entry, shown, flags)
    return lines


def _element(element: Declared, shown: str, flags: str) -> list[str]:
    creation = f": {_words((element.module, *element.arguments))}"
    joins = [
        join
        for join in element.joins
        if join.stands and ("a" in flags or (join.at_creation and join.sides[0][0] is element))
    ]
    directory = element.names[0][0]
    lines: list[str] = []
    for join in joins:
        side, other, at = _seen_from(element, join)
        path = other.path if "l" in flags else directory.relative(other.path)
        left = " ".join((quoted(shown), *map(quoted, side)))
        right = " ".join((quoted(path), *map(quoted, at)))
        lines.append(f"{left} at {right}{creation if not lines else ''}")
    return lines or [f"{quoted(shown)}{creation}"]


def _seen_from(element: Declared, join: Join) -> tuple[list[str], Declared, list[str]]:
    """The element's own words in a connection, the other element and its words."""
    (a, side), (b, at) = join.sides
    own, other = [word.text for word in side.words], [word.text for word in at.words]
    return (own, b, other) if a is element else (other, a, own)


def _words(words: tuple[Word, ...]) -> str:
    return " ".join(quoted(word.text) for word in words)
