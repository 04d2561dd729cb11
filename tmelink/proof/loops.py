"""What goes round and never arrives: tunnels led into themselves, and Ethernets that close a circle."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tmelink.element import Element
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.elements.tunnels.arguments import TunnelArguments
from tmelink.elements.tunnels.base import TunnelElement
from tmelink.elements.tunnels.vxlan import Vxlan
from tmelink.openvpn.options import network_options
from tmelink.proof.hops import Journey
from tmelink.proof.hosts import HostModel, numeric
from tmelink.proof.paths import Carrier
from tmelink.proof.topology import Topology
from tmelink.proof.trace import carried
from tmelink.routing.facts import IPAddress, IPNetwork
from tmelink.source import Mistake, Place

# Tunnels


@dataclass(frozen=True, slots=True)
class _Led:
    """A tunnel's packets to a peer leave by a station of the file's, enter tunnels, and may be lost there."""

    tunnel: Carrier
    peer: IPAddress
    by: HostModel
    into: Sequence[Element]
    lost: str


def tunnels(topology: Topology) -> Iterator[Mistake]:
    """Tunnels whose own packets go into them, at once or through others, or into nothing."""
    led = [each for tunnel in _carriers(topology) for each in _led(topology, tunnel)]
    told: set[Element] = set()
    for each in led:
        if each.tunnel in each.into:
            told.add(each.tunnel)
            yield _swallowed(each)
        elif each.lost:
            yield Mistake(
                each.by.place,
                f"{each.by.name}: the packets of {each.tunnel.name} to its peer {each.peer} go by it, and "
                f"are lost: {each.lost}",
                "give the network inside other addresses, or the peer a way",
            )
    inside_of: dict[Element, list[Element]] = {tunnel: _around(tunnel) for tunnel in _carriers(topology)}
    for each in led:
        inside_of[each.tunnel] += each.into
    for tunnel in inside_of:
        circle = _circle(inside_of, tunnel)
        if tunnel not in told and circle and told.isdisjoint(circle):
            told.update(circle)
            names = [each.name for each in circle]
            yield Mistake(
                topology.place(tunnel),
                f"{' goes by '.join([*names, names[0]])}: their packets go round and never leave",
                "give the peer of one of them a way outside, or an address that no tunnel leads to",
            )
    yield from _refused(topology)
    yield from _pushed(topology)


def _carriers(topology: Topology) -> list[Carrier]:
    return [
        element
        for element in topology.machine.elements.values()
        if isinstance(element, Link | Server | TunnelElement | Vxlan)
    ]


def _swallowed(led: _Led) -> Mistake:
    way = led.by.way(led.peer)
    network = "everything" if way is None else way[0]
    kind = _kind(led.tunnel)
    return Mistake(
        led.by.place,
        f"{led.by.name}: {network} is inside, and {led.tunnel.name}'s peer {led.peer} is in it, outside: "
        f"the {kind}'s own packets would go into the {kind}",
        "give the network inside other addresses",
    )


def _kind(tunnel: Carrier) -> str:
    return "link" if isinstance(tunnel, Link) else type(tunnel).__name__.lower()


def _around(tunnel: Carrier) -> list[Element]:
    """What a connection has the packets of a tunnel travel in."""
    outer = tunnel.outer if isinstance(tunnel, TunnelElement | Vxlan) else None
    return [] if outer is None or outer.peer is None else [outer.peer.element]


def _led(topology: Topology, tunnel: Carrier) -> Iterator[_Led]:
    """Where the outer packets of a tunnel go, for each peer that they reach by an interface of the file's."""
    mine = [each for each in topology.stations if each.computer == (topology.home(tunnel), None)]
    if not mine or _around(tunnel):
        return
    own, peers = _outer_ends(topology, tunnel)
    for peer in dict.fromkeys(peers):
        by, entered, lost = carried(topology, Journey(mine[0], peer, own))
        if by is not None:
            yield _Led(tunnel, peer, by, entered, lost)


def _outer_ends(topology: Topology, tunnel: Carrier) -> tuple[IPAddress | None, list[IPAddress]]:
    """The address that a tunnel is bound to, and those of its peers, as far as the file has them."""
    ends = tunnel.arguments
    if isinstance(ends, TunnelArguments):
        return ends.local, [ends.remote]
    if isinstance(ends, Vxlan.Arguments):
        return ends.local, list(ends.remote)
    assert isinstance(tunnel, Link | Server), "all others have their ends in their arguments"
    named = [remote.host for remote in tunnel.arguments.remotes]
    others = topology.other_ends(tunnel) if not named else ()
    named += [
        address
        for other in others
        if isinstance(other, Link | Server) and (address := topology.end(other).address) is not None
    ]
    return numeric(tunnel.arguments.local), [found for each in named if (found := numeric(each)) is not None]


def _circle(inside_of: Mapping[Element, Sequence[Element]], tunnel: Element) -> list[Element]:
    """The shortest way from a tunnel through others back into itself; empty where there is none."""
    ways: list[list[Element]] = [[tunnel]]
    seen: set[Element] = set()
    for way in ways:  # it grows
        for into in inside_of.get(way[-1], ()):
            if into is tunnel:
                return way
            if into not in seen:
                seen.add(into)
                ways.append([*way, into])
    return []


def _refused(topology: Topology) -> Iterator[Mistake]:
    """Routes that a link asks for, and that are left out since its own packets would go into it."""
    for station in topology.stations:
        link = None if station.port is None or station.port.peer is None else station.port.peer.element
        if not isinstance(link, Link | Server):
            continue
        for network in station.refused:
            peer = link.arguments.remotes[0].host
            host = f"--route {peer} 255.255.255.255" if network.version == 4 else f"--route-ipv6 {peer}/128"
            yield Mistake(
                topology.place(link),
                f"{link.name}: the route to {network} will be left out: the peer {peer} is in it, and the "
                "link's own packets would go into the link",
                f"add {host} net_gateway",
            )


def _pushed(topology: Topology) -> Iterator[Mistake]:
    """Servers that, outside, are in a network that they lead their clients to network."""
    for client, server in topology.served.items():
        address, options = numeric(topology.end(server).address), server.arguments.server
        has_interface = any(
            port.peer is not None and isinstance(port.peer.element, TunTap) for port in client.ports
        )
        if address is None or options is None or not has_interface:
            continue
        told, _notes = network_options.with_pushed(client.arguments.network, options.push)
        networks: list[IPNetwork] = [] if options.network is None else [options.network]
        networks += [network for words in told.routes if (network := _literal("route", words)) is not None]
        networks += [net for words in told.routes6 if (net := _literal("route-ipv6", words)) is not None]
        if told.redirect is not None or ipaddress.ip_network(address) in networks:
            continue  # the client keeps the server outside with a route of its own
        for network in networks:
            if address in network:
                yield Mistake(
                    topology.place(server),
                    f"{server.name}: clients are led to {network} inside, and its own address {address} is "
                    f"in it, outside: the packets of {client.name} would go into the tunnel",
                    "give the network inside other addresses",
                )


def _literal(option: str, words: Sequence[str]) -> IPNetwork | None:
    """The network of a route that is written as one."""
    wanted = network_options.read_route(option, words)
    address = numeric(wanted.network)
    return None if address is None else ipaddress.ip_network((address, wanted.prefix), strict=False)


# Ethernets


def wires(topology: Topology) -> Iterator[Mistake]:
    """Connections that close a circle, in which a broadcast would go round for ever."""
    circuit = _Groups()
    for one, other, place, what in _wires(topology):
        if not circuit.join(one, other):
            yield Mistake(
                place,
                f"{what} closes a loop of the Ethernet: a broadcast goes round in it for ever",
                "leave one connection of the circle out; nothing here speaks spanning tree",
            )


class _Groups:
    """What is joined to what, directly or not."""

    def __init__(self) -> None:
        self._up: dict[Hashable, Hashable] = {}

    def join(self, one: Hashable, other: Hashable) -> bool:
        """Join two; False where they were joined already."""
        first, second = self._top(one), self._top(other)
        self._up[first] = second
        return first != second

    def _top(self, of: Hashable) -> Hashable:
        while self._up.setdefault(of, of) != of:
            of = self._up[of]
        return of


def _wires(topology: Topology) -> Iterator[tuple[Hashable, Hashable, Place, str]]:
    """Everything that passes frames both ways, as pairs of what it joins."""
    for port, peer in topology.machine.connections:
        one, other = port.element, peer.element
        if one is not other and port.kind == "ethernet" and not isinstance(one, Gateway) \
                and not isinstance(other, Gateway):  # fmt: skip
            yield one, other, port.place or topology.place(one), f"{one.name} at {other.name}"
    ends = _Groups()
    for tunnel in _carriers(topology):
        for other in topology.other_ends(tunnel) if _carries_ethernet(tunnel) else ():
            # All ends of one vxlan, or of a server, are one Ethernet, and none goes round in it.
            if ends.join(tunnel, other):
                yield (
                    tunnel,
                    other,
                    topology.place(other),
                    f"the {_kind(tunnel)} {tunnel.name} to {other.name}",
                )
    for element in topology.machine.elements.values():
        if isinstance(element, Bpf | TunTap) and element.interface is not None:
            yield element, topology.interface(element), topology.place(element), element.name


def _carries_ethernet(tunnel: Carrier) -> bool:
    if isinstance(tunnel, Link | Server):
        return tunnel.arguments.dev_type == "tap"
    if tunnel.outer is not None:
        return False  # what it is carried by is a connection, which has been looked at
    return isinstance(tunnel, Vxlan) or tunnel.codec.kind == "ethernet"
