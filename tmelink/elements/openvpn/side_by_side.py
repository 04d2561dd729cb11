"""A peer over UDP whose name has several addresses: they are tried side by side, and what answers wins.

In the spirit of RFC 8305, without a connection whose failure would tell: what is sent before anything is
heard goes to every address, at most once a second to those beyond the first. So does what is sent later, once
nothing has been heard for a while in answer, so that a path which has died is left again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence

from tmelink.elements.openvpn.peers import PeerOwner, UdpPeer
from tmelink.elements.openvpn.udp_listener import UdpLease
from tmelink.frame import Frame
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.session import Item
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address

MOST_ADDRESSES = 8
"""Addresses of one name that are tried: each costs copies of what is sent."""

SILENT_SECONDS = 15.0
"""After the first datagram without an answer the other addresses are tried again. Nothing has to answer at
once without keepalives; WireGuard takes its peer for lost after as long."""

COPY_SECONDS = 1.0
"""Between two copies to the other addresses: as often as ARP asks, and little for a peer that hears both."""


class LeasesByFamily:
    """Ports for IPv4 and IPv6, of which each datagram takes the one of its destination's family."""

    def __init__(self, leases: Mapping[socket.AddressFamily, UdpLease]) -> None:
        self._leases = leases

    def attend(self, peer: UdpPeer, addresses: Sequence[Address]) -> None:
        """Begin to receive; raises `ElementError` if another link has one of the addresses."""
        for lease in self._leases.values():
            lease.attend(peer, addresses)

    def send(self, items: Sequence[Item], address: Address) -> None:
        """Send datagrams to an address."""
        family = sockets.literal_family(address[0])
        if family is not None and family in self._leases:
            self._leases[family].send(items, address)

    def close(self) -> None:
        """Release the ports."""
        for lease in self._leases.values():
            lease.close()


class SideBySidePeer(UdpPeer):
    """A peer with several addresses, the preferred one first; `leases` has a port for each one's family."""

    def __init__(
        self,
        link: PeerOwner,
        options: Options,
        leases: Mapping[socket.AddressFamily, UdpLease],
        addresses: Sequence[Address],
    ) -> None:
        self._addresses = addresses
        self._now = asyncio.get_running_loop().time
        self._keyed = options.secure
        self._last_heard = 0.0
        self._unanswered: float | None = None
        """When the first datagram was sent since anything was heard."""
        self._next_copy = 0.0

        def make_wire(peer: UdpPeer) -> LeasesByFamily:
            wire = LeasesByFamily(leases)
            try:
                wire.attend(peer, addresses)
            except BaseException:
                wire.close()
                raise
            return wire

        super().__init__(link, options, make_wire, addresses[0])

    def arrived(self, items: list[Item], address: Address) -> bool:
        """Take datagrams; returns whether any of them was authentic."""
        authentic = super().arrived(items, address)
        if authentic and address == self.remote:
            self._last_heard, self._unanswered = self._now(), None
        return authentic

    def arrived_one(self, datagram: Frame, address: Address) -> None:
        """Take a datagram that came alone."""
        if self._keyed or self._unanswered is not None or address != self.remote:
            self.arrived([datagram], address)
        else:
            self._last_heard = self._now()
            super().arrived_one(datagram, address)

    def _hears(self, address: Address) -> bool:
        return address in self._addresses or super()._hears(address)

    def _moves_to(self, address: Address) -> bool:
        """Not between addresses that both are heard: copies of the peer's come from each."""
        silent = not self.heard or self._now() >= self._last_heard + SILENT_SECONDS
        return address not in self._addresses or silent

    def _log_move(self, address: Address) -> None:
        if self.heard:
            super()._log_move(address)

    def _transmit(self, items: Sequence[Item]) -> None:
        super()._transmit(items)
        now = self._now()
        if self._unanswered is None:
            self._unanswered = now
        if self.heard and now < self._unanswered + SILENT_SECONDS:
            return
        if now >= self._next_copy:
            self._next_copy = now + COPY_SECONDS
            for address in self._addresses:
                if address != self.remote and not self._link.may_enter_link(address):
                    self._wire.send(items, address)
