"""The sliding window over packet ids that tells a late packet from a repeated one (RFC 4303, section 3.4.3).

Knows numbers only, no times and no packets.
"""

from __future__ import annotations


class Window:
    """The last `size` packet ids up to the highest one seen; none up to `floor` is taken, ids begin at 1."""

    __slots__ = ("_mask", "_seen", "_size", "floor", "top")

    def __init__(self, size: int) -> None:
        self._size = size
        self._mask = (1 << size) - 1
        self._seen = 0
        self.top = 0
        self.floor = 0

    def accept(self, number: int) -> bool:
        """Whether an id is new; remembers it."""
        back = self.top - number
        if back < 0:
            self._seen = (self._seen << -back | 1) & self._mask if -back < self._size else 1
            self.top = number
            return True
        if back >= self._size or number <= self.floor or self._seen >> back & 1:
            return False
        self._seen |= 1 << back
        return True

    def accept_next(self, first: int, count: int) -> bool:
        """Whether `count` ids from `first` on all follow the highest one; remembers them if so."""
        if first <= self.top or first <= 0:
            return False
        last = first + count - 1
        shift = last - self.top
        fresh = (1 << count) - 1
        self._seen = (self._seen << shift | fresh) & self._mask if shift < self._size else fresh & self._mask
        self.top = last
        return True


class Arrivals:
    """What has come of a peer's packets, under all keys of a session."""

    __slots__ = ("datagrams", "gaps", "missing")

    def __init__(self) -> None:
        self.datagrams = 0
        self.missing = 0
        """Packet ids that have not come, up to the highest one that has."""
        self.gaps = 0
        """How often an id was higher than the next one."""


class CountingWindow(Window):
    """A window that counts what it takes, and what it misses."""

    __slots__ = ("_arrivals",)

    def __init__(self, size: int, arrivals: Arrivals) -> None:
        super().__init__(size)
        self._arrivals = arrivals

    def accept(self, number: int) -> bool:
        """As for every window."""
        ahead = number - self.top
        if not super().accept(number):
            return False
        self._count(ahead, 1)
        return True

    def accept_next(self, first: int, count: int) -> bool:
        """As for every window."""
        ahead = first - self.top
        if not super().accept_next(first, count):
            return False
        self._count(ahead, count)
        return True

    def _count(self, ahead: int, count: int) -> None:
        arrivals = self._arrivals
        arrivals.datagrams += count
        if ahead > 1:
            arrivals.gaps += 1
            arrivals.missing += ahead - 1
        elif ahead <= 0:
            arrivals.missing -= 1
