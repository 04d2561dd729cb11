"""The network settings that a link gives the element it is connected to: addresses, routes, the bypass route.

Gathers it from the link's options, the server's and the address that an attempt goes to, resolves the names
in it and hands it over. What is done with it is the other element's affair.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from ipaddress import IPv6Address

from tmelink.element import Element
from tmelink.openvpn.options import network_options
from tmelink.openvpn.options.values import NetworkOptions, Options
from tmelink.routing.dns import Dns
from tmelink.routing.facts import IPAddress
from tmelink.routing.tunnel import Tunnel
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address


class TunnelNetwork:
    """The tunnel network of one link, as far as it is known."""

    def __init__(self, link: Element, options: Options) -> None:
        self._link = link
        self._options = options
        self._network = options.network
        self._pulls = options.tls is not None and options.tls.pull
        self._remote: IPAddress | None = None
        self._relays: tuple[IPAddress, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._names: dict[str, IPAddress] = {}
        self._told: Tunnel | None = None
        self._dns: tuple[NetworkOptions, Dns | None] | None = None
        """What the options that it stands beside say of name servers."""
        self._warned = False

    async def reaching(self, address: Address | None, *relays: Address) -> None:
        """An attempt begins, and its packets go to these addresses; None if this end waits for its peer.

        Returns once they may be sent: where routes lead into the tunnel, those to these addresses stand.
        """
        self._remote = None if address is None else _host(address)
        self._relays = tuple(map(_host, relays))
        if self._pulls and self._told is None:
            # A client that pulls would set routes now, and others once the server has answered.
            return
        if (done := self._hand_over()) is not None:
            await done

    @property
    def dns(self) -> Dns | None:
        """The name servers and domains of the tunnel, as far as they are known."""
        if self._dns is None or self._dns[0] is not self._network:
            self._dns = self._network, network_options.name_servers(self._network)
        return self._dns[1]

    def may_enter_link(self, address: Address) -> bool:
        """Whether packets to this address might enter the tunnel, until `reaching` has returned."""
        told = self._told
        if told is None or _host(address) in (told.remote, *told.relays):
            return False
        return told.redirect is not None or bool(told.routes)

    def pushed(self, lines: Sequence[str]) -> None:
        """The server's options for this client."""
        tls = self._options.tls
        assert tls is not None, "only a client with TLS is pushed to"
        self._network, notes = network_options.with_pushed(
            self._options.network, lines, nopull=tls.route_nopull, fqdn=tls.allow_pull_fqdn
        )
        for note in notes:
            self._link.log.warning("%s", note)
        if (mtu := self._network.mtu) is not None:
            sizes = self._options.sizes
            if mtu > sizes.longest_mtu:
                self._link.log.warning(
                    "the server pushes tun-mtu %d: write --tun-mtu-max %d to take it", mtu, mtu
                )
            if mtu == sizes.tun_mtu:
                self._network = replace(self._network, mtu=None)
        self._hand_over()

    async def close(self) -> None:
        """Stop resolving names."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def _hand_over(self) -> Awaitable[None] | None:
        """Configure what is known now, and again once names are resolved; await until it is set."""
        if self._network == NetworkOptions() or not self._link.ports:
            return None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        names = network_options.names(self._network)
        if names:
            self._task = asyncio.get_running_loop().create_task(self._resolve(names))
            if self._told is None and not self._names.keys() >= set(names):
                # No route leads into the tunnel yet, and most would be left out for lack of a name.
                return None
        return self._configure()

    async def _resolve(self, names: list[str]) -> None:
        known = dict(self._names)
        self._names |= await resolved(names)
        if self._names != known or self._told is None:
            self._configure()

    def _configure(self) -> Awaitable[None] | None:
        try:
            tunnel = network_options.tunnel(self._options, self._network, self._remote, self._names)
        except ValueError as error:
            self._link.log.warning("%s", error)
            return None
        tunnel = replace(tunnel, relays=self._relays)
        port = self._link.ports[0]
        peer = port.peer
        done = None if peer is None else peer.element.configure_network(peer, tunnel)
        if done is not None:
            self._told = tunnel
        elif not self._warned:
            self._warned = True
            self._link.log.info(
                "tunnel addresses and routes have no effect: the link is not connected to an interface "
                "of a host; connect it to a tme/host/tun/%s",
                self._options.dev_type,
            )
        return done


def _host(address: Address) -> IPAddress:
    """The host of a socket address; an IPv4 address if it is mapped into an IPv6 one."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    return (host.ipv4_mapped or host) if isinstance(host, IPv6Address) else host


async def resolved(names: Sequence[str]) -> dict[str, IPAddress]:
    """The first address of each name that has one; IPv4, unless there is only another."""
    found = await asyncio.gather(*map(_address, names))
    return {name: address for name, address in zip(names, found, strict=True) if address is not None}


async def _address(name: str) -> IPAddress | None:
    try:
        places = await sockets.resolve(name, 0, socket.SOCK_DGRAM)
    except OSError:
        return None
    return min((_host(address) for _family, address in places), key=lambda address: address.version)
