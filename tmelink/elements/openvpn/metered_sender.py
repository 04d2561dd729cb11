"""Sends to a peer with a small receive buffer no more than that has room for; the rest waits.

Reckons like `tmelink.openvpn.data.credit`; owns the queue and the timer. Most of what waits is in the queue
of the machine, which is held, and here only what has been read already.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from tmelink import frame
from tmelink.frame import Frame, Run
from tmelink.openvpn.data.credit import STEP, Credit
from tmelink.openvpn.session import Item
from tmelink.timers import DeadlineTimer

PIECES: Final = STEP
"""Datagrams that are sealed and sent in one go: enough to share their costs, less than half of the buffer."""

MANY: Final = 192
FEW: Final = 48
"""Datagrams that wait while the machine is held, and until it may go on: it goes on less often than the peer
answers, and before nothing is left."""

QUEUE: Final = 4000
"""Datagrams that wait at most, as far as a machine can be held; of one that cannot, the oldest go all the
same, and the peer drops what it cannot take."""


class MeteredSender:
    """Passes frames to `send`, and with some a question of so many bytes (0 for none); `hold` holds the
    machine."""

    def __init__(
        self,
        send: Callable[[Sequence[Item], int], None],
        hold: Callable[[bool], None],
    ) -> None:
        self._credit = Credit()
        self._send = send
        self._hold = hold
        self._queue: deque[tuple[Sequence[Item], int]] = deque()
        self._waiting = 0
        self._loop = asyncio.get_running_loop()
        self._timer = DeadlineTimer(self._late)
        self._held = False

    @property
    def busy(self) -> bool:
        """Whether something waits, which nothing may overtake."""
        return bool(self._queue)

    def enqueue(self, items: Sequence[Item]) -> None:
        """Send what may go now, and keep the rest."""
        count = frame.count(items)
        if not self._queue and (not self._credit.limits or count <= self._credit.room):
            self._pass(items, count)
            return
        for portion in portions(items):
            self._queue.append(portion)
            self._waiting += portion[1]
        self._release()

    def answered(self, length: int) -> None:
        """The peer has answered with so many bytes."""
        self._credit.answered(length, self._loop.time())
        if self._queue:
            self._release()

    def close(self) -> int:
        """Drop what still waits; how many datagrams that are."""
        self._timer.cancel()
        if self._held:
            self._held = False
            self._hold(False)
        self._queue.clear()
        dropped, self._waiting = self._waiting, 0
        return dropped

    def _pass(self, items: Sequence[Item], count: int) -> None:
        now = self._loop.time()
        self._send(items, self._credit.ask(now) if self._credit.sent(count, now) else 0)

    def _release(self) -> None:
        credit, queue = self._credit, self._queue
        while queue:
            count = queue[0][1]
            if credit.limits and credit.room < count and self._waiting <= QUEUE:
                break
            items, _ = queue.popleft()
            self._waiting -= count
            self._pass(items, count)
        if queue:
            if credit.deadline() is None:
                # Too few are under way to have been asked about, and too many for more.
                self._send((), credit.ask(self._loop.time()))
            self._timer.arm(credit.deadline())
        if self._held != (self._waiting > (FEW if self._held else MANY)):
            self._held = not self._held
            self._hold(self._held)

    def _late(self) -> None:
        """The timer has fired, perhaps for a question that has been answered meanwhile."""
        now, due = self._loop.time(), self._credit.deadline()
        if self._queue and due is not None and now >= due and self._credit.late():
            self._send((), self._credit.ask(now))
        self._release()


def portions(items: Sequence[Item]) -> list[tuple[list[Item], int]]:
    """The items in portions of at most `PIECES` datagrams, with their count.

    They are kept: frames that are only lent are copied, runs are not lent.
    """
    made: list[tuple[list[Item], int]] = []
    singles: list[Item] = []
    for item in items:
        if not isinstance(item, Run):
            if not singles or len(singles) == PIECES:
                singles = []
                made.append((singles, 0))
            singles.append(_kept(item))
            made[-1] = singles, len(singles)
            continue
        singles = []
        data, size = item
        for at in range(0, len(data), PIECES * size):
            part = Run(data[at : at + PIECES * size], size)
            made.append(([part], frame.count((part,))))
    return made


def _kept(item: Frame) -> Frame:
    return item if isinstance(item, bytes) else bytes(item)
