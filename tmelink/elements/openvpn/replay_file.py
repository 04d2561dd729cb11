"""Where a static key's packet ids have come to, kept in a file as OpenVPN keeps it (`--replay-persist`).

With it a packet that was recorded before the receiver started is refused; up to `SAVE_SECONDS` of what came
before a kill may be forgotten.
"""

from __future__ import annotations

import asyncio
import os
import struct
from logging import Logger

from tmelink import tasks
from tmelink.errors import ElementError
from tmelink.openvpn.data.replay import ReplayWindow

SAVE_SECONDS = 1.0

_IMAGE = struct.Struct("=qI4x")
"""Time stamp and id (OpenVPN 2.6, packet_id.c, struct packet_id_persist_file_image on 64 bits)."""

MODE = 0o600


class ReplayFile:
    """One link's file, and the window that all of its sessions have in common."""

    def __init__(self, path: str, window: ReplayWindow, log: Logger) -> None:
        self.window = window
        self._path = path
        self._log = log
        self._saved = (0, 0)
        self._descriptor: int | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Read the file, or make it, and save to it from now on; raises `ElementError`."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
            content = os.pread(self._descriptor, _IMAGE.size + 1, 0)
        except OSError as error:
            raise ElementError(f"--replay-persist {self._path}: {error.strerror or error}") from error
        if content and len(content) != _IMAGE.size:
            raise ElementError(
                f"--replay-persist {self._path}: this file holds something else; name another one"
            )
        if content:
            self._saved = _IMAGE.unpack(content)
            self.window.resume(*self._saved)
        self._task = asyncio.get_running_loop().create_task(self._keep_saving())

    async def close(self) -> None:
        """Save once more."""
        await tasks.end(self._task)
        self._task = None
        if self._descriptor is not None:
            self._save(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    async def _keep_saving(self) -> None:
        assert self._descriptor is not None
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            self._save(self._descriptor)

    def _save(self, descriptor: int) -> None:
        latest = self.window.latest
        if latest == self._saved:
            return
        try:
            os.pwrite(descriptor, _IMAGE.pack(*latest), 0)
        except OSError as error:
            self._log.warning("--replay-persist %s: %s", self._path, error.strerror or error)
        else:
            self._saved = latest
