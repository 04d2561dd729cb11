"""How many flooded frames a switch takes from a connection: a token bucket, filled by the second."""

from __future__ import annotations

from typing import Final

DEFAULT_RATE: Final = 10_000
"""Broadcast, multicast and unknown frames a second that a connection may have flooded to several others: far
more than a network of a few hundred machines has, and far less than a loop makes."""

WARN_SECONDS: Final = 60.0
"""Between two lines about a storm at one connection."""


class StormLimit:
    """`rate` frames a second (0: any number), and as many at once."""

    __slots__ = ("_at", "_left", "_warned", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._left = float(rate)
        self._at = 0.0
        self._warned = -WARN_SECONDS

    def takes(self, count: int, now: float) -> bool:
        """Whether so many frames may be flooded now."""
        if not self.rate:
            return True
        self._left = min(self.rate, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True

    def warns(self, now: float) -> bool:
        """Whether a line about it is due."""
        due = now - self._warned >= WARN_SECONDS
        if due:
            self._warned = now
        return due
