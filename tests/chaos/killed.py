"""A lab in a process of its own that SIGKILL ends: it says nothing to anybody, and starts again at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import ClassVar

import tmelink
from tmelink.system import event_loop

START_SECONDS = 60
"""For a lab to be up, on a busy computer."""

PROCESSES = multiprocessing.get_context("forkserver")
"""Processes are forked from one that has loaded everything (`tests.chaos.loaded`)."""

PROCESSES.set_forkserver_preload(["tests.chaos.loaded"])


def _live(text: str, ready: Connection, folder: str) -> None:
    """Run a lab until the process is killed, with its temporary files in a folder."""
    os.environ["TMPDIR"] = tempfile.tempdir = folder

    async def main() -> None:
        async with tmelink.load(text).run():
            ready.send(time.monotonic())
            await asyncio.Event().wait()

    event_loop.run(main())


class Killed:
    """An end in a process of its own, forked from one that has loaded everything."""

    pids: ClassVar[list[int]] = []
    """Of all that were started."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._process: ForkServerProcess | None = None

    async def start(self) -> float:
        """Start it; returns when it says that it runs."""
        here, there = PROCESSES.Pipe(duplex=False)
        process = self._process = PROCESSES.Process(
            target=_live, args=(self._text, there, tempfile.gettempdir()), daemon=True
        )
        began = asyncio.get_running_loop().create_future()
        await asyncio.to_thread(process.start)
        there.close()
        assert process.pid is not None
        self.pids.append(process.pid)
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
            self._process.close()
            self._process = None

    def stop(self) -> None:
        """SIGSTOP: it neither reads nor says anything."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
