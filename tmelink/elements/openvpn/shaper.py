"""--shaper: limits what a machine sends to so many bytes a second; the rest waits.

Reckons like `tmelink.openvpn.data.shaper`; owns the queue and the timer. A machine that can is asked to stop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from tmelink.frame import Counters, Frame, Run
from tmelink.openvpn.data.shaper import Shaper

QUEUE = 256
"""The most frames that wait: at a low rate, more would only arrive too late."""


class FrameShaper:
    """Passes frames to `send`, which counts what goes on the wire in `sent`.

    `overhead` is what each datagram has around it outside, in bytes.
    """

    def __init__(
        self,
        rate: int,
        overhead: int,
        send: Callable[[Sequence[Frame]], None],
        hold: Callable[[bool], None],
        sent: Counters,
    ) -> None:
        self._shaper = Shaper(rate)
        self._overhead = overhead
        self._send = send
        self._hold = hold
        self._sent = sent
        self._queue: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def enqueue(self, items: Sequence[Frame | Run]) -> None:
        """Send what may go now and queue the rest; frames beyond the queue are dropped and counted."""
        for item in items:
            for piece in item.pieces() if isinstance(item, Run) else (item,):
                if len(self._queue) < QUEUE:
                    self._queue.append(bytes(piece))
                else:
                    self._sent.drops["over --shaper"] += 1
        if self._timer is None:
            self._release()

    def close(self) -> None:
        """Drop what still waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._hold(False)
        self._sent.drops["over --shaper"] += len(self._queue)
        self._queue.clear()

    def _release(self) -> None:
        now = self._loop.time()
        held, self._timer = self._timer is not None, None
        sent = self._sent
        while self._queue and not self._shaper.hold(now):
            frames, size = sent.frames, sent.bytes
            self._send([self._queue.popleft()])
            self._shaper.sent(sent.bytes - size + (sent.frames - frames) * self._overhead, now)
        if self._queue:
            self._timer = self._loop.call_at(now + self._shaper.hold(now), self._release)
        if held != (self._timer is not None):
            self._hold(not held)
