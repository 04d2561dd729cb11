"""A timer for deadlines that traffic postpones: `DeadlineTimer`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class DeadlineTimer:
    """Calls `callback` at a deadline of the running loop's clock, or sooner; that arms it again.

    Traffic postpones deadlines all the time. So a later deadline leaves the timer as it is, and one that
    fires too early finds nothing due.
    """

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, deadline: float | None) -> None:
        """Fire at `deadline` at the latest, in seconds of `loop.time()`; None asks for nothing."""
        if deadline is None:
            return
        if self._handle is not None:
            if self._handle.when() <= deadline:
                return
            self._handle.cancel()
        self._handle = asyncio.get_running_loop().call_at(deadline, self._fire)

    def cancel(self) -> None:
        """Do not fire until it is armed again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._callback()
