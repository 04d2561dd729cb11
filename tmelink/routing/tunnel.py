"""Plans what a link's options ask of the host: addresses, the route to the peer, routes into the tunnel.

This module knows what OpenVPN's options mean to a host (openvpn(8) 2.6, "VPN Network Options" and "Tunnel
Options"). `tmelink.openvpn.options.network_options` knows how they are written and pushed. A route that would
carry a link's own packets into the link, which OpenVPN allows, is left out with a warning. No route of the
host is ever removed: two halves of the address space are more specific than any default route, with `def1` or
without.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from tmelink.routing.dns import Dns
from tmelink.routing.facts import Facts, IPAddress, IPInterface, IPNetwork, Route
from tmelink.routing.plan import Change, InterfaceAddress, Mac, Mtu, Plan, PlanStep

HALVES: dict[int, tuple[IPNetwork, ...]] = {
    4: (IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")),
    # As OpenVPN has them: global and unique local addresses.
    6: tuple(map(IPv6Network, ("::/3", "2000::/4", "3000::/4", "fc00::/7"))),
}
"""The networks that are routed into a tunnel instead of replacing a default route."""

GUARD_METRIC = 2**32 - 2
"""The metric of the route that takes over when every other one to the peer is lost."""

KEYWORDS = ("vpn_gateway", "net_gateway", "remote_host")
"""Keywords that stand for an address in --route."""


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """A --route or --route-ipv6: `network` and `gateway` are addresses, names or one of `KEYWORDS`.

    `six` marks --route-ipv6, for which the keywords mean IPv6 addresses.
    """

    network: str
    prefix: int
    gateway: str | None = None
    metric: int | None = None
    six: bool = False
    table: int | None = None
    """--route-table; None for the main table."""

    def __str__(self) -> str:
        return f"{self.network}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The network settings of a link: the addresses and routes of its tunnel.

    `peers` are the tunnel addresses of the other end by IP version. `gateways` is what --route-gateway gives
    or implies; None means that a DHCP server would have to give it. `redirect` holds the flags of
    --redirect-gateway; `private` leaves out all but its bypass routes. `remote` is the peer's underlay
    address; `relays` are the other addresses that the link's own packets go to, such as a proxy's relay.
    `delay` is in seconds.
    """

    kind: Literal["tun", "tap"] = "tun"
    addresses: tuple[IPInterface, ...] = ()
    peers: Mapping[int, IPAddress] = field(default_factory=dict)
    gateways: Mapping[int, IPAddress | None] = field(default_factory=dict)
    routes: tuple[RouteRequest, ...] = ()
    redirect: frozenset[str] | None = None
    private: bool = False
    block_ipv6: bool = False
    metric: int | None = None
    remote: IPAddress | None = None
    relays: tuple[IPAddress, ...] = ()
    delay: int = 0
    mac: bytes | None = None
    mtu: int | None = None
    dns: Dns | None = None
    dns_updown: str | None = None
    """--dns-updown: a command, "force" or "disable"; None leaves it to the host's resolver."""
    names: Mapping[str, IPAddress] = field(default_factory=dict)
    """The addresses of the names in `routes`."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Commands by moment: "up", "route-up", "route-pre-down", "down"."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The environment of the scripts."""


def plan(tunnel: Tunnel, device: str, facts: Facts) -> Plan:
    """The plan for the interface `device`, which is connected to the link; `facts` describe its host."""
    return _Planning(tunnel, device, facts.without(device)).plan()


def behind(planned: Plan, device: str) -> Iterator[IPNetwork]:
    """The networks that a plan routes through the interface, without its own and without the halves."""
    for change in planned.changes:
        if isinstance(change, InterfaceAddress) and change.peer is not None:
            yield _host(change.peer)
        elif (
            isinstance(change, Route)
            and change.device == device
            and change.destination not in HALVES[change.destination.version]
        ):
            yield change.destination


class _Planning:
    def __init__(self, tunnel: Tunnel, device: str, facts: Facts) -> None:
        self.tunnel = tunnel
        self.device = device
        self.facts = facts
        self.steps: list[PlanStep] = []
        self.warnings: list[str] = []

    def plan(self) -> Plan:
        self.own_addresses()
        self.existing_routes()
        asked = [*self.asked(), *self.redirected()]
        # Routes that bypass the tunnel come first: after them, no later route can cut off the peer.
        for step in self.bypasses():
            self.add(step.change, step.reason, stands=step.stands)
        for route, reason in asked:
            if route.device not in (self.device, None):
                self.add(route, reason)
        for remote in self.remotes():
            inner = [route for route, _ in asked if route.device == self.device and route.table is None]
            covered = any(remote in route.destination for route in inner)
            if covered and self.is_bypassed_by_hand(remote) and not self.is_here(remote):
                guard = self.guard(remote)
                self.add(guard.change, guard.reason)
        for route, reason in asked:
            if route.device in (self.device, None):
                self.add_inner(route, reason)
        return Plan(tuple(self.steps), tuple(dict.fromkeys(self.warnings)))

    def add(self, change: Change, reason: str, *, stands: bool = False) -> None:
        if all(step.change != change for step in self.steps):
            self.steps.append(PlanStep(change, reason, stands))

    # Addresses

    def own_addresses(self) -> None:
        if self.tunnel.mtu is not None:
            self.add(Mtu(self.device, self.tunnel.mtu), "the MTU that the server pushes (tun-mtu)")
        if self.tunnel.mac is not None:
            self.add(Mac(self.device, self.tunnel.mac), "the MAC address that the link names (--lladdr)")
        for own in self.tunnel.addresses:
            peer = self.tunnel.peers.get(own.version) if own.version == 4 else None
            if peer is not None:
                self.add(
                    InterfaceAddress(self.device, own, peer), "the tunnel addresses of this end and the other"
                )
            else:
                self.add(
                    InterfaceAddress(self.device, own),
                    f"the tunnel address; {own.network} is in the tunnel",
                )
            self.compare(own.network if peer is None else ipaddress.ip_network(peer))

    def compare(self, network: IPNetwork) -> None:
        """Warn where a tunnel network overlaps a network of the host."""
        for route in self.facts.connected():
            if route.destination.version == network.version and route.destination.overlaps(network):
                self.warnings.append(
                    f"tunnel network {network} overlaps {route.destination} on {route.device}: addresses in "
                    "both can only be reached in one of them; renumber one of the networks"
                )

    def existing_routes(self) -> None:
        """The existing routes that the tunnel relies on."""
        versions = {own.version for own in self.tunnel.addresses}
        if self.tunnel.remote is not None:
            versions.add(self.tunnel.remote.version)
        for version in sorted(versions):
            default = self.facts.default(version)
            if default is None:
                continue
            for route in self.facts.connected():
                if route.destination.version == version and not route.destination.is_link_local:
                    whose = "the provider's own" if route.device == default.device else "a local"
                    self.add(route, f"{whose} network, by its physical interface", stands=True)
            reason = "everything else leaves by the ordinary default router"
            if self.redirects(version):
                reason = "kept for when the tunnel is gone; the halves below are more specific"
            self.add(default, reason, stands=True)

    def asked(self) -> Iterator[tuple[Route, str]]:
        """The routes of --route and --route-ipv6."""
        for wanted in self.tunnel.routes:
            network, how = self.network(wanted)
            if network is None:
                self.warnings.append(how)
                continue
            route, problem = self.route(network, wanted)
            if route is None:
                self.warnings.append(problem)
                continue
            yield route, self.why(wanted, route)

    def why(self, wanted: RouteRequest, route: Route) -> str:
        if route.device is None:
            return "IPv6 through the tunnel is blocked (--block-ipv6)"
        if route.device != self.device:
            return f"bypasses the tunnel, via {route.gateway} ({wanted.gateway})"
        return "a network behind the other end, through the tunnel"

    def network(self, wanted: RouteRequest) -> tuple[IPNetwork | None, str]:
        """The destination of a --route, or what is wrong with it."""
        address, problem = self.address(wanted.network, 6 if wanted.six else 4)
        if address is None:
            return None, f"the route to {wanted} is left out: {problem}"
        return ipaddress.ip_network((address, wanted.prefix), strict=False), ""

    def address(self, text: str, version: int) -> tuple[IPAddress | None, str]:
        """An address, a name or a keyword, or what is wrong with it."""
        if text == "vpn_gateway":
            gateway = self.gateway(version)
            return gateway, "the tunnel has no gateway: add --route-gateway ADDRESS"
        if text == "net_gateway":
            default = self.facts.default(version)
            if default is None or default.gateway is None:
                return None, "the host has no default gateway"
            return default.gateway, ""
        if text == "remote_host":
            return self.tunnel.remote, "the peer's address is not known: add --remote"
        if text in self.tunnel.names:
            return self.tunnel.names[text], ""
        try:
            return ipaddress.ip_address(text), ""
        except ValueError:
            return None, f"the name {text} does not resolve"

    def gateway(self, version: int) -> IPAddress | None:
        return self.tunnel.gateways.get(version) or self.tunnel.peers.get(version)

    def route(self, network: IPNetwork, wanted: RouteRequest) -> tuple[Route | None, str]:
        metric = wanted.metric if wanted.metric is not None else self.tunnel.metric or 0
        if wanted.gateway is None:
            return self.into_tunnel(network, metric, table=wanted.table)
        gateway, problem = self.address(wanted.gateway, network.version)
        if gateway is None or gateway.version != network.version:
            problem = problem if gateway is None else f"{gateway} is of another IP version"
            return None, f"the route to {network} is left out: {problem}"
        outer = self.facts.route_to(gateway)
        if gateway == self.gateway(network.version) or self.in_tunnel(gateway) or outer is None:
            return self.into_tunnel(network, metric, gateway, wanted.table)
        if outer.gateway is not None and outer.gateway != gateway:
            return None, (
                f"the route to {network} is left out: no network of this host holds the gateway {gateway}"
            )
        return Route(network, outer.device, gateway, metric, wanted.table), ""

    def in_tunnel(self, address: IPAddress) -> bool:
        return any(address.version == own.version and address in own.network for own in self.tunnel.addresses)

    def into_tunnel(
        self, network: IPNetwork, metric: int, gateway: IPAddress | None = None, table: int | None = None
    ) -> tuple[Route | None, str]:
        if network.version == 6 and self.tunnel.block_ipv6:
            return Route(network, None, None, metric, table), ""
        if not any(own.version == network.version for own in self.tunnel.addresses):
            option = "--ifconfig" if network.version == 4 else "--ifconfig-ipv6"
            return None, (
                f"the route to {network} is left out: the interface has no IPv{network.version} tunnel "
                f"address; add {option}"
            )
        gateway = gateway or self.gateway(network.version)
        if gateway is None and self.tunnel.kind == "tap":
            dhcp = network.version in self.tunnel.gateways
            why = "a DHCP server would have to give the gateway" if dhcp else "a tap needs a gateway"
            return None, f"the route to {network} is left out: {why}; write --route-gateway ADDRESS"
        if self.tunnel.kind == "tun" and (network.version == 6 or not self.on_tunnel(gateway)):
            # There are just two ends: the other one is the gateway.
            gateway = None
        return Route(network, self.device, gateway, metric, table), ""

    def on_tunnel(self, gateway: IPAddress | None) -> bool:
        if gateway is None:
            return False
        return self.in_tunnel(gateway) or gateway in self.tunnel.peers.values()

    # All traffic

    def redirects(self, version: int) -> bool:
        """Whether --redirect-gateway applies to this IP version."""
        flags = self.tunnel.redirect
        if flags is None or self.tunnel.private:
            return False
        return "!ipv4" not in flags if version == 4 else "ipv6" in flags

    def redirected(self) -> Iterator[tuple[Route, str]]:
        for version in (4, 6):
            if not self.redirects(version):
                continue
            for half in HALVES[version]:
                route, problem = self.into_tunnel(half, self.tunnel.metric or 0)
                if route is None:
                    self.warnings.append(problem)
                    continue
                yield route, self.why_half(route)
        yield from self.blocked_local()

    def why_half(self, route: Route) -> str:
        if route.device is None:
            return "IPv6 through the tunnel is blocked (--block-ipv6)"
        return f"all external communication over IPv{route.destination.version} goes through the tunnel"

    def blocked_local(self) -> Iterator[tuple[Route, str]]:
        """Routes for two halves of the local network into the tunnel, except for the host and its router."""
        default = self.facts.default(4)
        if default is None or "block-local" not in (self.tunnel.redirect or ()):
            return
        for local in self.facts.connected():
            if local.device == default.device and local.destination.version == 4:
                for half in local.destination.subnets() if local.destination.prefixlen < 31 else ():
                    route, problem = self.into_tunnel(half, 0)
                    if route is not None:
                        yield route, f"keeps this host out of {local.destination} (block-local)"
                    else:
                        self.warnings.append(problem)

    # The route to the peer

    def bypasses(self) -> list[PlanStep]:
        """Host routes that bypass the tunnel: to the peer, and to other hosts that the options name."""
        flags = self.tunnel.redirect
        steps: list[PlanStep] = []
        default = self.facts.default(4)
        if (
            flags is not None
            and "block-local" in flags
            and default is not None
            and default.gateway is not None
        ):
            steps.append(
                PlanStep(
                    Route(_host(default.gateway), default.device),
                    "the default router itself is reached directly",
                )
            )
        for remote in self.remotes():
            if self.wants_host_route(remote) and not self.is_here(remote):
                steps += self.host_route(
                    remote, "the peer's public address: the link's own packets bypass the tunnel"
                )
                steps.append(self.guard(remote))
        for flag, servers in (
            ("bypass-dns", self.facts.nameservers),
            ("bypass-dhcp", self.facts.dhcp_servers),
        ):
            if flags is not None and flag in flags:
                for server in servers:
                    if not server.is_loopback:
                        steps += self.host_route(server, f"bypasses the tunnel ({flag})")
        return list({step.change: step for step in steps}.values())

    def remotes(self) -> list[IPAddress]:
        """The underlay addresses that the link's own packets go to."""
        first = self.tunnel.remote
        return list(dict.fromkeys([*([] if first is None else [first]), *self.tunnel.relays]))

    def guard(self, remote: IPAddress) -> PlanStep:
        """A route that takes the place of the one to `remote` while there is none.

        It is set whether the host has a route to `remote` or not. So no route into the tunnel depends on the
        underlay's routes, and none has to be removed while those change.
        """
        route = Route(_host(remote), None, None, GUARD_METRIC)
        return PlanStep(route, "and if that route is lost, they do not enter the link instead")

    def is_here(self, address: IPAddress) -> bool:
        """Whether it is an address of this host."""
        return address.is_loopback or any(address == own.ip for _device, own in self.facts.addresses)

    def is_bypassed_by_hand(self, remote: IPAddress) -> bool:
        """Whether a --route leads to exactly this address by a router of the underlay."""
        for wanted in self.tunnel.routes:
            network, _problem = self.network(wanted)
            if network == _host(remote) and wanted.gateway not in (None, "vpn_gateway"):
                return True
        return False

    def wants_host_route(self, remote: IPAddress) -> bool:
        """OpenVPN sets it with --redirect-gateway, and for IPv6 whenever a route covers the peer."""
        flags = self.tunnel.redirect
        if remote.is_link_local:
            # Its interface is part of the address, and no route into a tunnel covers it.
            return False
        if remote.version == 6:
            nets = [ipaddress.ip_network((w.network, w.prefix), strict=False) for w in self.literal_routes()]
            covered = any(remote in net for net in nets if net.version == 6)
            return covered or (flags is not None and "ipv6" in flags)
        if flags is None or "!ipv4" in flags or "local" in flags:
            return False
        route = self.facts.route_to(remote)
        near = route is not None and route.gateway is None and route.destination.prefixlen > 0
        return not ("autolocal" in flags and near)

    def literal_routes(self) -> Iterator[RouteRequest]:
        for wanted in self.tunnel.routes:
            try:
                ipaddress.ip_address(wanted.network)
            except ValueError:
                continue
            yield wanted

    def host_route(self, address: IPAddress, reason: str) -> list[PlanStep]:
        """A host route by which the address is reached now."""
        route = self.facts.route_to(address)
        if route is None:
            self.warnings.append(
                f"{address} cannot be reached: the host has no route to it, and no default gateway"
            )
            return []
        if route.device is None or route.destination.prefixlen == address.max_prefixlen:
            return [PlanStep(route, reason, stands=True)]
        if self.is_here(address):
            return []
        return [PlanStep(Route(_host(address), route.device, route.gateway), reason)]

    def add_inner(self, route: Route, reason: str) -> None:
        """Add a route into the tunnel, unless it exists or would carry the link's packets into the link."""
        network = route.destination
        if route.table is not None:
            # Only what a rule sends there is led by it; which packets those are is not for a link to say.
            self.add(route, f"{reason} (--route-table {route.table})")
            return
        if any(network == own.network and own.version not in self.tunnel.peers
               for own in self.tunnel.addresses):  # fmt: skip
            return
        if network not in HALVES[network.version] and "block-local" not in (self.tunnel.redirect or ()):
            self.compare(network)
        remote = next((remote for remote in self.remotes() if self.swallows(route, remote)), None)
        if remote is not None:
            host = f"--route {remote} 255.255.255.255 net_gateway"
            if remote.version == 6:
                host = f"--route-ipv6 {remote}/128 net_gateway"
            self.warnings.append(
                f"the route to {network} is left out: the peer {remote} is in it, and the link's own packets "
                f"would go into the link; add {host}"
            )
            return
        self.add(route, reason)

    def swallows(self, route: Route, remote: IPAddress) -> bool:
        """Whether this route would lead to the peer through the tunnel."""
        if remote.version != route.destination.version or remote not in route.destination:
            return False
        bypassing = [
            step.change
            for step in self.steps
            if isinstance(step.change, Route)
            and step.change.device != self.device
            and step.change.table is None
        ]
        bypassing += self.facts.routes
        return not any(
            remote.version == other.destination.version
            and remote in other.destination
            and other.destination.prefixlen > route.destination.prefixlen
            for other in bypassing
        )


def _host(address: IPAddress) -> IPNetwork:
    return ipaddress.ip_network(address)
