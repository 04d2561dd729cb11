"""A control socket for VDE's plugs (QEMU, vde_plug, user-mode Linux), which replaces a vde_switch.

All who are plugged in and the machine's side share one segment, as on a hub: which station is where a
`tmelink/switch` knows better, and guests hear what is for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from logging import Logger
from pathlib import Path

from tmelink import errors
from tmelink.elements.emulators.cable import Endpoint
from tmelink.elements.emulators.unix_carrier import bound
from tmelink.errors import ElementError, ProtocolError
from tmelink.frame import Frame, Run
from tmelink.system import remains
from tmelink.transport import vde
from tmelink.transport.unix_datagrams import UnixDatagrams

PLUGS = 32
"""The most plugs at once, as many as a vde_switch has ports by default."""

ACCEPT_PAUSE = 1.0
"""Seconds until the next attempt to accept, after one that failed."""

REQUEST_SECONDS = 5.0
"""Seconds that a new connection may take to send its request."""


class VdeSocket:
    """Carries an endpoint's frames to every plug in the directory `path`, made with `mode` if missing."""

    def __init__(
        self, endpoint: Endpoint, log: Logger, changed: Callable[[bool, str], None], path: str, *, mode: int
    ) -> None:
        self._endpoint = endpoint
        self._log = log
        self._changed = changed
        # The other end may have another working directory.
        self._path = Path(path).absolute()
        self._mode = mode
        self._made = False
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._visits: set[asyncio.Task[None]] = set()
        self._plugs: dict[int, UnixDatagrams] = {}
        self._numbers: set[int] = set()

    @property
    def _control(self) -> Path:
        return self._path / "ctl"

    async def open(self) -> None:
        """Make the directory and listen in it; raises `ElementError`."""
        try:
            self._path.mkdir(mode=self._mode)
            self._made = True
            remains.note(remains.FOLDER, self._path)
        except FileExistsError:
            if not self._path.is_dir():
                raise ElementError(f"{self._path} is not a directory: choose another path") from None
        except OSError as error:
            raise ElementError(f"{self._path}: {error.strerror}") from error
        self._listening = bound(str(self._control), socket.SOCK_STREAM)
        if self._made:
            # The process's umask has taken from it what the file asks for.
            self._path.chmod(self._mode)
        self._control.chmod(self._mode)
        self._listening.listen()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._listening))

    async def close(self) -> None:
        """Disconnect every plug and remove the directory if it was made here."""
        tasks = [task for task in (self._accepting, *self._visits) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
            _remove(self._control)
        if self._made:
            _remove(self._path)

    def send(self, items: Sequence[Frame | Run]) -> None:
        """Send to every plug."""
        for plug in self._plugs.values():
            plug.send(items)

    def pause(self, paused: bool) -> None:
        """Let the plugs wait, or continue."""
        for plug in self._plugs.values():
            plug.pause(paused)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors, most likely: others may give some back.
                self._log.warning("accepting: %s", errors.reason(error))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._visits) >= PLUGS:
                self._endpoint.received.drops["too many plugs"] += 1
                sock.close()
                continue
            task = loop.create_task(self._attend(sock))
            self._visits.add(task)
            task.add_done_callback(self._visits.discard)

    async def _attend(self, asking: socket.socket) -> None:
        """Serve one plug until it disconnects."""
        number = next(n for n in range(1, PLUGS + 2) if n not in self._numbers)
        self._numbers.add(number)
        own = self._path / f"{number:03}.{asking.fileno()}"
        with contextlib.ExitStack() as stack:
            stack.callback(self._numbers.discard, number)
            stack.enter_context(asking)
            asking.setblocking(False)
            try:
                plug, request = await self._plug(asking, number, own, stack)
            except UnreachablePlugError as error:
                self._endpoint.received.drops["unreachable plug"] += 1
                self._log.warning("%s", error)
                return
            except (OSError, TimeoutError, ProtocolError):
                self._endpoint.received.drops["not a plug's request"] += 1
                return
            self._join(number, plug)
            who = f"port {number}" + (f": {request.description}" if request.description else "")
            self._log.info("plugged into %s", who)
            try:
                while await asyncio.get_running_loop().sock_recv(asking, 256):
                    pass
            except OSError:
                # Whoever ends a connection with a reset has pulled the plug too.
                pass
            finally:
                self._leave(number, plug)
                self._log.info("pulled from %s", who)

    async def _plug(
        self, asking: socket.socket, number: int, own: Path, stack: contextlib.ExitStack
    ) -> tuple[UnixDatagrams, vde.VdeRequest]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(REQUEST_SECONDS):
            request = vde.parse(await loop.sock_recv(asking, vde.MAX_REQUEST))
        data = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        data.setblocking(False)
        data.bind(str(own))
        remains.note(remains.SOCKET, own)
        stack.callback(_remove, own)
        os.chmod(own, self._mode)
        try:
            data.connect(request.path)
        except OSError as error:
            raise UnreachablePlugError(request, error) from error
        endpoint = self._endpoint
        plug = UnixDatagrams(
            data,
            lambda items: self._arrived(number, items),
            endpoint.hold_machine,
            endpoint.sent,
            endpoint.received,
        )
        stack.callback(plug.close)
        await loop.sock_sendall(asking, vde.address(str(own)))
        return plug, request

    def _join(self, number: int, plug: UnixDatagrams) -> None:
        self._plugs[number] = plug
        if len(self._plugs) == 1:
            self._endpoint.carrier = self
            self._changed(True, str(self._path))

    def _leave(self, number: int, plug: UnixDatagrams) -> None:
        del self._plugs[number]
        if not self._plugs:
            self._endpoint.carrier = None
            self._changed(False, f"{self._path}: the last plug was pulled")

    def _arrived(self, number: int, items: Sequence[Frame | Run]) -> None:
        for other, plug in self._plugs.items():
            if other != number:
                plug.send(items)
        self._endpoint.deliver(items)


class UnreachablePlugError(ElementError):
    """The socket that a plug has named takes no frames."""

    def __init__(self, request: vde.VdeRequest, error: OSError) -> None:
        who = f"the plug '{request.description}'" if request.description else "a plug"
        why = _WHY.get(error.errno or 0) or errors.reason(error)
        path = request.path
        # An abstract name is shown as ss(8) does.
        shown = path if isinstance(path, str) else "@" + path[1:].rstrip(b"\0").decode(errors="replace")
        super().__init__(f"{who} is disconnected, since its socket {shown} cannot be reached: {why}")


_WHY = {
    errno.EACCES: "this user may not write to it; give the plug a mode that allows it, as with "
    "'vde_plug -m 666' or QEMU's 'mode=0666'",
    errno.EPERM: "it is already connected to another socket",
}


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        remains.remove(path)
