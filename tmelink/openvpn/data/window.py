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
