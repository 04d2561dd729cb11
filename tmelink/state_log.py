"""Lines about what came up and what went down: all of them, or how many there were and what is now.

A limit that swallows lines may swallow the last one, and then a person believes the opposite of what is.
"""

from __future__ import annotations

import asyncio
import logging

from tmelink.logs import UNLIMITED

MOST = 6
"""Changes of one element that are written one by one in a `WINDOW`."""

WINDOW = 60.0
"""Seconds from the first of them to the line that stands for the rest."""


class StateLog:
    """The changes of one element."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._count = 0
        self._now = ""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def changed(self, up: bool, detail: str) -> None:
        """What the element leads to came up or went down: write it, or count it."""
        self._now = f"{'up' if up else 'down'}{f': {detail}' if detail else ''}"
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self._fold)
        self._count += 1
        if self._count <= MOST:
            self._write(self._now)

    def close(self) -> None:
        """Write what is left to be written; what changes from now on waits for nothing."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._fold()

    def _fold(self) -> None:
        count, self._count, self._timer = self._count, 0, None
        if count > MOST:
            self._write(f"{count} changes in a minute, now {self._now}")

    def _write(self, text: str) -> None:
        self._log.info("%s", text, extra={UNLIMITED: True})
