"""A link's peer that is reached by a rendezvous, or directly once hole punching has found a path.

The session knows one address, that of the rendezvous. Which path its datagrams take is settled below it, so
that a change of path loses nothing of the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tmelink import frame
from tmelink.elements.openvpn.peers import PeerOwner, UdpPeer
from tmelink.elements.openvpn.udp_listener import UdpLease
from tmelink.frame import Frame, pieces
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.session import Item
from tmelink.timers import DeadlineTimer
from tmelink.transport import stun
from tmelink.transport.datagrams import Address
from tmelink.transport.hole_punching import HolePunch
from tmelink.transport.rendezvous import RendezvousRole, StunDatagram
from tmelink.transport.stun import LARGEST_FIRST_BYTE, InetAddress

FIRST_DATAGRAMS = 8
"""Kept until the other end is there: a handshake begins with as many, and repeats them ever more rarely."""


class RendezvousWire:
    """Carries a peer's datagrams on the path that `HolePunch` chooses."""

    def __init__(
        self, lease: UdpLease, link: PeerOwner, hub: Address, key: bytes, role: RendezvousRole
    ) -> None:
        self.remote: Address | None = hub
        self.peer: UdpPeer | None = None
        self._hub = hub
        self._lease = lease
        self._link = link
        self._now = asyncio.get_running_loop().time
        self._timer = DeadlineTimer(self._tick)
        self._first: list[Frame] = []
        self._punch = HolePunch(key, role, _where(hub), self._now(), self._usable)
        self._route: InetAddress = self._punch.route
        self._address: Address = hub

    def begin(self, peer: UdpPeer) -> None:
        """Receive for `peer` from now on; raises `ElementError` if another link has the same remote."""
        self.peer = peer
        self._lease.attend(self)
        self._tick()

    def renew(self, key: bytes) -> None:
        """The link has another key at the rendezvous."""
        self._punch.renew(key, self._now())
        self._tick()

    @property
    def path(self) -> str:
        """Which path datagrams take and why, in words."""
        return self._punch.why(self._now())

    def send(self, items: Sequence[Item], address: Address) -> None:
        """Send datagrams to the other end; the first ones wait for it."""
        if self._punch.peer is None and not self._punch.direct:
            self._link.sent.drops["no peer yet"] += len(self._first) + max(
                0, frame.count(items) - FIRST_DATAGRAMS
            )
            self._first = [bytes(each) for each in pieces(items)[:FIRST_DATAGRAMS]]
        else:
            self._lease.send(items, self._address)

    def close(self) -> None:
        """Release the port."""
        self._timer.cancel()
        self._lease.close()

    def arrived(self, items: list[Item], address: Address) -> bool:
        """Take datagrams; returns whether any of them was authentic."""
        where = _where(address)
        if any(map(stun.starts_message, items)):
            items = self._without_stun(items, where)
            if not items:
                return False
        if not self._punch.hears(where):
            self._link.received.drops["not the remote"] += frame.count(items)
            self._link.heard_stranger(address)
            return False
        assert self.peer is not None, "datagrams come after begin"
        return self.peer.arrived(items, self._hub)

    def arrived_one(self, datagram: Frame, address: Address) -> None:
        """Take a datagram that came alone."""
        if not len(datagram) or datagram[0] <= LARGEST_FIRST_BYTE or not self._punch.hears(_where(address)):
            self.arrived([datagram], address)
        else:
            assert self.peer is not None, "datagrams come after begin"
            self.peer.arrived_one(datagram, self._hub)

    def _without_stun(self, items: Sequence[Item], where: InetAddress) -> list[Item]:
        kept: list[Item] = []
        for datagram in pieces(items):
            if len(datagram) and datagram[0] <= LARGEST_FIRST_BYTE:
                self._do(self._punch.receive(datagram, where, self._now()))
            else:
                kept.append(datagram)
        return kept

    def _usable(self, where: InetAddress) -> bool:
        return not self._link.may_enter_link(where)

    def _tick(self) -> None:
        self._do(self._punch.tick(self._now()))

    def _do(self, sent: Sequence[StunDatagram]) -> None:
        for message, where in sent:
            self._lease.send([message], where)
        if self._punch.route != self._route:
            self._moved()
        if self._first and self._punch.peer is not None:
            first, self._first = self._first, []
            self._lease.send(first, self._address)
        self._timer.arm(self._punch.deadline())

    def _moved(self) -> None:
        before, self._route = self._route, self._punch.route
        self._address = self._route if self._punch.direct else self._hub
        self._link.log.info("%s", self.path)
        self._link.happened("path changed", self.path, before=stun.show(before), after=stun.show(self._route))


class RendezvousPeer(UdpPeer):
    """A peer behind a rendezvous at `hub`; `key` is the link's key there."""

    def __init__(self, link: PeerOwner, options: Options, lease: UdpLease, hub: Address, key: bytes) -> None:
        assert options.tls is not None, "the options see to it"
        wire = RendezvousWire(lease, link, hub, key, options.tls.role)

        def make_wire(peer: UdpPeer) -> RendezvousWire:
            try:
                wire.begin(peer)
            except BaseException:
                wire.close()
                raise
            return wire

        self._path_of = wire
        super().__init__(link, options, make_wire, hub)

    def renew(self, key: bytes) -> None:
        """The link has another key at the rendezvous."""
        self._path_of.renew(key)

    @property
    def path(self) -> str:
        """Which path it is reached by and why, in words."""
        return self._path_of.path


def _where(address: Address) -> InetAddress:
    return address[0], address[1]
