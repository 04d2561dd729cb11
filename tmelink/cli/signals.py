"""What signals do to a lab in the foreground; the only place where `tmelink run` handles them.

The first that asks for an end, SIGHUP of a closed terminal too, closes the lab; any other SIGHUP has it read
its file again. A further one shortens the closing, but never the restoring of the host, which comes first:
only after that does it end the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from tmelink.runtime import Lab
from tmelink.system import remains

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

REMAINS_SECONDS = 2.0
"""How long an impatient signal waits for folders and namespaces to be removed, which takes milliseconds."""

log = logging.getLogger("tmelink.run")


class Signals:
    """Closes a lab on signals, from `listen` on; `hung_up` handles SIGHUP, or returns False."""

    def __init__(self, lab: Lab, hung_up: Callable[[], bool]) -> None:
        self._lab = lab
        self._hung_up = hung_up
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Begin; signals that the process was started to ignore, as by nohup(1), stay ignored."""
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, self._obey, number)
        self._task = self._loop.create_task(self._when_restored())

    def _obey(self, number: signal.Signals) -> None:
        if self._closing:
            self._lab.hurry()
            return
        if number.name == "SIGHUP" and self._hung_up():
            return
        self._closing = True
        log.info("%s: closing", number.name)
        self._lab.stop()

    async def _when_restored(self) -> None:
        await self._lab.restored.wait()
        # An element that closes without letting the loop run would keep a handler of the loop's from running.
        for number in ENDING:
            if self._loop.remove_signal_handler(number):
                signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    # In a thread: rtnetlink's library refuses one that runs an event loop, as this does.
    removing = threading.Thread(target=_remove, daemon=True)
    removing.start()
    removing.join(REMAINS_SECONDS)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _remove() -> None:
    with contextlib.suppress(Exception):
        remains.remove_all()
