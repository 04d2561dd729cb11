"""Who in a file sends and receives IP packets: machines, gateways, and computers by their interfaces.

A station's addresses, networks and routes are those that the file gives; what a server pushes, or the
computer has besides, nobody knows before the start.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tmelink.element import Element, Port
from tmelink.elements import host_network
from tmelink.elements.bpf import Bpf
from tmelink.elements.encapsulation import Encapsulation
from tmelink.elements.gateway import Gateway
from tmelink.elements.host import Host
from tmelink.elements.link import Link
from tmelink.elements.server import Server
from tmelink.elements.switch import Switch
from tmelink.elements.tap import Tap
from tmelink.elements.tap_device import TapElement
from tmelink.elements.vxlan import Vxlan
from tmelink.machine import Machine
from tmelink.openvpn import inside
from tmelink.proof.sizes import PATH
from tmelink.routing.facts import Facts, IPAddress, IPInterface, IPNetwork, Route
from tmelink.routing.plan import Address, Plan
from tmelink.source import Place

PASS_ON = (Bpf, Encapsulation, Link, Server, Switch, Vxlan)
"""Elements that carry what others send; all others have somebody behind them."""

Computer = tuple[str | None, str | None]
"""A host of the file and a namespace on it, None for the only one and for its own."""


@dataclass(frozen=True, eq=False)
class Station:
    """One interface of somebody who speaks IP.

    `computer` is None for those that are no computer's kernel. `routes` are beside those to the networks of
    `addresses`; a route without gateway leads to whoever is there. `nat` is the interface of the computer by
    which packets leave under its address.
    """

    name: str
    element: Element
    port: Port | None
    place: Place
    what: str
    addresses: tuple[IPInterface, ...]
    routes: tuple[tuple[IPNetwork, IPAddress | None], ...]
    mtu: int
    forwards: bool = False
    computer: Computer | None = None
    interface: str = ""
    nat: str | None = None

    def address(self, version: int | None = None) -> IPAddress | None:
        """Its first address, of that version."""
        return next((own.ip for own in self.addresses if version in (None, own.version)), None)

    def near(self, destination: IPAddress) -> IPInterface | None:
        """The own address in whose network a destination is."""
        return next((own for own in self.addresses if destination in own.network), None)

    def way(self, destination: IPAddress) -> tuple[IPNetwork, IPAddress | None] | None:
        """The most specific network that a destination is in, and the gateway to it."""
        known: list[tuple[IPNetwork, IPAddress | None]] = [(own.network, None) for own in self.addresses]
        fitting = [way for way in (*known, *self.routes) if destination in way[0]]
        return max(fitting, key=lambda way: way[0].prefixlen, default=None)


def stations(machine: Machine) -> list[Station]:
    """All of them, in the order of the file; a gateway has one for each side."""
    return [each for path, element in machine.elements.items() for each in _of(machine, path, element)]


def defaults(gateways: Iterable[IPAddress | None]) -> tuple[tuple[IPNetwork, IPAddress | None], ...]:
    """A default route through each gateway."""
    return tuple(
        (ipaddress.ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0"), gateway)
        for gateway in gateways
        if gateway is not None
    )


def _of(machine: Machine, path: str, element: Element) -> Iterator[Station]:
    place = machine.places[path]
    port = element.ports[0] if element.ports else None
    if isinstance(element, Host):
        given = element.arguments
        routes = defaults((given.gateway, given.gateway6))
        own = tuple(each for each in (given.inet, given.inet6) if each is not None)
        yield Station(element.name, element, port, place, "machine", own, routes, given.mtu)
    elif isinstance(element, Gateway):
        yield from _gateway(element, place)
    elif isinstance(element, TapElement):
        yield _kernel(element, port, place, machine.homes.get(path))
    elif not isinstance(element, PASS_ON):
        # Somebody is behind each connection, whose addresses the file does not know.
        for each in element.ports:
            yield Station(element.name, element, each, place, type(element).__name__.lower(), (), (), PATH)


def _gateway(element: Gateway, place: Place) -> Iterator[Station]:
    given = element.arguments
    own = tuple(each for each in (given.inet, given.inet6) if each is not None)
    for port in element.ports:
        if port.kind == "ethernet":
            yield Station(element.name, element, port, place, "gateway", own, (), given.mtu, forwards=True)
        else:
            taken = None if port.peer is None else port.peer.element.mtu(port.peer)
            mtu = given.tunnel_mtu or taken or given.mtu
            # Whatever is not inside goes into the tunnel, which has no address of its own here.
            routes = tuple((net, None) for net, _gateway in defaults((_ANY4, _ANY6)))
            yield Station(element.name, element, port, place, "gateway", (), routes, mtu, forwards=True)


_ANY4 = ipaddress.ip_address("0.0.0.0")
_ANY6 = ipaddress.ip_address("::")


def _kernel(element: TapElement, port: Port | None, place: Place, home: str | None) -> Station:
    device = element.interface or ("tunN" if element.kind == "ip" else "tapN")
    made = _planned(element, port, device)
    changes = [step.change for step in made.steps]
    own = [*element.own_addresses]
    routes: list[tuple[IPNetwork, IPAddress | None]] = []
    for change in changes:
        if isinstance(change, Address) and change.interface not in own:
            own.append(change.interface)
            if change.peer is not None:
                routes.append((ipaddress.ip_network(change.peer), None))
        elif isinstance(change, Route) and change.device == device:
            routes.append((change.destination, change.gateway))
    for given in element.wanted.addresses:
        if given.peer is not None:
            routes.append((ipaddress.ip_network(given.peer), None))
    routes += defaults(element.wanted.gateways)
    bridge = element.arguments.bridge if isinstance(element, Tap) else None
    router = element.around.router
    return Station(
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
    )


def _planned(element: TapElement, port: Port | None, device: str) -> Plan:
    """What the link that an interface is joined to says of it, as far as it can be said without resolving."""
    link = None if port is None or port.peer is None else port.peer.element
    if not isinstance(link, Link):
        return Plan()
    try:
        tunnel = inside.tunnel(link.arguments, link.arguments.network)
    except ValueError:
        return Plan()
    return host_network.plan(element.around, tunnel, device, element.own_addresses, Facts())
