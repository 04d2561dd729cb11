"""The hosts in a file that send and receive IP packets: machines, gateways, and computers by interface.

A host's addresses, networks and routes are those that the file gives. What a server pushes, or the computer
has besides, is not known before the start. A computer is assumed to have a default route.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tmelink.element import Element, Port
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.builtin.host import Host
from tmelink.elements.host_interfaces import host_network
from tmelink.elements.host_interfaces.tap import Tap
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.machine import CheckedMachine
from tmelink.openvpn.options import network_options
from tmelink.proof.kinds import kind_of, numeric
from tmelink.routing.facts import DEFAULT, Facts, IPAddress, IPInterface, IPNetwork, Route
from tmelink.routing.plan import InterfaceAddress, Plan, Rule
from tmelink.sizes import PATH
from tmelink.source import Place

Computer = tuple[str | None, str | None]
"""A host of the file and a namespace on it; None for the only host and for the host's own namespace."""

Gatewayed = tuple[IPNetwork, IPAddress | None]
"""A network and the gateway to it; None for a network that is reached directly."""

PROVIDER: Mapping[int, IPAddress] = {4: ipaddress.IPv4Address("0.0.0.1"), 6: ipaddress.IPv6Address("100::1")}
"""Stands for the provider's router, whose address no file gives; these addresses are reserved."""

UPLINK = "the uplink"
"""Stands for the interface through which a computer reaches everything that is not in the file."""


@dataclass(frozen=True, eq=False)
class HostModel:
    """One interface of a host that speaks IP.

    `computer` is None unless a computer's kernel owns the interface. `routes` come beside those to the
    networks of `addresses`; a route without a gateway reaches its network directly. `nat` is the computer's
    interface whose address packets leave with. `rules` choose a table by a packet's source address. `tables`
    are those that lead out through this interface; every other table bypasses it, and so do the networks in
    `bypass`. `refused` are the routes that its link asks for and does not get, because they would capture the
    link's own packets. `mtu` is the one that the file gives, or else an Ethernet's, until
    `tmelink.proof.paths` knows what the interface is connected to.
    """

    name: str
    element: Element
    port: Port | None
    place: Place
    what: str
    addresses: tuple[IPInterface, ...]
    routes: tuple[Gatewayed, ...]
    mtu: int
    forwards: bool = False
    computer: Computer | None = None
    interface: str = ""
    nat: str | None = None
    rules: tuple[Rule, ...] = ()
    tables: Mapping[int, tuple[Gatewayed, ...]] = field(default_factory=dict)
    bypass: tuple[IPNetwork, ...] = ()
    refused: tuple[IPNetwork, ...] = ()

    def address(self, version: int | None = None) -> IPAddress | None:
        """Its first address of that IP version; its first of any for None."""
        return next((own.ip for own in self.addresses if version in (None, own.version)), None)

    def near(self, destination: IPAddress) -> IPInterface | None:
        """Its address whose network holds the destination."""
        return next((own for own in self.addresses if destination in own.network), None)

    def route(self, destination: IPAddress, table: int | None = None) -> Gatewayed | None:
        """The most specific network that holds a destination, and its gateway; None is the main table."""
        if table is not None:
            return most_specific(self.tables.get(table, ()), destination)
        return most_specific((*((own.network, None) for own in self.addresses), *self.routes), destination)


def most_specific(routes: Iterable[Gatewayed], destination: IPAddress) -> Gatewayed | None:
    """The route with the smallest network that holds a destination."""
    fitting = [route for route in routes if destination in route[0]]
    return max(fitting, key=lambda route: route[0].prefixlen, default=None)


def main_route(
    interfaces: Sequence[HostModel], destination: IPAddress, at: HostModel | None = None
) -> tuple[Gatewayed, HostModel] | None:
    """The most specific route of a computer's main table and its interface; of equal ones that of `at`.

    None if the packet bypasses all of the interfaces and leaves by the computer's own routes.
    """
    found = [(route, each) for each in interfaces if (route := each.route(destination)) is not None]
    if not found:
        return None
    route, out = max(found, key=lambda pair: (pair[0][0].prefixlen, pair[1] is at))
    bypass = most_specific([(network, None) for each in interfaces for network in each.bypass], destination)
    return None if bypass is not None and bypass[0].prefixlen > route[0].prefixlen else (route, out)


def hosts(machine: CheckedMachine) -> list[HostModel]:
    """All hosts in the order of the file; a gateway has one model for each side."""
    return [each for path, element in machine.elements.items() for each in _of(machine, path, element)]


def defaults(gateways: Iterable[IPAddress | None]) -> tuple[Gatewayed, ...]:
    """A default route through each gateway."""
    return tuple((DEFAULT[gateway.version], gateway) for gateway in gateways if gateway is not None)


def _of(machine: CheckedMachine, path: str, element: Element) -> Iterator[HostModel]:
    place = machine.places[path]
    port = element.ports[0] if element.ports else None
    if isinstance(element, Host):
        given = element.arguments
        routes = defaults((given.gateway, given.gateway6))
        own = tuple(each for each in (given.inet, given.inet6) if each is not None)
        yield HostModel(element.name, element, port, place, "machine", own, routes, given.mtu or PATH)
    elif isinstance(element, Gateway):
        yield from _gateway(element, place)
    elif isinstance(element, TunTap):
        yield _kernel(element, port, place, machine, machine.homes.get(path))
    elif kind_of(element).has_host:
        # Each connection has a host behind it, whose addresses the file does not give.
        for each in element.ports:
            yield HostModel(element.name, element, each, place, type(element).__name__.lower(), (), (), PATH)


def _gateway(element: Gateway, place: Place) -> Iterator[HostModel]:
    given = element.arguments
    own = tuple(each for each in (given.inet, given.inet6) if each is not None)
    for port in element.ports:
        if port.kind == "ethernet":
            mtu = given.mtu or PATH
            yield HostModel(element.name, element, port, place, "gateway", own, (), mtu, forwards=True)
        else:
            mtu = given.tunnel_mtu or given.mtu or PATH
            # Everything that is not on the Ethernet goes into the tunnel, which has no address of its own
            # here.
            routes = tuple((network, None) for network in DEFAULT.values())
            yield HostModel(element.name, element, port, place, "gateway", (), routes, mtu, forwards=True)


def _kernel(
    element: TunTap, port: Port | None, place: Place, machine: CheckedMachine, home: str | None
) -> HostModel:
    device = element.interface or ("tunN" if element.kind == "ip" else "tapN")
    uplink = Facts() if element.netns is not None else _uplink(machine, home)
    made, refused = _planned(element, port, device, uplink)
    own = [*element.own_addresses]
    routes: list[Gatewayed] = []
    bypass: list[IPNetwork] = []
    tables: dict[int, tuple[Gatewayed, ...]] = {}
    for change in made.changes:
        if isinstance(change, InterfaceAddress) and change.interface not in own:
            own.append(change.interface)
            if change.peer is not None:
                routes.append((ipaddress.ip_network(change.peer), None))
        elif isinstance(change, Route) and change.device == device:
            route = (change.destination, change.gateway)
            if change.table is None:
                routes.append(route)
            else:
                tables[change.table] = (*tables.get(change.table, ()), route)
        elif isinstance(change, Route) and change.device == UPLINK and change.table is None:
            bypass.append(change.destination)
    for given in element.wanted.addresses:
        if given.peer is not None:
            routes.append((ipaddress.ip_network(given.peer), None))
    routes += defaults(element.wanted.gateways)
    bridge = element.arguments.bridge if isinstance(element, Tap) else None
    router = element.around.router
    return HostModel(
        element.name,
        element,
        port,
        place,
        f"bridge {bridge}" if bridge else "computer",
        tuple(own),
        tuple(routes),
        element.wanted.mtu or PATH,
        forwards=router is not None,
        computer=(home, element.netns),
        interface=device,
        nat=None if router is None else router.nat,
        rules=tuple(change for change in made.changes if isinstance(change, Rule)),
        tables=tables,
        bypass=tuple(bypass),
        refused=refused,
    )


def _uplink(machine: CheckedMachine, home: str | None) -> Facts:
    """What is assumed of a computer: it has a default route, and the address that the file gives it."""
    address = outer_address(machine, home)
    own = () if address is None else ((UPLINK, ipaddress.ip_interface(address)),)
    routes = (Route(network, UPLINK, PROVIDER[version]) for version, network in DEFAULT.items())
    return Facts(tuple(routes), own)


def outer_address(machine: CheckedMachine, home: str | None) -> IPAddress | None:
    """A computer's underlay address, if the file gives one as a number."""
    return numeric(machine.hosts.get(home or ""))


def _planned(
    element: TunTap, port: Port | None, device: str, uplink: Facts
) -> tuple[Plan, tuple[IPNetwork, ...]]:
    """The plan for an interface, from its arguments and its link's options, without resolving a name.

    Also the routes that the link asks for and does not get, because they would capture its own packets.
    """
    link = None if port is None or port.peer is None else port.peer.element
    known, freely = None, None
    if isinstance(link, Link | Server):
        options = link.arguments
        try:
            freely = network_options.tunnel(options, options.network)
            known = replace(freely, remote=numeric(options.remotes[0].host if options.remotes else None))
        except ValueError:
            return Plan(), ()
    made, wanted = (
        host_network.plan(element.around, each, device, element.own_addresses, uplink)
        for each in (known, freely)
    )
    refused = (
        each.destination
        for each in wanted.changes
        if isinstance(each, Route) and each.device == device and each not in made.changes
    )
    return made, tuple(refused)
