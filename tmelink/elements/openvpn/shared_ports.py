"""Local ports that links of one process may share, and how such links are distinguished.

Whose a datagram or a connection is, says the address it comes from or, for links that hear any address, the
key: the first of their datagrams that is authentic under a link's key decides. The sockets themselves are
`tmelink.elements.openvpn.udp_listener`'s and `tmelink.elements.openvpn.tcp_listener`'s.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from logging import Logger
from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from tmelink.element import Claim
from tmelink.elements.openvpn import link_sockets
from tmelink.errors import ElementError
from tmelink.frame import Counters, Frame
from tmelink.openvpn.options.parse import Options
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address


class PortUser(Protocol):
    """What a port needs from a link."""

    name: str
    log: Logger
    sent: Counters
    received: Counters
    stream_limit: int
    segment: bool
    gro: bool

    def hold_machine(self, held: bool) -> None:
        """The connection is full, or has room again."""

    def heard_stranger(self, address: Address) -> None:
        """A datagram came from an address that is not the peer's."""

    def knows(self, options: Options, datagram: Frame) -> bool:
        """Whether a datagram, the first of a session, is authentic under the link's key."""


def claim(options: Options) -> Claim | None:
    """The local port that a link with these options takes, and what distinguishes it there."""
    if not (options.bind and options.lport):
        return None
    udp = options.proto.startswith("udp")
    marks: frozenset[object]
    if options.proto.endswith("client"):
        marks = frozenset()
    elif options.float:
        key = options.secret or options.tls_auth or options.tls_crypt
        marks = frozenset() if key is None else frozenset([key])
    else:
        # A TCP peer's own port can be any.
        marks = frozenset((remote.host, remote.port if udp else 0) for remote in options.remotes)
    return Claim("udp" if udp else "tcp", (options.local or "", options.lport), marks)


class PortLease(Protocol):
    """One link's share of a port."""

    link: PortUser
    claim: Claim | None


S = TypeVar("S", bound=PortLease)


class SharedPort(Generic[S]):
    """A bound socket and the links that share it, each with a lease; a single link has it to itself."""

    def __init__(self, sock: socket.socket, key: object) -> None:
        self.sock = sock
        self.leases: list[S] = []
        self._key = key

    def join(self, lease: S) -> None:
        """Add a link; raises `ElementError` if it cannot be distinguished from those present."""
        for other in self.leases:
            if lease.claim is None or other.claim is None or not lease.claim.beside(other.claim):
                raise ElementError(
                    f"{sockets.show(self.sock.getsockname())} is in use by {other.link.name}, "
                    "and nothing tells the two apart: give each its own --remote or key, or choose "
                    "another port with --lport"
                )
        self.leases.append(lease)

    def leave(self, lease: S) -> None:
        """Remove a link; the last one closes the socket."""
        self.leases.remove(lease)
        if not self.leases:
            _open().pop(self._key, None)
            self.close()

    def close(self) -> None:
        """Close the socket."""
        raise NotImplementedError


P = TypeVar("P", bound=SharedPort)  # type: ignore[type-arg]

_ports: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, object]] = WeakKeyDictionary()


def _open() -> dict[object, object]:
    """The ports of this event loop that another link may share, by kind and address."""
    return _ports.setdefault(asyncio.get_running_loop(), {})


async def port(
    make: Callable[[socket.socket, object], P],
    options: Options,
    kind: socket.SocketKind,
    family: socket.AddressFamily,
) -> P:
    """The port that the options ask for: an open one, or one that `make` makes of a new socket.

    Raises `ElementError` if it cannot be had.
    """
    address = await link_sockets.local(options, kind, family)
    if address is None or not address[1]:
        return make(link_sockets.bound_socket(options, kind, family, address), None)
    key = (kind, address)
    found = _open().get(key)
    if found is None:
        found = _open()[key] = make(link_sockets.bound_socket(options, kind, family, address), key)
    return found  # type: ignore[return-value]
