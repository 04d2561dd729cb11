"""Log lines: one per event, the element's name first, and never more of a kind than a person can read.

Element loggers are `tmelink.element.NAME`. Everything that a peer can provoke goes through `Limit`, so that
no peer can fill a disk.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from tmelink.printable import lines

ELEMENTS = "tmelink.element"

BURST = 10
"""The most lines of one kind from one element in a `WINDOW`; the rest are only counted."""

WINDOW = 60.0
"""Seconds after which lines of that kind are written again, with the count of those left out."""

KINDS = 1000
"""The most kinds of line that are remembered; the oldest are forgotten first, so that memory is bounded."""


TRACE = 5
"""Below `logging.DEBUG`: single packets."""

FORMATS = ("text", "json")

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


class _Text(logging.Formatter):
    """The element's name first; before it the time where `dated`."""

    def __init__(self, *, dated: bool) -> None:
        super().__init__()
        self._dated = dated

    def format(self, record: logging.LogRecord) -> str:
        severity = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        line = f"{_element(record) or 'tmelink'}: {severity}{lines(record.getMessage())}"
        if self._dated:
            line = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created))} {line}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines, and does without those that the stream does not take: a full disk ends no lab."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


class _LogFile(WatchedFileHandler):
    """The same for a file."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


class _Json(logging.Formatter):
    """An object a line: time in seconds since the epoch, level, element (null: tmelink itself), message."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "element": _element(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


def _element(record: logging.LogRecord) -> str | None:
    element = record.name.removeprefix(ELEMENTS + ".")
    return None if element == record.name else element


def configure(verbosity: int, *, form: str = "text", file: Path | None = None, dated: bool = False) -> None:
    """Write tmelink's log to standard error, or to the end of `file`.

    0 is the ordinary level; +1 logs details and +2 single packets, -1 and -2 less. `form` is one of
    `FORMATS`. With `dated` each line of text begins with the time, unless it goes to systemd's journal, which
    has its own.
    Raises `OSError` if the file cannot be written.
    """
    logging.addLevelName(TRACE, "TRACE")
    levels = {-2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG, 2: TRACE}
    handler: logging.Handler
    if file is None:
        handler = _Handler(sys.stderr)
        dated = dated and not _is_journal()
    else:
        handler = _LogFile(file, encoding="utf-8")
    handler.setFormatter(_Json() if form == "json" else _Text(dated=dated))
    handler.addFilter(Limit())
    root = logging.getLogger("tmelink")
    for before in root.handlers:
        before.close()
    root.handlers = [handler]
    root.setLevel(levels[max(-2, min(verbosity, 2))])
    root.propagate = False


def _is_journal() -> bool:
    """Whether standard error is systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_level(element: str, level: int) -> None:
    """Set the lowest level that one element logs, in `logging`'s numbers; 0 for the common level."""
    logging.getLogger(f"{ELEMENTS}.{element}").setLevel(level)
