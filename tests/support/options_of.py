"""Options out of text, for the tests of options."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.support.statements import FILE, words
from tmelink.openvpn.options.parse import parse
from tmelink.openvpn.options.values import Options
from tmelink.source import Mistake, Place, Source

Files = Mapping[str, bytes]


def reader(files: Files | None) -> Callable[[str], bytes]:
    """A `read_file` over a mapping."""

    def read_file(path: str) -> bytes:
        if files is None or path not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[path]

    return read_file


def read(line: str, files: Files | None = None) -> tuple[Options | None, list[Mistake]]:
    """The options of a machine file's line, and the mistakes in them."""
    mistakes: list[Mistake] = []
    place = Place(Source(FILE, line), 1, 1)
    options = parse(words(line), place, mistakes.append, read_file=reader(files))
    assert (options is None) == bool(mistakes)
    for mistake in mistakes:
        mistake.render()
    return options, mistakes


def good(line: str, files: Files | None = None) -> Options:
    """The options of a line without a mistake."""
    options, mistakes = read(line, files)
    assert options is not None, [str(mistake) for mistake in mistakes]
    return options


def bad(line: str, files: Files | None = None) -> list[str]:
    """The mistakes of a line: line, column and message of each."""
    _options, mistakes = read(line, files)
    assert mistakes
    return [f"{m.place.line}:{m.place.column} {m.message}" for m in mistakes]
