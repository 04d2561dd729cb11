"""A listening TCP socket for one link, or for several and a web server (`--port-share`).

A connection from an address that only one link hears is that link's at once. Any other one is read until its
first bytes, or its first datagram, say whose it is; what was read goes with it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from tmelink.elements.openvpn import shared_ports
from tmelink.elements.openvpn.port_share import PortShare
from tmelink.elements.openvpn.shared_ports import PortUser
from tmelink.errors import reason
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.port_share import is_peer
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.streams import PREFIX

BACKLOG = 64
"""The most connections that wait to be accepted; a browser opens several at once."""

UNDECIDED = 64
"""The most connections that wait for the bytes that identify their link."""

SILENT_SECONDS = 30.0
"""How long one of them may wait."""

READ = 65536
"""Bytes of one read while a connection is not identified."""

ACCEPT_PAUSE = 0.1
"""Seconds before accepting is tried again after the system failed."""

AcceptHandler = Callable[[socket.socket, Address, bytes], None]
"""Takes a connection, its remote address, and the bytes read from it before."""


class TcpLease:
    """One link's share of a listening TCP port, and the web server that it names."""

    def __init__(self, port: TcpListener, link: PortUser, options: Options, web: PortShare | None) -> None:
        self.link = link
        self.options = options
        self.claim = shared_ports.claim(options)
        self.remote: Address | None = None
        self.take: AcceptHandler | None = None
        self.web = web
        self._port = port
        port.join(self)

    def attend(self, take: AcceptHandler, remote: Address | None) -> None:
        """Begin to accept connections from `remote`, or from anywhere."""
        self.take = take
        self.remote = remote
        self._port.start()

    def close(self) -> None:
        """Release the share; the last one closes the listening socket."""
        self.take = None
        if self.web is not None:
            self.web.close()
        self._port.leave(self)


class TcpListener(shared_ports.SharedPort[TcpLease]):
    """The socket, and which link gets each connection."""

    def __init__(self, sock: socket.socket, key: object) -> None:
        super().__init__(sock, key)
        sock.listen(BACKLOG)
        self._accepting: asyncio.Task[None] | None = None
        self._undecided: dict[asyncio.Task[None], None] = {}

    def start(self) -> None:
        """Begin to accept, the first time it is called."""
        if self._accepting is None:
            self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Stop accepting, and close connections that are not identified yet."""
        for task in self._undecided:
            task.cancel()
        if self._accepting is not None:
            self._accepting.cancel()
        self.sock.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._undecided[task] = None
        task.add_done_callback(lambda done: self._undecided.pop(done, None))

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self.sock)
            except OSError as error:
                # Out of descriptors, or a connection that ended early: neither ends the link.
                self.leases[0].link.log.warning("accepting a connection: %s", reason(error))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            here = [lease for lease in self.leases if lease.take is not None]
            named = [s for s in here if s.remote is not None and sockets.same_host(address, s.remote)]
            leases = named or [lease for lease in here if lease.remote is None]
            web = next((lease.web for lease in here if lease.web is not None), None)
            if web is None and len(leases) < 2:
                self._give(leases[0] if leases else None, sock, address, b"")
            else:
                if len(self._undecided) >= UNDECIDED:
                    # The one that has been silent longest: a genuine client sends its first bytes at once.
                    oldest = next(iter(self._undecided))
                    del self._undecided[oldest]
                    oldest.cancel()
                    self.leases[0].link.received.drops["too many connections"] += 1
                self._spawn(self._decide(sock, address, leases, web))
            # Accepting does not wait while connections are pending: without a pause nothing else would run.
            await asyncio.sleep(0)

    async def _decide(
        self, sock: socket.socket, address: Address, leases: list[TcpLease], web: PortShare | None
    ) -> None:
        """Read until the connection's link is known, and hand it on with the bytes read."""
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                lease, head = await _recognise(sock, leases)
        except (TimeoutError, OSError):
            self._refuse(sock, "silent connection")
        except BaseException:
            sock.close()
            raise
        else:
            if not head:
                self._refuse(sock, "silent connection")
            elif lease is not None or web is None:
                self._give(lease, sock, address, head)
            elif not web.take(sock, address, head):
                self._refuse(sock, "too many connections")

    def _give(self, lease: TcpLease | None, sock: socket.socket, address: Address, head: bytes) -> None:
        if lease is None or lease.take is None:
            self._refuse(sock, "connection not from the remote")
        else:
            lease.take(sock, address, head)

    def _refuse(self, sock: socket.socket, reason: str) -> None:
        sock.close()
        self.leases[0].link.received.drops[reason] += 1


async def _recognise(sock: socket.socket, leases: list[TcpLease]) -> tuple[TcpLease | None, bytes]:
    """The link of the connection (None if it is for none), and the bytes read to find out."""
    loop = asyncio.get_running_loop()
    head = b""
    while (more := await loop.sock_recv(sock, READ)) and len(head) < READ + PREFIX:
        head += more
        verdicts = {lease: _is_peer(head, lease) for lease in leases}
        likely = [lease for lease, verdict in verdicts.items() if verdict]
        if None in verdicts.values():
            continue
        if len(likely) < 2:
            return (likely[0] if likely else None), head
        end = PREFIX + int.from_bytes(head[:PREFIX], "big")
        if len(head) >= end:
            first = head[PREFIX:end]
            return next((lease for lease in likely if lease.link.knows(lease.options, first)), None), head
    return None, head


def _is_peer(head: bytes, lease: TcpLease) -> bool | None:
    return is_peer(head, tls=lease.options.tls is not None, longest=lease.link.stream_limit)


async def listen(link: PortUser, options: Options, family: socket.AddressFamily) -> TcpLease:
    """A share of the TCP port that the options ask for; raises `ElementError` if that fails."""
    share = options.port_share
    # Before the port is opened, so that nothing is left to close if it fails.
    web = None if share is None else PortShare(share, link.log)
    port = await shared_ports.port(TcpListener, options, socket.SOCK_STREAM, family)
    return TcpLease(port, link, options, web)
