"""Restarts a program by policy when it ends; its element knows which program it is."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from tmelink import tasks
from tmelink.element import Element
from tmelink.errors import ElementError
from tmelink.state import Details

NEVER, ON_FAILURE, ALWAYS = "never", "on-failure", "always"

SHORTEST_PAUSE = 1.0
"""Seconds before the first restart; each further pause is twice as long, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = 60.0

STEADY = 10.0
"""After a run of so many seconds, pauses start from the shortest again: it was not for want of starting again
that the program ended, and one that does so all the time costs a start in eleven seconds."""

SETTLED = 2.0
"""Seconds that a program runs before it is called up again, where it has ended for some reason before."""


class Running(Protocol):
    """A running program."""

    async def wait(self) -> int:
        """Its exit status once it has ended; also releases what it took from the host."""

    async def stop(self) -> None:
        """End it: ask first, then kill it."""

    @property
    def pid(self) -> int:
        """Its process number."""

    @property
    def said(self) -> str:
        """Its last output, to explain its exit."""


@dataclass(frozen=True, slots=True)
class ProcessDetails(Details):
    """A program that an element runs: its process number, None while it does not run, and new starts."""

    pid: int | None
    restarts: int

    @property
    def summary(self) -> str:
        """The process, and how often it was started again."""
        again = f", started again {self.restarts} times" if self.restarts else ""
        return f"process {self.pid}{again}" if self.pid is not None else f"no process{again}"


class Supervisor:
    """Starts a program and watches it; `launch` starts it once, or raises `ElementError`.

    A program that ends again and again for one reason is called down once, until it stays up.
    """

    def __init__(self, element: Element, launch: Callable[[], Awaitable[Running]], policy: str) -> None:
        self.running: Running | None = None
        self.starts = 0
        self._element = element
        self._launch = launch
        self._policy = policy
        self._task: asyncio.Task[None] | None = None
        self._last_end = ""
        self._settling: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Start it; raises if the first start fails."""
        self.running = await self._launch()
        self.starts = 1
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def came_up(self, detail: str) -> None:
        """The program runs: report it at once, or once it has stayed up where it has ended before."""
        if self._last_end:
            self._settling = asyncio.get_running_loop().call_later(SETTLED, self._settle, detail)
        else:
            self._settle(detail)

    def _settle(self, detail: str) -> None:
        self._settling = None
        self._element.changed(True, detail)

    def details(self) -> ProcessDetails:
        """For the element to tell."""
        return ProcessDetails(self.running.pid if self.running is not None else None, max(0, self.starts - 1))

    async def close(self) -> None:
        """End it permanently."""
        await tasks.end(self._task)
        if self._settling is not None:
            self._settling.cancel()
        if self.running is not None:
            await self.running.stop()
            self.running = None

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause = SHORTEST_PAUSE
        began = loop.time()
        while True:
            if self.running is not None:
                status = await self.running.wait()
                end = _ending(status, self.running.said)
                self.running = None
                repeated = end == self._last_end and not self._element.up
                self._last_end = end
                if self._settling is not None:
                    self._settling.cancel()
                    self._settling = None
                self._element.happened("process ended", end, status=status)
                if self._policy == NEVER or (self._policy == ON_FAILURE and status == 0):
                    if status:
                        self._element.failed(ElementError(end))
                    else:
                        self._element.changed(False, end)
                    return
                if loop.time() - began >= STEADY:
                    pause = SHORTEST_PAUSE
                if not repeated:
                    self._element.changed(False, f"{end}; starting again in {pause:g} s, then less often")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            began = loop.time()
            try:
                self.running = await self._launch()
                self.starts += 1
                self._element.happened("process started", f"start {self.starts}")
            except (ElementError, OSError) as error:
                if str(error) != self._last_end:
                    self._element.log.warning("%s; trying again in %g s, then less often", error, pause)
                self._last_end = str(error)


def _ending(status: int, said: str) -> str:
    if status >= 0:
        end = f"ended with status {status}"
    else:
        try:
            end = f"ended by {signal.Signals(-status).name}"
        except ValueError:
            end = f"ended by signal {-status}"
    return f"{end}: {said}" if said else end
