"""A bound UDP socket for one link, or for several that are distinguished by address or key."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from tmelink import frame
from tmelink.elements.openvpn import shared_ports
from tmelink.elements.openvpn.shared_ports import PortUser
from tmelink.errors import ElementError
from tmelink.frame import Counters, Frame, Run
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.session import Item
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.undelivered import Undelivered

PROBES = 100
"""The most datagrams from unknown addresses that are tried with the links' keys in a second: each attempt
costs a session, and a peer moves rarely."""


class DatagramHandler(Protocol):
    """The receiver of a lease's datagrams: a link's peer."""

    remote: Address | None

    def arrived(self, items: list[Item], address: Address) -> bool:
        """Take datagrams; returns whether any of them was authentic."""

    def arrived_one(self, datagram: Frame, address: Address) -> None:
        """Take one."""


class UdpLease:
    """One link's share of a UDP port. `send` is the socket's own where the link is alone there."""

    send: Callable[[Sequence[Item], Address], None]

    def __init__(self, port: UdpListener, link: PortUser, options: Options) -> None:
        self.link = link
        self.options = options
        self.claim = shared_ports.claim(options)
        self.follows = options.float
        self.address: Address | None = None
        self.handler: DatagramHandler | None = None
        self.send = self.send_shared
        self._port = port
        port.join(self)

    def attend(self, handler: DatagramHandler, beside: Sequence[Address] = ()) -> None:
        """Begin to receive, also from other addresses of the peer; raises `ElementError`.

        It does where another link has the same peer.
        """
        for address in (*beside, handler.remote):
            self._port.place(self, address)
        self.handler = handler
        self._port.settle()

    def send_shared(self, items: Sequence[Item], address: Address) -> None:
        """Send through a socket that others use too, and count for this link."""
        datagrams = self._port.datagrams
        datagrams.sent = self.link.sent
        datagrams.send(items, address)

    def close(self) -> None:
        """Release the share; the last one closes the socket."""
        self.handler = None
        self._port.leave(self)


class UdpListener(shared_ports.SharedPort[UdpLease]):
    """The socket, and which link gets each datagram."""

    def __init__(self, sock: socket.socket, key: object, link: PortUser) -> None:
        super().__init__(sock, key)
        self._by_address: dict[Address, UdpLease] = {}
        self._undivided = Counters()
        self._probes = 0
        self._probes_since = 0.0
        self._loop = asyncio.get_running_loop()
        self.datagrams = Datagrams(
            sock,
            self._divide,
            self._hold,
            link.log,
            link.sent,
            self._undivided,
            segment=link.segment,
            gro=link.gro,
        )
        self.datagrams.undelivered = self._undelivered

    def join(self, lease: UdpLease) -> None:
        """Add a link; from the second one on, datagrams are sorted by link."""
        super().join(lease)
        self.settle()

    def leave(self, lease: UdpLease) -> None:
        """Remove a link; a single remaining link has the socket to itself."""
        self._by_address = {at: holder for at, holder in self._by_address.items() if holder is not lease}
        super().leave(lease)
        if self.leases:
            self.settle()

    def close(self) -> None:
        """Close the socket."""
        self.datagrams.close()

    def place(self, lease: UdpLease, address: Address | None) -> None:
        """Assign datagrams from `address` to this link; raises `ElementError` if another link has it.

        Only a link that follows its peer gives up the address that it had.
        """
        if lease.follows and lease.address is not None and self._by_address.get(lease.address) is lease:
            del self._by_address[lease.address]
        lease.address = address
        if address is None:
            return
        holder = self._by_address.get(address)
        if holder not in (None, lease) and not holder.follows:
            raise ElementError(f"{sockets.show(address)} is the peer of {holder.link.name} on this port")
        self._by_address[address] = lease

    def settle(self) -> None:
        """Give the socket to a single link, or sort its datagrams between several."""
        datagrams = self.datagrams
        alone = self.leases[0] if len(self.leases) == 1 else None
        if alone is not None and alone.handler is not None:
            datagrams.receive, datagrams.received = alone.handler.arrived, alone.link.received
            datagrams.receive_one = alone.handler.arrived_one
            datagrams.sent, alone.send = alone.link.sent, datagrams.send
            return
        datagrams.receive, datagrams.received = self._divide, self._undivided
        datagrams.receive_one = None
        for lease in self.leases:
            lease.send = lease.send_shared
            if lease.follows and lease.handler is not None and lease.handler.remote not in self._by_address:
                # While it was alone, its peer's address was not recorded.
                self.place(lease, lease.handler.remote)

    def _hold(self, held: bool) -> None:
        for lease in self.leases:
            lease.link.hold_machine(held)

    def _divide(self, items: list[Item], address: Address) -> None:
        lease = self._by_address.get(address) or self._recognised(items[0])
        received = (self.leases[0] if lease is None else lease).link.received
        undivided = self._undivided
        received.frames += undivided.frames
        received.bytes += undivided.bytes
        received.drops.update(undivided.drops)
        undivided.frames = undivided.bytes = 0
        undivided.drops.clear()
        if lease is None or lease.handler is None:
            received.drops["not the remote"] += frame.count(items)
            (self.leases[0] if lease is None else lease).link.heard_stranger(address)
        elif lease.handler.arrived(items, address) and lease.follows and lease.address != address:
            self.place(lease, address)

    def _undelivered(self, report: Undelivered) -> None:
        lease = self._by_address.get(report.address, self.leases[0])
        lease.link.sent.drops[report.reason] += 1

    def _recognised(self, item: Item) -> UdpLease | None:
        """The link whose key authenticates a datagram from an unknown address."""
        now = self._loop.time()
        if now - self._probes_since >= 1:
            self._probes, self._probes_since = 0, now
        if self._probes >= PROBES:
            return None
        self._probes += 1
        datagram = item.data[: item.size] if isinstance(item, Run) else item
        followers = (lease for lease in self.leases if lease.follows and lease.handler is not None)
        return next((lease for lease in followers if lease.link.knows(lease.options, datagram)), None)


async def udp(link: PortUser, options: Options, family: socket.AddressFamily) -> UdpLease:
    """A share of the UDP port that the options ask for; raises `ElementError` if that fails."""
    port = await shared_ports.port(
        lambda sock, key: UdpListener(sock, key, link), options, socket.SOCK_DGRAM, family
    )
    return UdpLease(port, link, options)
