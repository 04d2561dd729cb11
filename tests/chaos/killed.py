"""A lab in a process of its own that SIGKILL ends: it says nothing to anybody, and starts again at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import tmelink
from tmelink.system import event_loop

START_SECONDS = 60
"""For a lab to be up, on a busy computer."""

PROCESSES = multiprocessing.get_context("forkserver")
"""Processes are forked from one that has loaded everything (`tests.chaos.loaded`)."""

PROCESSES.set_forkserver_preload(["tests.chaos.loaded"])


def _live(text: str, ready: Connection) -> None:
    """Run a lab until the process is killed."""

    async def main() -> None:
        async with tmelink.load(text).run():
            ready.send(time.monotonic())
            await asyncio.Event().wait()

    event_loop.run(main())


class Killed:
    """An end in a process of its own, forked from one that has loaded everything."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._process: ForkServerProcess | None = None

    async def start(self) -> float:
        """Start it; returns when it says that it runs."""
        here, there = PROCESSES.Pipe(duplex=False)
        process = self._process = PROCESSES.Process(target=_live, args=(self._text, there), daemon=True)
        began = asyncio.get_running_loop().create_future()
        await asyncio.to_thread(process.start)
        there.close()
        asyncio.get_running_loop().add_reader(here.fileno(), began.set_result, None)
        try:
            async with asyncio.timeout(START_SECONDS):
                await began
            at: float = here.recv()
            return at
        finally:
            asyncio.get_running_loop().remove_reader(here.fileno())
            here.close()

    async def kill(self) -> None:
        """End it by SIGKILL, so that it says nothing to its peer."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.join)
            self._process = None
