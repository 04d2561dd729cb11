"""A lab as a service: tells its manager how it is, reads its file again on SIGHUP, keeps a PID file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

from tmelink.control import changing
from tmelink.control.control import Control
from tmelink.errors import TmelinkError
from tmelink.state import Event
from tmelink.system.service_manager import ServiceManager

STATUS_SECONDS = 1.0
"""Between two lines of status at least: links of a large lab come up by the hundred."""

log = logging.getLogger("tmelink.run")


class Service:
    """What a lab reports to the process that started it."""

    def __init__(self, control: Control, manager: ServiceManager, pid_file: Path | None) -> None:
        self._control = control
        self._manager = manager
        self._pid_file = pid_file
        self._reported = ""
        self._open = False
        self._terminal = next(filter(os.isatty, range(3)), None)
        self._later: asyncio.TimerHandle | None = None
        self._reloading: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the lab is open, before it gives up privileges; raises `TmelinkError` without a PID file."""
        loop = asyncio.get_running_loop()
        stop = self._control.events.follow(self._happened)
        tasks = []
        if self._manager.watchdog is not None:
            tasks.append(loop.create_task(self._feed(self._manager.watchdog)))
        self._open = True
        try:
            self._write_pid()
            yield
        finally:
            self._manager.tell("STOPPING=1")
            self._open = False
            for task in (*tasks, self._reloading):
                if task is not None:
                    task.cancel()
            if self._later is not None:
                self._later.cancel()
            stop()
            if self._pid_file is not None:
                with contextlib.suppress(PermissionError):  # of one that has become another user
                    self._pid_file.unlink(missing_ok=True)

    def ready(self) -> None:
        """Everything is open, and nothing can fail any more: tell whoever started the lab."""
        self._manager.ready(self._status())

    def hung_up(self) -> bool:
        """SIGHUP: apply the lab's file as it is now; False if a terminal that was closed sent it."""
        if not self._open or (self._terminal is not None and not os.isatty(self._terminal)):
            return False
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._reload())
        return True

    async def _reload(self) -> None:
        self._manager.reloading()
        try:
            done = await changing.apply(self._control)
        except TmelinkError as error:
            log.error("the file was not applied: %s", error)
        else:
            for change in done["changes"]:
                log.info("applied: %s %s", change["kind"], change["what"])
            if not done["changes"]:
                log.info("applied: nothing differs")
        self._manager.ready(self._status())

    def _write_pid(self) -> None:
        if self._pid_file is None:
            return
        try:
            self._pid_file.write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise TmelinkError(f"cannot write --pidfile {self._pid_file}: {error.strerror}") from error

    def _status(self) -> str:
        elements = self._control.lab.machine.elements.values()
        self._reported = f"{sum(element.up for element in elements)} of {len(elements)} elements up"
        return self._reported

    def _happened(self, event: Event) -> None:
        if self._later is None and self._manager.present:
            self._later = asyncio.get_running_loop().call_later(STATUS_SECONDS, self._report_status)

    def _report_status(self) -> None:
        self._later = None
        before = self._reported
        if self._status() != before:
            self._manager.tell(f"STATUS={self._reported}")

    async def _feed(self, seconds: float) -> None:
        """Tell the watchdog that the loop runs, twice as often as it requires."""
        while True:
            self._manager.tell("WATCHDOG=1")
            await asyncio.sleep(seconds / 2)
