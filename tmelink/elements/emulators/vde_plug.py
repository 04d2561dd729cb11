"""Plugging into a VDE switch, and again after it was restarted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from logging import Logger
from pathlib import Path

from tmelink import errors, tasks
from tmelink.elements.emulators.cable import Endpoint
from tmelink.errors import ProtocolError
from tmelink.system import remains
from tmelink.transport import vde
from tmelink.transport.unix_datagrams import UnixDatagrams

RETRY_PAUSE = 1.0
"""Seconds between two attempts: a switch is on this computer, and starts in less."""

ANSWER_SECONDS = 5.0
"""How long a switch may take to answer a request."""

_numbers = itertools.count(1)


class VdePlug:
    """Carries an endpoint's frames to a VDE switch, whose directory (or control socket) is at `path`.

    `port` asks for one of the switch's ports by number; 0 takes any free one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        log: Logger,
        changed: Callable[[bool, str], None],
        path: str,
        *,
        port: int,
        description: str,
    ) -> None:
        self._endpoint = endpoint
        self._log = log
        self._changed = changed
        # The other end may have another working directory.
        self._path = Path(path).absolute()
        self._port = port
        self._description = description
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to connect."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Disconnect the plug."""
        await tasks.end(self._task)

    async def _run(self) -> None:
        said = ""
        while True:
            try:
                await self._stay()
                said = ""
            except (OSError, TimeoutError, ProtocolError) as error:
                if isinstance(error, TimeoutError):
                    reason = "no answer"
                else:
                    reason = errors.reason(error) if isinstance(error, OSError) else str(error)
                if reason != said:
                    self._log.info("%s: %s; trying again every %g s", self._path, reason, RETRY_PAUSE)
                    said = reason
            await asyncio.sleep(RETRY_PAUSE)

    async def _stay(self) -> None:
        """Plug in, and stay connected until the switch ends the control connection."""
        loop = asyncio.get_running_loop()
        control = self._path / "ctl" if self._path.is_dir() else self._path
        # Beside the control socket, where the switch can reach it whatever its own directory is.
        own = control.parent / f".tmelink-{os.getpid()}-{next(_numbers)}"
        endpoint = self._endpoint
        with contextlib.ExitStack() as stack:
            asking = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            asking.setblocking(False)
            data = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            async with asyncio.timeout(ANSWER_SECONDS):
                await loop.sock_connect(asking, str(control))
                data.bind(str(own))
                remains.note(remains.SOCKET, own)
                stack.callback(_remove, own)
                await loop.sock_sendall(
                    asking, vde.VdeRequest(str(own), self._port, self._description).build()
                )
                answer = await loop.sock_recv(asking, vde.ADDRESS.size)
            if not answer:
                raise ProtocolError(
                    "the switch refuses the plug: it is full, the port is taken, or its user may not "
                    f"write to sockets in {control.parent}"
                )
            data.connect(vde.path(answer))
            carrier = UnixDatagrams(
                data, endpoint.deliver, endpoint.hold_machine, endpoint.sent, endpoint.received
            )
            stack.callback(carrier.close)
            endpoint.carrier = carrier
            try:
                self._changed(True, str(self._path))
                # Nothing more is said on it; it ends with the switch, or when the port is removed.
                while await loop.sock_recv(asking, 256):
                    pass
            finally:
                endpoint.carrier = None
            self._changed(False, f"{self._path}: the switch has gone")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        remains.remove(path)
