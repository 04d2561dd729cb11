"""Frames over a stream, each after its length: connecting, accepting, and trying again.

QEMU's stream netdev, passt and the processes that tmelink starts have a length of 32 bits, others one of 16.
One connection stands at a time. Nothing in the format proves who sends, so a second connection never takes
the place of one that stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from logging import Logger
from pathlib import Path

from tmelink import errors, tasks
from tmelink.elements.emulators.cable import Endpoint
from tmelink.elements.emulators.unix_carrier import OWN_MODE, bound
from tmelink.system import remains
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.endpoints import Inet, SocketAddress, UnixPath
from tmelink.transport.streams import LONG, MAX_DATAGRAM, Stream

LIMIT = 4096 + 65536
"""The longest frame that QEMU sends or takes (its NET_BUFSIZE)."""

RETRY_PAUSE = 1.0
"""Seconds between two attempts to connect: the other end is commonly on this computer, and starts fast."""

CONNECT_SECONDS = 10.0
"""Seconds that a connection may take to be established."""

KEEP_IDLE, KEEP_INTERVAL, KEEP_COUNT = 10, 5, 3
"""TCP keepalive: seconds of silence before the first probe, seconds between probes, and their number. A peer
that has vanished is noticed in 25 s."""

PARTING_SECONDS = 1.0
"""Seconds that a new connection waits for the end of the present one: that of a restarted peer has ended, but
that may not have been read yet."""

Changed = Callable[[bool, str], None]


class StreamCarrier:
    """Carries an endpoint's frames over one connected stream; `over` gets the reason once it has ended."""

    def __init__(self, endpoint: Endpoint, sock: socket.socket, prefix: struct.Struct = LONG) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._endpoint = endpoint
        self._stream = Stream(
            sock,
            endpoint.deliver,
            self._ended,
            endpoint.hold_machine,
            endpoint.sent,
            endpoint.received,
            limit=LIMIT if prefix is LONG else MAX_DATAGRAM,
            prefix=prefix,
            # QEMU takes an empty frame as well: it is too short, and the stream goes on after it.
            shortest=0,
        )
        endpoint.carrier = self._stream

    def close(self) -> None:
        """Close the connection."""
        if self._endpoint.carrier is self._stream:
            self._endpoint.carrier = None
        self._stream.close()

    def _ended(self, reason: str) -> None:
        self.close()
        if not self.over.done():
            self.over.set_result(reason)


class StreamClient:
    """Connects to an address, and again after each break."""

    def __init__(
        self,
        endpoint: Endpoint,
        log: Logger,
        changed: Changed,
        remote: SocketAddress,
        *,
        prefix: struct.Struct = LONG,
    ) -> None:
        self._prefix = prefix
        self._endpoint = endpoint
        self._log = log
        self._changed = changed
        self._remote = remote
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to connect."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End the connection, and stop connecting."""
        await tasks.end(self._task)

    async def _run(self) -> None:
        said = ""
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    sock = await connected(self._remote)
            except (OSError, TimeoutError) as error:
                # A timeout is an OSError too.
                reason = "no answer" if isinstance(error, TimeoutError) else errors.reason(error)
                if reason != said:
                    self._log.info("%s: %s; trying again every %g s", self._remote, reason, RETRY_PAUSE)
                    said = reason
            else:
                said = ""
                await carry(self._endpoint, sock, self._changed, str(self._remote), self._prefix)
            await asyncio.sleep(RETRY_PAUSE)


class StreamServer:
    """Listens at an address and accepts one connection at a time; with `remote`, only from that host.

    A `remote` that is a name would have to be asked for at every connection, so it is an address.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        log: Logger,
        changed: Changed,
        local: SocketAddress,
        remote: str | None = None,
        *,
        mode: int = OWN_MODE,
        prefix: struct.Struct = LONG,
    ) -> None:
        self._mode = mode
        self._prefix = prefix
        self._endpoint = endpoint
        self._log = log
        self._changed = changed
        self._local = local
        self._remote = remote
        self._listening: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._carrying: asyncio.Task[None] | None = None
        self._frames_before = 0
        """Frames that had come when the connection began that stands."""

    async def open(self) -> None:
        """Listen; raises `ElementError` if the address is not available."""
        self._listening = await listening(self._local, self._mode)
        self._task = asyncio.get_running_loop().create_task(self._run(self._listening))

    async def close(self) -> None:
        """End the connection and stop listening."""
        await tasks.end(self._task)
        await tasks.end(self._carrying)
        if self._listening is not None:
            self._listening.close()
            if isinstance(self._local, UnixPath):
                with contextlib.suppress(OSError):
                    remains.remove(Path(self._local.path))

    async def _run(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        drops = self._endpoint.received.drops
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors, most likely: others may give some back.
                self._log.warning("accepting: %s", errors.reason(error))
                await asyncio.sleep(RETRY_PAUSE)
                continue
            if self._remote is not None and not sockets.same_host(address, (self._remote, 0)):
                drops["not the remote"] += 1
                sock.close()
            elif not await self._free():
                drops["already connected"] += 1
                sock.close()
            else:
                configure(sock)
                self._frames_before = self._endpoint.received.frames
                who = sockets.show(address) if isinstance(self._local, Inet) else self._local.path
                carrying = carry(self._endpoint, sock, self._changed, who, self._prefix)
                self._carrying = loop.create_task(carrying)

    async def _free(self) -> bool:
        """Whether no connection stands, or the one that does ends within `PARTING_SECONDS` or is idle.

        A stranger's that has never sent a frame must not keep the emulator out.
        """
        carrying = self._carrying
        if carrying is None:
            return True
        if not carrying.done():
            await asyncio.wait([carrying], timeout=PARTING_SECONDS)
        if not carrying.done() and self._endpoint.received.frames == self._frames_before:
            carrying.cancel()
            await asyncio.wait([carrying])
            self._changed(False, "idle, and another one has connected")
        return carrying.done()


async def carry(
    endpoint: Endpoint, sock: socket.socket, changed: Changed, who: str, prefix: struct.Struct
) -> None:
    """Carry the endpoint's frames over `sock` until it ends or the task is cancelled."""
    carrier = StreamCarrier(endpoint, sock, prefix)
    try:
        changed(True, who)
        reason = await carrier.over
        changed(False, f"{who}: {reason}")
    finally:
        carrier.close()


async def connected(remote: SocketAddress) -> socket.socket:
    """A stream connected to `remote`; raises `OSError`."""
    loop = asyncio.get_running_loop()
    family: int = socket.AF_UNIX
    address: str | Address
    if isinstance(remote, UnixPath):
        address = remote.path
    else:
        assert remote.host is not None, "a remote has a host"
        family, address = (await sockets.resolve(remote.host, remote.port, socket.SOCK_STREAM))[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        configure(sock)
    except BaseException:
        sock.close()
        raise
    return sock


async def listening(local: SocketAddress, mode: int = OWN_MODE) -> socket.socket:
    """A socket that listens at `local`; raises `ElementError`."""
    if isinstance(local, UnixPath):
        sock = bound(local.path, socket.SOCK_STREAM, mode)
    else:
        host = local.host or "0.0.0.0"
        family = sockets.literal_family(host)
        assert family is not None, "a place of this computer has an address"
        sock = sockets.make_socket(
            family,
            socket.SOCK_STREAM,
            sockets.SocketOptions(),
            (host, local.port),
            sockets.Words("'server'", "the address after 'server'"),
        )
    sock.listen()
    return sock


def configure(sock: socket.socket) -> None:
    """Switch on TCP keepalive."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEP_IDLE),
        ("TCP_KEEPINTVL", KEEP_INTERVAL),
        ("TCP_KEEPCNT", KEEP_COUNT),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
