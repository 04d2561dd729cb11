"""Loops: tunnels whose packets enter themselves, and Ethernets with two paths between the same segments."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tmelink.element import Element, Port
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.openvpn.options import network_options
from tmelink.proof.hops import Journey
from tmelink.proof.hosts import HostModel
from tmelink.proof.kinds import kind_of, numeric
from tmelink.proof.topology import Topology
from tmelink.proof.trace import carried
from tmelink.routing.facts import IPAddress, IPNetwork
from tmelink.source import Mistake, Place

# Tunnels


@dataclass(frozen=True, slots=True)
class _Led:
    """A tunnel's packets to a peer leave by a host of the file, enter tunnels, and may be lost there."""

    tunnel: Element
    peer: IPAddress
    by: HostModel
    into: Sequence[Element]
    lost: str


def tunnels(topology: Topology) -> Iterator[Mistake]:
    """Tunnels whose own packets enter them, directly or through other tunnels, or are lost."""
    led = [each for tunnel in _carriers(topology) for each in _led(topology, tunnel)]
    reported: set[Element] = set()
    for each in led:
        if each.tunnel in each.into:
            reported.add(each.tunnel)
            yield _swallowed(each)
        elif each.lost:
            yield Mistake(
                each.by.place,
                f"{each.by.name}: the packets of {each.tunnel.name} to its peer {each.peer} leave through "
                f"it and are lost: {each.lost}",
                "give the tunnelled network other addresses, or add a route to the peer",
            )
    inside_of: dict[Element, list[Element]] = {tunnel: _around(tunnel) for tunnel in _carriers(topology)}
    for each in led:
        inside_of[each.tunnel] += each.into
    for tunnel in inside_of:
        loop = _loop(inside_of, tunnel)
        if tunnel not in reported and loop and reported.isdisjoint(loop):
            reported.update(loop)
            names = [each.name for each in loop]
            yield Mistake(
                topology.place(tunnel),
                f"{' goes through '.join([*names, names[0]])}: their packets loop and never leave",
                "add a route to the peer of one of them, or give it an address that no tunnel leads to",
            )
    yield from _refused(topology)
    yield from _pushed(topology)


def _carriers(topology: Topology) -> list[Element]:
    return [element for element in topology.elements() if kind_of(element).carries is not None]


def _swallowed(led: _Led) -> Mistake:
    route = led.by.route(led.peer)
    network = "every address" if route is None else route[0]
    kind = _kind(led.tunnel)
    return Mistake(
        led.by.place,
        f"{led.by.name}: {network} leads into {led.tunnel.name}, and its peer {led.peer} is in that network: "
        f"the {kind}'s own packets would go into the {kind}",
        "give the tunnelled network other addresses",
    )


def _kind(tunnel: Element) -> str:
    return "link" if isinstance(tunnel, Link) else type(tunnel).__name__.lower()


def _around(tunnel: Element) -> list[Element]:
    """The tunnel that carries the outer packets of this one, where a connection leads to it."""
    outer = tunnel.carried_by
    return [] if outer is None or outer.peer is None else [outer.peer.element]


def _led(topology: Topology, tunnel: Element) -> Iterator[_Led]:
    """Where a tunnel's outer packets go, for each peer that they reach through an interface of the file."""
    mine = [each for each in topology.hosts if each.computer == (topology.home(tunnel), None)]
    if not mine or _around(tunnel):
        return
    underlay = kind_of(tunnel).underlay
    if underlay is None:
        return
    own, peers = underlay(tunnel, topology)
    for peer in dict.fromkeys(peers):
        by, entered, lost = carried(topology, Journey(mine[0], peer, own))
        if by is not None:
            yield _Led(tunnel, peer, by, entered, lost)


def _loop(inside_of: Mapping[Element, Sequence[Element]], tunnel: Element) -> list[Element]:
    """The shortest path from a tunnel through others back into itself; empty if there is none."""
    paths: list[list[Element]] = [[tunnel]]
    seen: set[Element] = set()
    for path in paths:  # it grows
        for into in inside_of.get(path[-1], ()):
            if into is tunnel:
                return path
            if into not in seen:
                seen.add(into)
                paths.append([*path, into])
    return []


def _refused(topology: Topology) -> Iterator[Mistake]:
    """Routes that a link asks for and does not get, because they would capture its own packets."""
    for host in topology.hosts:
        link = None if host.port is None or host.port.peer is None else host.port.peer.element
        if not isinstance(link, Link | Server):
            continue
        for network in host.refused:
            peer = link.arguments.remotes[0].host
            route = f"--route {peer} 255.255.255.255" if network.version == 4 else f"--route-ipv6 {peer}/128"
            yield Mistake(
                topology.place(link),
                f"{link.name}: the route to {network} will be left out: the peer {peer} is in it, and the "
                "link's own packets would go into the link",
                f"add {route} net_gateway",
            )


def _pushed(topology: Topology) -> Iterator[Mistake]:
    """Servers whose own underlay address is in a network that they push to their clients."""
    for client, server in topology.served.items():
        address, options = numeric(topology.end(server).address), server.arguments.server
        has_interface = any(
            port.peer is not None and isinstance(port.peer.element, TunTap) for port in client.ports
        )
        if address is None or options is None or not has_interface:
            continue
        pushed, _notes = network_options.with_pushed(client.arguments.network, options.push)
        networks: list[IPNetwork] = [] if options.network is None else [options.network]
        networks += [network for words in pushed.routes if (network := _literal("route", words)) is not None]
        networks += [net for words in pushed.routes6 if (net := _literal("route-ipv6", words)) is not None]
        if pushed.redirect is not None or ipaddress.ip_network(address) in networks:
            continue  # the client adds a host route to the server
        for network in networks:
            if address in network:
                yield Mistake(
                    topology.place(server),
                    f"{server.name}: clients route {network} into the tunnel, and its own address {address} "
                    f"is in that network: the packets of {client.name} would go into the tunnel",
                    "give the tunnelled network other addresses",
                )


def _literal(option: str, words: Sequence[str]) -> IPNetwork | None:
    """The network of a route that is written as one."""
    wanted = network_options.read_route(option, words)
    address = numeric(wanted.network)
    return None if address is None else ipaddress.ip_network((address, wanted.prefix), strict=False)


# Ethernets


class _Wire(NamedTuple):
    """Something that passes frames both ways between two sides; of a connection also its ports."""

    one: Hashable
    other: Hashable
    place: Place
    what: str
    ports: tuple[Port, Port] | None = None


def wires(topology: Topology) -> Iterator[Mistake]:
    """Connections that close a loop, in which a broadcast would circulate for ever."""
    circuit = _Groups()
    found = list(_wires(topology))
    around: _Circuits | None = None
    for wire in found:
        if circuit.join(wire.one, wire.other):
            continue
        if any(isinstance(side, Switch) and side.has_rules for side in circuit.sides):
            around = around or _Circuits(found)
            if not around.lead_back(wire):
                continue  # Its switches pass nothing round: a mesh, or VLANs that are apart.
        yield Mistake(
            wire.place,
            f"{wire.what} closes a loop of the Ethernet: a broadcast circulates in it for ever",
            "remove one connection of the loop, or give both the words 'mesh NAME'; "
            "switches in this file cut the newest one",
        )


class _Circuits:
    """Paths of frames along wires, where switches do not pass everything from each connection to each."""

    def __init__(self, found: Sequence[_Wire]) -> None:
        self._at: dict[Hashable, list[_Wire]] = defaultdict(list)
        for wire in found:
            for side in {wire.one, wire.other}:
                self._at[side].append(wire)

    def lead_back(self, wire: _Wire) -> bool:
        """Whether a frame that crosses a wire may cross it again in the same direction."""
        starts = [(wire, side, vlan) for side in (wire.one, wire.other) for vlan in _vlans_on(wire)]
        return any(map(self._leads_back, starts))

    def _leads_back(self, start: _Crossing) -> bool:
        """Whether a frame that crosses a wire to a side, with a tag, comes to do so again."""
        seen: set[_Crossing] = {start}
        waiting = [start]
        for wire, side, vlan in waiting:  # it grows
            come_in = _port_at(wire, side)
            for onward in self._at[side]:
                out = _port_at(onward, side)
                if onward is wire and wire.one is not wire.other:
                    continue
                found: int | str | None = vlan
                if isinstance(side, Switch) and out is not None:
                    found = kind_of(side).passes(side, come_in, out, vlan)
                if isinstance(found, str):
                    continue
                crossing = (onward, onward.other if onward.one == side else onward.one, found)
                if crossing == start:
                    return True
                if crossing not in seen:
                    seen.add(crossing)
                    waiting.append(crossing)
        return False


_Crossing = tuple[_Wire, Hashable, int | None]

MOST_TAGS: Final = 32
"""Of the VLANs of one connection so many are followed: a loop is usually one of all of them."""


def _port_at(wire: _Wire, side: Hashable) -> Port | None:
    return next((port for port in wire.ports or () if port.element is side), None)


def _vlans_on(wire: _Wire) -> list[int | None]:
    """Tags that frames on a connection may have, and None for those without."""
    found: list[int | None] = [None]
    for port in wire.ports or ():
        if isinstance(port.element, Switch) and (members := port.element.rules_of(port).vlans) is not None:
            found += sorted(members.tagged)[:MOST_TAGS]
    return found


class _Groups:
    """What is connected to what, directly or not (union-find)."""

    def __init__(self) -> None:
        self._up: dict[Hashable, Hashable] = {}

    @property
    def sides(self) -> Iterable[Hashable]:
        """All that has been joined."""
        return self._up

    def join(self, one: Hashable, other: Hashable) -> bool:
        """Join two; False if they were connected already."""
        first, second = self._top(one), self._top(other)
        self._up[first] = second
        return first != second

    def _top(self, of: Hashable) -> Hashable:
        while self._up.setdefault(of, of) != of:
            of = self._up[of]
        return of


def _wires(topology: Topology) -> Iterator[_Wire]:
    """Everything that passes frames in both directions."""
    for port, peer in topology.machine.connections:
        one, other = port.element, peer.element
        if one is not other and port.kind == "ethernet" and not isinstance(one, Gateway) \
                and not isinstance(other, Gateway):  # fmt: skip
            place = port.place or topology.place(one)
            yield _Wire(_side(port), _side(peer), place, f"{one.name} at {other.name}", (port, peer))
    ends = _Groups()
    for tunnel in _carriers(topology):
        for other in topology.other_ends(tunnel) if _carries_ethernet(tunnel) else ():
            # All ends of one vxlan, or of a server, are one Ethernet, and no frame circulates in it.
            if ends.join(tunnel, other):
                what = f"the {_kind(tunnel)} {tunnel.name} to {other.name}"
                yield _Wire(tunnel, other, topology.place(other), what)
    for element in topology.machine.elements.values():
        if isinstance(element, Bpf | TunTap) and element.interface is not None:
            yield _Wire(element, topology.interface(element), topology.place(element), element.name)


def _side(port: Port) -> Hashable:
    """What a connection leads to: an element that passes frames on, or one card of a host, which does not."""
    return port if kind_of(port.element).has_host else port.element


def _carries_ethernet(tunnel: Element) -> bool:
    """Whether it does so across an underlay; connections that carry it have been looked at."""
    carries = kind_of(tunnel).carries
    return carries is not None and tunnel.carried_by is None and carries(tunnel) == "ethernet"
