"""Frames in UDP, bare or in a format's own header: the socket, the peer's name, and the accepted senders.

Nothing in such a datagram proves its origin, so only its source address is checked.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from logging import Logger

from tmelink import frame, tasks
from tmelink.elements.emulators.cable import Endpoint, Items, as_it_is
from tmelink.errors import ElementError, MissingCapability
from tmelink.frame import Frame, Run
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.endpoints import Inet

RESOLVE_PAUSE = 5.0
"""Seconds before a name that did not resolve is looked up again, as with a link's `--resolv-retry`."""

AGAIN_PAUSE = 10.0
"""Seconds before a name is looked up again: nothing in bare frames says that the peer has moved."""


class UdpCarrier:
    """Carries an endpoint's frames over UDP; `came_up(peer)` says when a peer was heard, and when it moved.

    With `remote` and without `floats`, only that address and port is accepted; else any sender, and frames go
    to the sender heard last. `seal` and `open` turn frames into datagrams and back; `open` leaves out, and
    counts, what is not a frame. With `protocol` they are packets of that IP protocol instead, without ports.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        log: Logger,
        came_up: Callable[[str], None],
        *,
        local: Inet,
        remote: Inet | None,
        floats: bool,
        seal: Callable[[Items], Items] = as_it_is,
        open: Callable[[Items], Items] = as_it_is,
        protocol: int = 0,
    ) -> None:
        self._seal = seal
        self._open = open
        self._protocol = protocol
        self.peer: Address | None = None
        self._endpoint = endpoint
        self._log = log
        self._came_up = came_up
        self._local = local
        self._remote = remote
        self._floats = floats or remote is None
        self._heard = False
        self._datagrams: Datagrams | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._resolved: Address | None = None
        """What the name led to when it was looked up last."""

    async def open(self) -> None:
        """Bind the socket; raises `ElementError` if the address is not available."""
        host = self._local.host or ""
        family = sockets.literal_family(host) or sockets.literal_family(self._remote_host) or socket.AF_INET
        here = (host or ("::" if family == socket.AF_INET6 else "0.0.0.0"), self._local.port)
        if self._protocol:
            sock = _raw(family, self._protocol, here)
        else:
            options = sockets.SocketOptions(receive_buffer=sockets.RECEIVE_BUFFER)
            words = sockets.Words("'local'", "the address after 'local'")
            sock = sockets.make_socket(family, socket.SOCK_DGRAM, options, here, words)
        endpoint = self._endpoint
        self._datagrams = Datagrams(
            sock, self._arrived, endpoint.hold_machine, self._log, endpoint.sent, endpoint.received
        )
        endpoint.carrier = self
        if self._remote is None:
            return
        if sockets.literal_family(self._remote_host) is not None:
            await self._resolve(self._remote, family)
        else:
            self._resolving = asyncio.get_running_loop().create_task(self._keep_asking(self._remote, family))

    async def close(self) -> None:
        """Close the socket."""
        self._endpoint.carrier = None
        await tasks.end(self._resolving)
        if self._datagrams is not None:
            self._datagrams.close()

    @property
    def _remote_host(self) -> str:
        return (self._remote and self._remote.host) or ""

    async def _keep_asking(self, remote: Inet, family: socket.AddressFamily) -> None:
        said = ""
        while True:
            pause = AGAIN_PAUSE
            try:
                await self._resolve(remote, family)
                said = ""
            except OSError as error:
                why = error.strerror or str(error)
                if self._resolved is None:
                    pause = RESOLVE_PAUSE
                    self._log.warning("%s: %s; asking again in %g s", remote.host, why, pause)
                elif why != said:
                    said = why
                    known = sockets.show(self._resolved)
                    self._log.warning("%s: %s; staying with %s", remote.host, why, known)
            await asyncio.sleep(pause)

    async def _resolve(self, remote: Inet, family: socket.AddressFamily) -> None:
        assert remote.host is not None, "a remote has a host"
        found = await sockets.resolve(remote.host, remote.port, socket.SOCK_DGRAM, family)
        addresses = [address for _family, address in found]
        before = self._resolved
        if before in addresses:
            return
        self._resolved = addresses[0]
        if self.peer is None or self.peer == before:
            # A peer that floats is where it was heard, whatever its name says.
            self.peer = self._resolved
            self._heard = False
            if before is not None:
                self._log.info("%s is now %s", remote.host, sockets.show(self.peer))

    def send(self, items: Sequence[Frame | Run]) -> None:
        """Send to the peer; frames are dropped and counted while there is none."""
        assert self._datagrams is not None, "an endpoint has its carrier once it is open"
        if self.peer is None:
            self._endpoint.sent.drops["no peer yet"] += frame.count(items)
        else:
            self._datagrams.send(self._seal(items), self.peer)

    def pause(self, paused: bool) -> None:
        """Do nothing: a peer over UDP does not notice."""

    def _arrived(self, items: list[Frame | Run], address: Address) -> None:
        if address != self.peer:
            if not self._floats:
                self._endpoint.received.drops["not the remote"] += frame.count(items)
                return
            self.peer = address
            self._heard = False
        opened = self._open(items)
        if not opened:
            return
        if not self._heard:
            self._heard = True
            self._came_up(sockets.show(address))
        self._endpoint.deliver(opened)


def _raw(family: socket.AddressFamily, protocol: int, here: Address) -> socket.socket:
    """A socket for packets of an IP protocol; raises `ElementError`."""
    try:
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError as error:
        raise MissingCapability(
            "a socket of an IP protocol", "CAP_NET_RAW", "or give ports, for UDP"
        ) from error
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, sockets.RECEIVE_BUFFER)
        sock.bind(here)
    except OSError as error:
        sock.close()
        raise ElementError(f"'local' {here[0]}: {error.strerror}") from error
    return sock
