"""How each built-in kind of element forwards a frame: where the frame goes from where it entered.

The elements do not know this module. Which kind forwards by which function, `tmelink.proof.kinds` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tmelink.element import Element, Port
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.nic import Nic
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.elements.tunnels.point_to_point import PointToPointTunnel
from tmelink.elements.tunnels.vxlan import Vxlan


class Ingress(NamedTuple):
    """Where a frame enters an element: through `port`, or for None from its far side (wire, interface)."""

    element: Element
    port: Port | None


@dataclass(frozen=True, slots=True)
class Away:
    """The frame leaves the file."""

    towards: str


Egress = Port | Ingress | Away
"""A frame leaves by a port of the element, goes straight to another element, or leaves the file."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What an element does with a frame: the sentence, the exits, and whether it takes the frame itself.

    `crosses` marks an element that puts the frame into packets of an underlay network.
    """

    does: str
    to: tuple[Egress, ...] = ()
    takes: bool = False
    crosses: bool = False


class ForwardingContext(Protocol):
    """What an element cannot know about the rest of the file."""

    def other_ends(self, element: Element) -> Sequence[Element]:
        """The other ends of a link, a server or a tunnel that are in the file."""

    def at_interface(self, element: Element) -> Sequence[Element]:
        """The other elements of the interface that the element listens on or creates."""

    def towards(self, element: Element) -> str:
        """The peer of a link or a tunnel as an address, for a person to read."""

    def elements(self) -> Iterable[Element]:
        """All elements of the file."""

    def link_ends(self, element: Link | Server) -> Sequence[Link | Server]:
        """The other end of a link in the file, a link or a server; the clients of a server in the file."""

    def source_address(self, element: Link | Server) -> str | None:
        """The address that a link's or a server's packets come from, where the file gives it."""


def taken(element: Element, port: Port | None, around: ForwardingContext) -> Forwarding:
    """An element with a host behind it, of which nothing else is known."""
    return Forwarding("accepts it for what is behind it", takes=True)


def host(element: Host, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A built-in host takes it."""
    return Forwarding("a built-in machine", takes=True)


def nic(element: Nic, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A card takes it for the program that holds it."""
    return Forwarding("a network card that a program holds", takes=True)


def gateway(element: Gateway, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A gateway takes it, and routes what is in it."""
    return Forwarding("a router between an Ethernet and a tunnel", takes=True)


def switch(element: Switch, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A switch gives it to its other connections."""
    others = _others(element, port)
    if len(others) < 2:
        return Forwarding("a switch: to its only other connection", others)
    count = f"{len(others)} other connections"
    return Forwarding(f"a switch: by MAC address, and to all {count} until it knows where", others)


def switched(element: Switch, come_in: Port | None, out: Port, vlan: int | None) -> int | str | None:
    """As `ElementKind.passes`, by the words of a switch's connections."""
    if come_in is None:
        return vlan
    parted = element.rules_of(come_in).parts(element.rules_of(out))
    if parted:
        return parted
    mine, theirs = element.members(come_in), element.members(out)
    if mine is None or theirs is None:
        return vlan
    number = mine.untagged if vlan is None else vlan
    if number is None:
        return f"the connection with {_behind(come_in)} is a trunk without 'native'"
    if number not in mine or (vlan is not None and not mine.tagged):
        return f"VLAN {number} is not at its connection with {_behind(come_in)}"
    if number not in theirs:
        return f"it is in VLAN {number}, which is not at the connection with {_behind(out)}"
    return None if number == theirs.untagged else number


def _behind(port: Port) -> str:
    return port.peer.element.name if port.peer is not None else "nothing"


def link(element: Link, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A link gives it to its other end."""
    if port is None:
        return Forwarding("takes the frame out of its datagram", _others(element, None))
    others = around.other_ends(element)
    if others:
        return Forwarding(
            f"sends it to its other end, {others[0].name}", (Ingress(others[0], None),), crosses=True
        )
    towards = around.towards(element)
    return Forwarding(f"leaves this file towards {towards}", (Away(towards),), crosses=True)


def server(element: Server, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A server gives it to its clients and to its own connections."""
    options = element.arguments.server
    between = options is not None and options.client_to_client
    exits: list[Egress] = [*_others(element, port)]
    if port is not None or between:
        exits += [Ingress(client, None) for client in around.other_ends(element)]
        exits.append(Away(around.towards(element)))
    by = "MAC" if element.arguments.dev_type == "tap" else "IP"
    return Forwarding(f"a server: to the client with that {by} address", tuple(exits), crosses=True)


def vxlan(element: Vxlan, port: Port | None, around: ForwardingContext) -> Forwarding:
    """VXLAN gives it to its remotes."""
    if port is None or port is element.outer:
        return Forwarding("takes the frame out of its tunnel header", _ports(element.inner))
    does = "adds its headers: to the remote with that MAC address, to all until it knows"
    if element.outer is not None:
        return Forwarding(does, _ports(element.outer), crosses=True)
    exits: list[Egress] = [Ingress(other, None) for other in around.other_ends(element)]
    if len(exits) < len(element.arguments.remote):
        exits.append(Away(around.towards(element)))
    return Forwarding(does, tuple(exits), crosses=True)


def tunnel(element: PointToPointTunnel, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A tunnel gives it to its other end."""
    if port is None or port is element.outer:
        return Forwarding("takes the packet out of its tunnel header", _ports(element.inner))
    if element.outer is not None:
        return Forwarding("adds its headers", _ports(element.outer), crosses=True)
    others = around.other_ends(element)
    towards = around.towards(element)
    exit_: Egress = Ingress(others[0], None) if others else Away(towards)
    return Forwarding(f"adds its headers, towards {towards}", (exit_,), crosses=True)


def packet_tap(element: Bpf, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A packet tap gives it to its interface."""
    name = element.interface or "the first interface that is up"
    if port is None:
        return Forwarding(f"hears it on {name}", _others(element, None))
    neighbours = around.at_interface(element)
    exits: list[Egress] = [Ingress(each, None) for each in neighbours]
    if not any(isinstance(each, TunTap) for each in neighbours):
        exits.append(Away(f"the network on {name}"))
    return Forwarding(f"a packet tap: sends it out on {name}, where every other one hears it", tuple(exits))


def interface(element: TunTap, port: Port | None, around: ForwardingContext) -> Forwarding:
    """A TUN or TAP gives it to its interface."""
    name = element.interface or ("tunN" if element.kind == "ip" else "tapN")
    if port is None:
        back = any(each.peer is each for each in element.ports)
        does = f"{name} is joined to itself and gives it back" if back else f"reads it from {name}"
        return Forwarding(does, _others(element, None))
    exits = [Ingress(each, None) for each in around.at_interface(element)]
    return Forwarding(f"writes it to {name}", tuple(exits), takes=True)


def _others(element: Element, port: Port | None) -> tuple[Egress, ...]:
    return tuple(each for each in element.ports if each is not port)


def _ports(port: Port | None) -> tuple[Egress, ...]:
    return () if port is None else (port,)
