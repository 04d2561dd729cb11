"""A running lab as its control socket sees it: what each method of the registries is given.

Holds what outlives a single request: the events, the rates, how the lab's file is read again. The methods
themselves are in modules of their own, by what they are about.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tmelink.control.events import EventLog
from tmelink.control.lab_names import NameLock
from tmelink.control.methods import Methods
from tmelink.control.rates import Rates
from tmelink.control.server import ControlServer
from tmelink.machine import CheckedMachine
from tmelink.runtime import Lab
from tmelink.state import Event
from tmelink.tmesh.layout import Layout


class Control:
    """One lab and the state of its run; `reload` reads its file again, which may take a while."""

    def __init__(
        self, lab: Lab, name: str, file: str, host: str | None, reload: Callable[[], CheckedMachine]
    ) -> None:
        self.lab = lab
        self.name = name
        self.file = file
        self.host = host
        self.reload = reload
        self.since = time.time()
        self.events = EventLog()
        lab.watch(self.events.add)
        self.rates = Rates(lab)
        self.changing = asyncio.Lock()
        """Held by whoever changes the lab: one change at a time."""
        self.edits: list[Callable[[Layout], None]] = []
        """What was changed since the file was read, in order."""
        self.restarting = False
        """Whether the lab is to restart once it has stopped."""
        self._beside_file = _beside(file)

    def enter_folder(self) -> None:
        """A lab that began in its file's folder goes there again: another may have its name now."""
        if self._beside_file:
            with contextlib.suppress(OSError):
                os.chdir(Path(self.file).parent)

    def note(self, kind: str, detail: str, **data: Any) -> None:
        """Note an event of the lab itself."""
        self.events.add(Event(time.time(), kind, "", detail, data))

    @contextlib.asynccontextmanager
    async def serving(self, name_lock: NameLock, methods: Methods) -> AsyncIterator[None]:
        """Listen on the lab's socket, and follow what happens; raises `OSError`."""
        sampling = asyncio.create_task(self.rates.run())
        server = ControlServer(name_lock, methods, self)
        try:
            await server.open()
            yield
        finally:
            await server.close()
            sampling.cancel()
            await asyncio.wait([sampling])


def _beside(file: str) -> bool:
    """Whether this process runs in the folder of a file with an absolute name."""
    try:
        return Path(file).is_absolute() and os.path.samefile(Path(file).parent, ".")
    except OSError:
        return False
