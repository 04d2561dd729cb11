"""The words of a machine file's statement, and the element or the mistakes that they make."""

from __future__ import annotations

from tmelink import registry
from tmelink.element import Element
from tmelink.source import Mistake, Place, Source, Word

FILE = "/machines/lab.conf"
"""The machine file that the words stand in."""


def words(line: str) -> list[Word]:
    """The words of a line that has no quotes, each at its place."""
    source = Source(FILE, line)
    found: list[Word] = []
    at = 0
    for text in line.split():
        at = line.index(text, at)
        found.append(Word(text, Place(source, 1, at + 1, len(text))))
        at += len(text)
    return found


def make(module: str, line: str, name: str = "cable") -> Element:
    """The element that a statement without a mistake makes."""
    cls = registry.element_class(module)
    found: list[Mistake] = []
    arguments = cls.parse(words(line), Place(Source(FILE, line), 1, 1), found.append)
    assert not found, found
    return cls(name, arguments)


def mistakes(module: str, line: str) -> list[str]:
    """What is said of a statement that has mistakes."""
    found: list[Mistake] = []
    place = Place(Source(FILE, line), 1, 1)
    assert registry.element_class(module).parse(words(line), place, found.append) is None
    return [mistake.message for mistake in found]
