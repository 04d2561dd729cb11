"""Which packets are new: ids with the time stamps of their long form, and ids that come too late.

Knows what --replay-window says (OpenVPN 2.6, packet_id.c). Costs one window and a few marks, whatever a peer
sends.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from tmelink.openvpn.data.window import Arrivals, Window

MARK_SECONDS: Final = 1.0
"""Between two marks of the highest id: finer than any --replay-window time matters to."""

REPLAYED, TOO_LATE, OLD_SEQUENCE = "replayed", "too late", "old sequence"

REMEMBERED: Final = 256
"""Sequences that have been taken and are never taken again; a peer begins one with each start."""


class Lateness(NamedTuple):
    """How far back a packet id may be, and for how many seconds after a later one (`--replay-window`)."""

    ids: int = 64
    seconds: float = 15
    arrivals: Arrivals | None = None
    """What counts the packets that are taken, where that is needed."""


USUAL: Final = Lateness()
"""OpenVPN's defaults."""


class Ages:
    """When packet ids came, as far as it matters to what is `seconds` old; 0 for never."""

    __slots__ = ("_floor", "_last", "_marks", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = 0.0
        self._floor = 0
        self._marks: deque[tuple[float, int]] = deque()

    def floor(self, top: int, now: float) -> int:
        """Up to which id all is too late; `top` is the highest that had come by the last call."""
        marks = self._marks
        if self._seconds and (
            not marks or (top > marks[-1][1] and self._last >= marks[-1][0] + MARK_SECONDS)
        ):
            marks.append((self._last, top))
        self._last = now
        while marks and marks[0][0] + self._seconds < now:
            self._floor = marks.popleft()[1]
        return self._floor


class ReplayWindow:
    """The ids received under one key.

    `size` is how far back an id may be (1: each must be higher than the last); what is behind an id that
    came `seconds` ago is too late, 0 for never. A time stamp later than all before begins a new sequence;
    any other sequence is refused unless `adopt` has made it the present one.
    """

    __slots__ = ("_ages", "_highest", "_least", "_seconds", "_size", "_taken", "_time", "_window")

    def __init__(self, size: int = 64, seconds: float = 15) -> None:
        self._size = size
        self._seconds = seconds
        self._time = 0
        self._highest = (0, 0)
        """Latest time stamp and its highest id, while an adopted sequence is the present one."""
        self._taken: deque[int] = deque(maxlen=REMEMBERED)
        self._window = Window(size)
        self._ages = Ages(seconds)
        self._least = 0

    def resume(self, time: int, packet_id: int) -> None:
        """Go on where another window had come to: nothing up to there is taken (`--replay-persist`)."""
        self._time, self._least = time, packet_id

    @property
    def latest(self) -> tuple[int, int]:
        """The latest time stamp, and the highest id under it."""
        return max(self._highest, (self._time, max(self._window.top, self._least)))

    def was_taken(self, time: int) -> bool:
        """Whether the sequence of this time stamp is, or has been, the present one."""
        return time == self._time or time in self._taken

    def adopt(self, time: int, packet_id: int) -> None:
        """Go on with a sequence that is not the latest, after this id; the caller knows that it lives."""
        self._highest = self.latest
        self._begin(time)
        self._least = packet_id

    def refuse(self, packet_id: int, time: int, now: float) -> str | None:
        """Take note of an authentic packet; why it must be dropped, or None if it is new."""
        if time != self._time:
            if time < self._time or time <= self._highest[0]:
                return OLD_SEQUENCE
            self._begin(time)
        window = self._window
        window.floor = self._ages.floor(window.top, now)
        back = window.top - packet_id
        if back >= self._size or (back >= 0 and packet_id <= window.floor):
            return TOO_LATE
        if packet_id <= self._least:
            return REPLAYED
        return None if window.accept(packet_id) else REPLAYED

    def _begin(self, time: int) -> None:
        if self._time:
            self._taken.append(self._time)
        self._time = time
        self._window = Window(self._size)
        self._ages = Ages(self._seconds)
        self._least = 0
