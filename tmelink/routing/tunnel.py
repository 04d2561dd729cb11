"""What a link's options ask of the host, as a plan: addresses, the route to the peer, routes into the tunnel.

Knows what OpenVPN's options mean to a host (openvpn(8) 2.6, "VPN Network Options" and "Tunnel Options"). How
they are written or pushed is in `tmelink.openvpn.options.network_options`. A route that OpenVPN would let
carry a link's own packets into the link is left out, with a warning. No route of the host is ever removed:
two halves of the world are more specific than any default route, with `def1` or without.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from tmelink.routing.facts import Facts, IPAddress, IPInterface, IPNetwork, Route
from tmelink.routing.plan import Change, InterfaceAddress, Mac, Plan, PlanStep

HALVES: dict[int, tuple[IPNetwork, ...]] = {
    4: (IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")),
    # OpenVPN's: what is global, and what is unique local.
    6: tuple(map(IPv6Network, ("::/3", "2000::/4", "3000::/4", "fc00::/7"))),
}
"""What is routed into a tunnel instead of replacing a default route."""

GUARD_METRIC = 2**32 - 2
"""Of the route that is there only for when no other to the peer is; the very last is some systems' "none"."""

KEYWORDS = ("vpn_gateway", "net_gateway", "remote_host")
"""Words that stand for an address in --route."""


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """A --route or --route-ipv6: `network` and `gateway` are addresses, names or one of `KEYWORDS`.

    `six` tells --route-ipv6, for which the keywords mean IPv6 addresses.
    """

    network: str
    prefix: int
    gateway: str | None = None
    metric: int | None = None
    six: bool = False

    def __str__(self) -> str:
        return f"{self.network}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What a link says of the network inside it.

    `peers` are the other ends inside, by IP version; `gateways` what --route-gateway says or implies, None
    for what a DHCP server would have to say. `redirect` holds the flags of --redirect-gateway, `private`
    leaves all but its bypass routes out. `remote` is the peer's address outside. `delay` is in seconds.
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
    delay: int = 0
    mac: bytes | None = None
    names: Mapping[str, IPAddress] = field(default_factory=dict)
    """What the names in `routes` resolve to."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Commands by moment: "up", "route-up", "route-pre-down", "down"."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the scripts are told."""


def plan(tunnel: Tunnel, device: str, facts: Facts) -> Plan:
    """What to do for the interface `device` that is connected to the link; `facts` are those of its host."""
    return _Planning(tunnel, device, facts.without(device)).plan()


def behind(planned: Plan, device: str) -> Iterator[IPNetwork]:
    """The networks that a plan has behind the interface, beside its own; not all the world."""
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
        self.outer_ways()
        asked = [*self.asked(), *self.redirected()]
        # What stays outside comes first: from then on nothing that follows can cut the way to the peer.
        for step in self.bypasses():
            self.add(step.change, step.reason, stands=step.stands)
        for route, reason in asked:
            if route.device not in (self.device, None):
                self.add(route, reason)
        for route, reason in asked:
            if route.device in (self.device, None):
                self.add_inner(route, reason)
        return Plan(tuple(self.steps), tuple(dict.fromkeys(self.warnings)))

    def add(self, change: Change, reason: str, *, stands: bool = False) -> None:
        if all(step.change != change for step in self.steps):
            self.steps.append(PlanStep(change, reason, stands))

    # Inside

    def own_addresses(self) -> None:
        if self.tunnel.mac is not None:
            self.add(Mac(self.device, self.tunnel.mac), "the MAC address that the link names (--lladdr)")
        for own in self.tunnel.addresses:
            peer = self.tunnel.peers.get(own.version) if own.version == 4 else None
            if peer is not None:
                self.add(
                    InterfaceAddress(self.device, own, peer), "the own address inside, and the other end's"
                )
            else:
                self.add(
                    InterfaceAddress(self.device, own),
                    f"the own address inside; {own.network} is in the tunnel",
                )
            self.compare(own.network if peer is None else ipaddress.ip_network(peer))

    def compare(self, network: IPNetwork) -> None:
        """Warn where a network inside is one outside too."""
        for route in self.facts.connected():
            if route.destination.version == network.version and route.destination.overlaps(network):
                self.warnings.append(
                    f"{network} inside overlaps {route.destination} on {route.device}: what is in both can "
                    "only be reached in one of them; number one of the networks anew"
                )

    def outer_ways(self) -> None:
        """What stands already and the tunnel relies on."""
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
            reason = "everything else goes out by the ordinary default router"
            if self.redirects(version):
                reason = "stays for when the tunnel is gone; the halves below are more specific"
            self.add(default, reason, stands=True)

    def asked(self) -> Iterator[tuple[Route, str]]:
        """What --route and --route-ipv6 come to."""
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
            return f"outside the tunnel, by {route.gateway} ({wanted.gateway})"
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
            return gateway, "there is no gateway inside: add --route-gateway ADDRESS"
        if text == "net_gateway":
            default = self.facts.default(version)
            if default is None or default.gateway is None:
                return None, "the host has no default gateway"
            return default.gateway, ""
        if text == "remote_host":
            return self.tunnel.remote, "the peer's address outside is not known: add --remote"
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
            return self.into_tunnel(network, metric)
        gateway, problem = self.address(wanted.gateway, network.version)
        if gateway is None or gateway.version != network.version:
            problem = problem if gateway is None else f"{gateway} is of another IP version"
            return None, f"the route to {network} is left out: {problem}"
        outer = self.facts.way(gateway)
        if gateway == self.gateway(network.version) or self.is_inside(gateway) or outer is None:
            return self.into_tunnel(network, metric, gateway)
        if outer.gateway is not None and outer.gateway != gateway:
            return None, (
                f"the route to {network} is left out: the gateway {gateway} is on no network of this host"
            )
        return Route(network, outer.device, gateway, metric), ""

    def is_inside(self, address: IPAddress) -> bool:
        return any(address.version == own.version and address in own.network for own in self.tunnel.addresses)

    def into_tunnel(
        self, network: IPNetwork, metric: int, gateway: IPAddress | None = None
    ) -> tuple[Route | None, str]:
        if network.version == 6 and self.tunnel.block_ipv6:
            return Route(network, None, None, metric), ""
        if not any(own.version == network.version for own in self.tunnel.addresses):
            option = "--ifconfig" if network.version == 4 else "--ifconfig-ipv6"
            return None, (
                f"the route to {network} is left out: the interface has no IPv{network.version} address "
                f"inside; add {option}"
            )
        gateway = gateway or self.gateway(network.version)
        if gateway is None and self.tunnel.kind == "tap":
            dhcp = network.version in self.tunnel.gateways
            why = "a DHCP server would have to say the gateway" if dhcp else "a tap needs a gateway"
            return None, f"the route to {network} is left out: {why}; write --route-gateway ADDRESS"
        if self.tunnel.kind == "tun" and (network.version == 6 or not self.on_tunnel(gateway)):
            # There are just two ends: whoever takes it at the other one is the gateway.
            gateway = None
        return Route(network, self.device, gateway, metric), ""

    def on_tunnel(self, gateway: IPAddress | None) -> bool:
        if gateway is None:
            return False
        return self.is_inside(gateway) or gateway in self.tunnel.peers.values()

    # All traffic

    def redirects(self, version: int) -> bool:
        """Whether --redirect-gateway speaks of this IP version."""
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
        """The local network in two halves into the tunnel, but for the host itself and its router."""
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

    # The way to the peer

    def bypasses(self) -> list[PlanStep]:
        """Host routes that stay outside: to the peer, and to what else the options name."""
        flags = self.tunnel.redirect
        steps: list[PlanStep] = []
        remote = self.tunnel.remote
        default = self.facts.default(4)
        if (
            flags is not None
            and "block-local" in flags
            and default is not None
            and default.gateway is not None
        ):
            steps.append(
                PlanStep(
                    Route(_host(default.gateway), default.device), "the default router itself stays near"
                )
            )
        if remote is not None and self.wants_host_route(remote):
            own = self.host_route(remote, "the peer's public address: the link's own packets stay outside")
            steps += own
            if any(not step.stands for step in own):
                guard = Route(_host(remote), None, None, GUARD_METRIC)
                steps.append(
                    PlanStep(guard, "and should that way be lost, they do not go into the link instead")
                )
        for flag, servers in (
            ("bypass-dns", self.facts.nameservers),
            ("bypass-dhcp", self.facts.dhcp_servers),
        ):
            if flags is not None and flag in flags:
                for server in servers:
                    if not server.is_loopback:
                        steps += self.host_route(server, f"stays outside ({flag})")
        return list({step.change: step for step in steps}.values())

    def wants_host_route(self, remote: IPAddress) -> bool:
        """OpenVPN sets it with --redirect-gateway, and over IPv6 wherever a route covers the peer."""
        flags = self.tunnel.redirect
        if remote.version == 6:
            nets = [ipaddress.ip_network((w.network, w.prefix), strict=False) for w in self.literal_routes()]
            covered = any(remote in net for net in nets if net.version == 6)
            return covered or (flags is not None and "ipv6" in flags)
        if flags is None or "!ipv4" in flags or "local" in flags:
            return False
        way = self.facts.way(remote)
        near = way is not None and way.gateway is None and way.destination.prefixlen > 0
        return not ("autolocal" in flags and near)

    def literal_routes(self) -> Iterator[RouteRequest]:
        for wanted in self.tunnel.routes:
            try:
                ipaddress.ip_address(wanted.network)
            except ValueError:
                continue
            yield wanted

    def host_route(self, address: IPAddress, reason: str) -> list[PlanStep]:
        """A host route the way the address is reached now."""
        way = self.facts.way(address)
        if way is None:
            self.warnings.append(
                f"{address} cannot be kept outside: the host has no route to it, and no default gateway"
            )
            return []
        if way.device is None or way.destination.prefixlen == address.max_prefixlen:
            return [PlanStep(way, reason, stands=True)]
        if address.is_loopback or any(address == own.ip for _device, own in self.facts.addresses):
            return []
        return [PlanStep(Route(_host(address), way.device, way.gateway), reason)]

    def add_inner(self, route: Route, reason: str) -> None:
        """A route inside, unless it stands anyway or would carry the link's own packets into the link."""
        remote, network = self.tunnel.remote, route.destination
        if any(network == own.network and own.version not in self.tunnel.peers
               for own in self.tunnel.addresses):  # fmt: skip
            return
        if network not in HALVES[network.version] and "block-local" not in (self.tunnel.redirect or ()):
            self.compare(network)
        if remote is not None and self.swallows(route, remote):
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
        """Whether with this route the peer would be reached through the tunnel."""
        if remote.version != route.destination.version or remote not in route.destination:
            return False
        outside = [
            step.change
            for step in self.steps
            if isinstance(step.change, Route) and step.change.device not in (self.device, None)
        ]
        outside += self.facts.routes
        return not any(
            remote.version == other.destination.version
            and remote in other.destination
            and other.destination.prefixlen > route.destination.prefixlen
            for other in outside
        )


def _host(address: IPAddress) -> IPNetwork:
    return ipaddress.ip_network(address)
