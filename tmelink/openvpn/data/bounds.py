"""How long a frame may be that a link is to send.

Knows the two lengths and counts what keeps to neither. A burst whose frames all fit passes as it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tmelink.frame import Frame, Run, pieces
from tmelink.openvpn.session import Item


class Bounds:
    """From `shortest` to `longest` bytes; what is dropped is counted in `drops`."""

    def __init__(self, shortest: int, longest: int, drops: Counter[str]) -> None:
        self.shortest = shortest
        self.longest = longest
        self._drops = drops

    def within(self, frames: Sequence[Item]) -> Sequence[Item]:
        """The frames that fit; the same sequence where all do."""
        if self._all_fit(frames):
            return frames
        return [frame for frame in pieces(frames) if self._fits(frame)]

    def _all_fit(self, frames: Sequence[Item]) -> bool:
        shortest, longest = self.shortest, self.longest
        if Run not in set(map(type, frames)):
            lengths = set(map(len, frames))
            return not lengths or (shortest <= min(lengths) and max(lengths) <= longest)
        for item in frames:
            if isinstance(item, Run):
                data, size = item
                tail = len(data) % size
                if size < shortest or size > longest or 0 < tail < shortest:
                    return False
            elif not shortest <= len(item) <= longest:
                return False
        return True

    def _fits(self, frame: Frame) -> bool:
        if len(frame) < self.shortest:
            self._drops["too short to send"] += 1
        elif len(frame) > self.longest:
            self._drops["too long to send"] += 1
        else:
            return True
        return False
