"""Sends to a peer that loses what comes too fast at the pace that it can take; the rest waits.

Reckons like `tmelink.openvpn.data.pace`; owns the queue and the timer. What waits is in the queue of the
machine, which is held, and here only what has been read already.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from tmelink import frame
from tmelink.frame import Counters, Frame, Run
from tmelink.offload import reports_loss
from tmelink.openvpn.data.pace import Pace
from tmelink.openvpn.session import Item

PIECES = 16
"""Datagrams that are sealed and sent in one go: enough to share their costs, too few to overrun a buffer."""

LOOKED_AT = 4
"""Frames at the end of a burst that are looked at for signs of loss."""

EVERY = 16
"""Datagrams that are sent between two looks at frames that come alone: an idle tunnel pays nothing."""


class PacedSender:
    """Passes frames to `send`, which counts in `sent` what goes on the wire.

    `begin` is called where a limit begins.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], None],
        hold: Callable[[bool], None],
        sent: Counters,
        begin: Callable[[], None],
        *,
        ip: bool,
    ) -> None:
        self._pace = Pace()
        self._send = send
        self._hold = hold
        self._sent = sent
        self._begin = begin
        self._ip = ip
        self._queue: deque[tuple[list[Item], int]] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.look_at = 0
        """How many datagrams have to have been sent before a frame that comes alone is looked at."""

    def heard(self, items: Sequence[Item]) -> None:
        """Frames from the peer, whose TCP may ask for what was lost."""
        now, pace, ip = self._loop.time(), self._pace, self._ip
        pace.sample(self._sent.frames, now)
        self.look_at = self._sent.frames + EVERY
        for item in items[-LOOKED_AT:]:
            if not isinstance(item, Run) and reports_loss(item, ip=ip):
                limited = pace.limited
                pace.lost(now)
                if pace.limited and not limited:
                    self._begin()
                return

    def enqueue(self, items: Sequence[Item]) -> None:
        """Send what may go now, and queue the rest."""
        self._queue += _portions(items)
        if self._timer is None:
            self._release()

    def close(self) -> None:
        """Drop what still waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._hold(False)
        self._sent.drops["link down"] += sum(count for _portion, count in self._queue)
        self._queue.clear()

    def _release(self) -> None:
        held, self._timer = self._timer is not None, None
        queue, pace, time = self._queue, self._pace, self._loop.time
        while queue and not pace.wait(now := time()):
            portion, count = queue.popleft()
            self._send(portion)
            pace.sent(count, now)
        if queue:
            now = time()
            self._timer = self._loop.call_at(now + pace.wait(now), self._release)
        if held != (self._timer is not None):
            self._hold(not held)


def _portions(items: Sequence[Item]) -> list[tuple[list[Item], int]]:
    """The items in portions of at most `PIECES` datagrams, kept: frames that are only lent are copied."""
    portions: list[tuple[list[Item], int]] = []
    singles: list[Item] = []
    for item in items:
        if not isinstance(item, Run):
            singles.append(_kept(item))
            if len(singles) == PIECES:
                portions.append((singles, PIECES))
                singles = []
            continue
        if singles:
            portions.append((singles, len(singles)))
            singles = []
        data, size = item
        for at in range(0, len(data), PIECES * size):
            part = Run(data[at : at + PIECES * size], size)
            portions.append(([part], frame.count((part,))))
    if singles:
        portions.append((singles, len(singles)))
    return portions


def _kept(item: Frame) -> Frame:
    return item if isinstance(item, bytes) else bytes(item)
