"""Frames over a unix datagram socket: one bound to a path, which looks for its peer's path.

The kernel lets only the peer send to a connected unix socket, so nobody else is heard. Who was restarted at
the same path has a new socket there: the path is connected to again and again, which costs one call a second
and notices that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from tmelink import errors, frame, tasks
from tmelink.elements.emulators.cable import Endpoint
from tmelink.errors import ElementError
from tmelink.frame import Frame, Run
from tmelink.system import remains
from tmelink.transport.endpoints import UnixPath
from tmelink.transport.unix_datagrams import UnixDatagrams

OWN_MODE = 0o600
"""Of a socket's path unless the file asks for another: for this user alone."""

LOOK_PAUSE = 1.0
"""Seconds between two checks of the peer's path."""


class UnixCarrier:
    """Carries an endpoint's frames in unix datagrams; `changed(up, detail)` reports the peer's state."""

    def __init__(
        self,
        endpoint: Endpoint,
        changed: Callable[[bool, str], None],
        *,
        local: UnixPath,
        remote: UnixPath,
        mode: int = OWN_MODE,
    ) -> None:
        self._endpoint = endpoint
        self._changed = changed
        self._local = local
        self._remote = remote
        self._mode = mode
        self._datagrams: UnixDatagrams | None = None
        self._looking: asyncio.Task[None] | None = None
        self._up = False

    async def open(self) -> None:
        """Bind, and begin to look for the peer; raises `ElementError` if the path is not available."""
        sock = bound(self._local.path, mode=self._mode)
        endpoint = self._endpoint
        self._datagrams = UnixDatagrams(
            sock, self._arrived, endpoint.hold_machine, endpoint.sent, endpoint.received
        )
        endpoint.carrier = self._datagrams
        self._look()
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    async def close(self) -> None:
        """Close the socket and remove its path."""
        self._endpoint.carrier = None
        await tasks.end(self._looking)
        if self._datagrams is not None:
            self._datagrams.close()
            with contextlib.suppress(OSError):
                remains.remove(Path(self._local.path))

    def _arrived(self, items: Sequence[Frame | Run]) -> None:
        if not self._up:
            # Most likely the peer, which has come since it was looked for.
            self._look()
        if self._up:
            self._endpoint.deliver(items)
        else:
            self._endpoint.received.drops["no peer yet"] += frame.count(items)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_PAUSE)
            self._look()

    def _look(self) -> None:
        assert self._datagrams is not None, "it looks once it is open"
        try:
            self._datagrams.sock.connect(self._remote.path)
        except OSError as error:
            up, detail = False, f"{self._remote}: {error.strerror}"
        else:
            up, detail = True, self._remote.path
        if up != self._up:
            self._up = up
            self._changed(up, detail)


def bound(path: str, kind: socket.SocketKind = socket.SOCK_DGRAM, mode: int = OWN_MODE) -> socket.socket:
    """A unix socket bound to `path`, in place of one that nobody has open any more; raises `ElementError`.

    Whoever may write to it can send frames: `mode` says who, whatever the umask.
    """
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.setblocking(False)
    try:
        # The path has no more rights than the socket, not for a moment, and then those asked for.
        os.fchmod(sock.fileno(), OWN_MODE)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _abandoned(path, kind):
                raise
            os.unlink(path)
            sock.bind(path)
        remains.note(remains.SOCKET, Path(path))
        os.chmod(path, mode)
    except OSError as error:
        sock.close()
        raise ElementError(_refusal(path, error)) from error
    return sock


def _abandoned(path: str, kind: socket.SocketKind) -> bool:
    """Whether `path` is a socket that no program has open."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _refusal(path: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{path} is in use by another program, or no socket: choose another path"
    if error.errno == errno.ENOENT:
        return f"{path}: its directory does not exist; make it first"
    return f"{path}: {errors.reason(error)}"
