"""Tells when a queue stands: when what is read has waited too long for longer than a burst explains.

A TCP stream fills the queue before the slowest part of its path until something is lost, and the queues of a
TAP and of a socket hold megabytes: everything else waits behind them. So whoever reads such a queue loses one
piece on purpose, as often as CoDel says (RFC 8289). This module only keeps the times.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Final

TARGET: Final = 0.002
"""Seconds that the queue may always be long. RFC 8289 suggests 5 ms for routers, of which a path has many."""

INTERVAL: Final = 0.03
"""Seconds of longer waiting before the first drop: a round trip to a neighbouring country (RFC 8289, 4.3)."""

BULK: Final = 128 * 1024
"""The least that one read brings if a stream's queue stands, in bytes. Less waits because the computer has no
time for the program, and a drop would not change that."""

AGAIN: Final = 16 * INTERVAL
"""Seconds within which a queue that stands again is dropped from as often as before (RFC 8289, 4.2)."""

PAUSE: Final = 0.005
"""Seconds between two reads that an event loop may have spent elsewhere. In a longer pause it has slept."""


class StandingQueue:
    """One queue that is read until it is empty, or nearly so; all times are seconds of one clock."""

    def __init__(self) -> None:
        self._began = self._ended = -inf
        """When the last read began, and when what it brought had been handed on."""
        self._drop_from = inf
        """When the first drop is due; infinite while the queue is short."""
        self._dropping = False
        self._next = -inf
        self._count = self._count_before = 0
        """Drops since the queue has stood, and how many there were when that began."""

    def must_drop(self, now: float, *, held: bool = False) -> bool:
        """Whether to drop a piece of what is read `now`; `held` where nobody was to read it until now.

        The last read emptied the queue, so what is read has waited since then at the most. If the loop has
        slept in between, it has just come.
        """
        busy = held or now - self._ended <= max(self._ended - self._began, PAUSE)
        waited = now - self._began if busy else 0.0
        self._began = now
        if waited < TARGET:
            self._drop_from = inf
            self._dropping = False
            return False
        if self._drop_from == inf:
            self._drop_from = now + INTERVAL
        if not self._dropping:
            return now >= self._drop_from and self._first_drop(now)
        if now < self._next:
            return False
        self._count += 1
        self._next += INTERVAL / sqrt(self._count)
        return True

    def handed_on(self, now: float) -> None:
        """What the last read brought has been handled."""
        self._ended = now

    def _first_drop(self, now: float) -> bool:
        recent = self._count - self._count_before
        self._count = self._count_before = recent if recent > 1 and now - self._next < AGAIN else 1
        self._dropping = True
        self._next = now + INTERVAL / sqrt(self._count)
        return True
