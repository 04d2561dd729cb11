"""Log lines: one per event, the element's name first, and never more of a kind than a person can read.

Element loggers are `tmelink.element.NAME`. Everything that a peer can provoke goes through `Limit`, so that
no peer can fill a disk.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

from tmelink.printable import lines

ELEMENTS = "tmelink.element"

BURST = 10
"""The most lines of one kind from one element in a `WINDOW`; the rest are only counted."""

WINDOW = 60.0
"""Seconds after which lines of that kind are written again, with the count of those left out."""

KINDS = 1000
"""The most kinds of line that are remembered; the oldest are forgotten first, so that memory is bounded."""


UNLIMITED = "unlimited"
"""The attribute of a record whose writer sees to it that there are not too many."""


class Limit(logging.Filter):
    """Lets `BURST` lines of one format through in each `WINDOW` and counts the rest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is written; the first of a new window says how many were not."""
        if record.levelno <= logging.DEBUG or getattr(record, UNLIMITED, False):
            return True
        now = self._clock()
        key = (record.name, str(record.msg))
        kind = self._kinds.pop(key, None)
        if kind is None or now - kind[0] >= WINDOW:
            left_out = int(kind[1]) - BURST if kind is not None else 0
            kind = [now, 0]
            if left_out > 0:
                record.msg = f"{record.msg} (and {left_out} more like it)"
        kind[1] += 1
        self._kinds[key] = kind
        if len(self._kinds) > KINDS:
            del self._kinds[next(iter(self._kinds))]
        return kind[1] <= BURST


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        element = record.name.removeprefix(ELEMENTS + ".")
        name = element if element != record.name else "tmelink"
        severity = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        line = f"{name}: {severity}{lines(record.getMessage())}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines, and does without those that the stream does not take: a full disk ends no lab."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def configure(verbosity: int) -> None:
    """Write tmelink's log to standard error; 0 is the ordinary level, +1 logs more, -1 and -2 less."""
    level = {-2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO}.get(max(verbosity, -2), logging.DEBUG)
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Line())
    handler.addFilter(Limit())
    root = logging.getLogger("tmelink")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False


def set_level(element: str, level: int) -> None:
    """Set the lowest level that one element logs, in `logging`'s numbers; 0 for the common level."""
    logging.getLogger(f"{ELEMENTS}.{element}").setLevel(level)
