"""What a link tells the element it is connected to of the network inside: addresses, routes, the way outside.

Gathers it from the link's options, the server's and the address that an attempt goes to, resolves the names
in it and hands it over. What is done with it is the other element's affair.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from tmelink.element import Element
from tmelink.openvpn.options import network_options
from tmelink.openvpn.options.values import NetworkOptions, Options
from tmelink.routing.facts import IPAddress

RESOLVE_SECONDS = 10.0
"""For all names in a link's routes; those that take longer are left out with a warning."""


class TunnelNetwork:
    """The network inside one link, as far as it is known."""

    def __init__(self, link: Element, options: Options) -> None:
        self._link = link
        self._options = options
        self._network = options.network
        self._pulls = options.tls is not None and options.tls.pull
        self._remote: IPAddress | None = None
        self._task: asyncio.Task[None] | None = None
        self._said = False

    def reaching(self, address: tuple[str, int] | None) -> None:
        """An attempt begins, and its packets go to this address; None for one that waits to be found."""
        self._remote = None if address is None else ipaddress.ip_address(address[0].split("%")[0])
        if not self._pulls:
            # A client that pulls would set routes now only to set others when the server has spoken.
            self._hand_over()

    def pushed(self, lines: Sequence[str]) -> None:
        """The server's options for this client."""
        tls = self._options.tls
        assert tls is not None, "only a client with TLS is pushed to"
        self._network, notes = network_options.with_pushed(
            self._options.network, lines, nopull=tls.route_nopull, fqdn=tls.allow_pull_fqdn
        )
        for note in notes:
            self._link.log.warning("%s", note)
        self._hand_over()

    async def close(self) -> None:
        """Resolve no more names."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def _hand_over(self) -> None:
        if self._network == NetworkOptions() or not self._link.ports:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if names := network_options.names(self._network):
            self._task = asyncio.get_running_loop().create_task(self._resolved(names))
        else:
            self._tell({})

    async def _resolved(self, names: list[str]) -> None:
        self._tell(await resolved(names))

    def _tell(self, names: dict[str, IPAddress]) -> None:
        try:
            tunnel = network_options.tunnel(self._options, self._network, self._remote, names)
        except ValueError as error:
            self._link.log.warning("%s", error)
            return
        port = self._link.ports[0]
        peer = port.peer
        taken = peer is not None and peer.element.configure_network(peer, tunnel)
        if not taken and not self._said:
            self._said = True
            self._link.log.info(
                "addresses and routes inside have no effect: what the link is connected to is no interface "
                "of a host; connect it to a tme/host/tun/%s",
                self._options.dev_type,
            )


async def resolved(names: Sequence[str]) -> dict[str, IPAddress]:
    """The first address of each name that has one; IPv4, unless there is only another."""
    loop = asyncio.get_running_loop()
    found: dict[str, IPAddress] = {}
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            for name in names:
                try:
                    places = await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
                except OSError:
                    continue
                addresses = [ipaddress.ip_address(str(place[4][0]).split("%")[0]) for place in places]
                found[name] = min(addresses, key=lambda address: address.version)
    except TimeoutError:
        pass
    return found
