"""The ports of a server: one, or several with --local, of UDP and of TCP.

Answers leave by the port that the client speaks to.

Knows addresses and sockets, and of clients no more than where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tmelink.elements.openvpn import link_sockets
from tmelink.elements.openvpn.shared_ports import PortUser
from tmelink.elements.openvpn.tcp_listener import AcceptHandler, TcpLease, listen
from tmelink.elements.openvpn.udp_listener import DatagramHandler, UdpLease, udp
from tmelink.frame import Frame
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.session import Item
from tmelink.transport.datagrams import Address

SPARE_PATHS = 64
"""Addresses that are remembered beyond those of clients, before the rest is forgotten: clients that moved."""


class Listeners:
    """The bound sockets; `here` tells where the clients are, `receive` and `accept` take what comes."""

    def __init__(
        self,
        server: PortUser,
        receive: DatagramHandler,
        accept: AcceptHandler,
        here: Callable[[], Collection[Address]],
    ) -> None:
        self._server = server
        self._receive = receive
        self._accept = accept
        self._here = here
        self._leases: list[UdpLease] = []
        self._listening: list[TcpLease] = []
        self._paths: dict[Address, UdpLease] = {}
        self._arriving: tuple[UdpLease, Address] | None = None

    async def open(self, places: Sequence[Options]) -> None:
        """Bind each address and port, given as a link's; raises `ElementError` if one cannot be had."""
        several = sum(own.proto.startswith("udp") for own in places) > 1
        for own in places:
            family, _ = (await link_sockets.places(own, None, self._server.log))[0]
            if own.proto.startswith("udp"):
                lease = await udp(self._server, own, family)
                self._leases.append(lease)
                # One port alone takes the short path.
                lease.attend(_Arrivals(self, lease) if several else self._receive)
            else:
                listening = await listen(self._server, own, family)
                self._listening.append(listening)
                listening.attend(self._accept, None)

    def close(self) -> None:
        """Give the ports back."""
        for lease in self._leases:
            lease.close()
        for listening in self._listening:
            listening.close()
        self._leases.clear()
        self._listening.clear()
        self._paths.clear()

    def send(self, items: Sequence[Item], address: Address) -> None:
        """Send datagrams, by the port that `address` has spoken to."""
        lease = self._leases[0]
        if len(self._leases) > 1:
            arriving = self._arriving
            answers = arriving is not None and arriving[1] == address
            lease = arriving[0] if answers and arriving is not None else self._paths.get(address, lease)
        lease.send(items, address)

    def remember(self, address: Address) -> None:
        """A client is at `address`, from which something has just come."""
        if self._arriving is None or self._arriving[1] != address:
            return
        self._paths[address] = self._arriving[0]
        here = self._here()
        if len(self._paths) > 2 * len(here) + SPARE_PATHS:
            self._paths = {each: self._paths[each] for each in here if each in self._paths}

    def arrived(self, lease: UdpLease, items: list[Item], address: Address) -> bool:
        """Datagrams have come in at one of several ports."""
        self._arriving = lease, address
        try:
            return self._receive.arrived(items, address)
        finally:
            self._arriving = None


class _Arrivals:
    """Takes the datagrams of one port of several."""

    remote: Address | None = None

    def __init__(self, listeners: Listeners, lease: UdpLease) -> None:
        self._listeners = listeners
        self._lease = lease

    def arrived(self, items: list[Item], address: Address) -> bool:
        return self._listeners.arrived(self._lease, items, address)

    def arrived_one(self, datagram: Frame, address: Address) -> None:
        self._listeners.arrived(self._lease, [datagram], address)
