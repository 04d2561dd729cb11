"""How a frame passes through each kind of element: where it goes on from the door by which it came in.

The elements know nothing of it. One that is not here, a third party's too, takes the frame for whatever is
behind it; `passing.register` says otherwise (functools.singledispatch).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Protocol

from tmelink.element import Element, Port
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.nic import Nic
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tuntap import TapElement
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.elements.tunnels.base import Encapsulation
from tmelink.elements.tunnels.vxlan import Vxlan


@dataclass(frozen=True, slots=True)
class Door:
    """Where a frame enters an element: by `port`, or with None from beyond it, a wire or an interface."""

    element: Element
    port: Port | None


@dataclass(frozen=True, slots=True)
class Away:
    """The frame leaves what the file knows."""

    towards: str


Way = Port | Door | Away
"""A frame leaves by a port of the element's own, goes straight to another element, or leaves the file."""


@dataclass(frozen=True, slots=True)
class Passing:
    """What an element does with a frame: the sentence, the ways on, and whether it takes the frame itself.

    `crosses` marks where the frame is put into the packets of a network outside.
    """

    does: str
    to: tuple[Way, ...] = ()
    takes: bool = False
    crosses: bool = False


class Surroundings(Protocol):
    """What an element cannot know of the file around it."""

    def other_ends(self, element: Element) -> Sequence[Element]:
        """The other ends of a link, a server or a tunnel that are in the file."""

    def at_interface(self, element: Element) -> Sequence[Element]:
        """What else stands at the interface that the element listens on or brings."""

    def towards(self, element: Element) -> str:
        """The peer of a link or a tunnel as an address, for a person."""


@singledispatch
def passing(element: Element, port: Port | None, around: Surroundings) -> Passing:
    """What happens to a frame that enters `element` by `port`, or with None from beyond."""
    return Passing("takes it for what is behind it", takes=True)


@passing.register
def _(element: Host, port: Port | None, around: Surroundings) -> Passing:
    return Passing("a built-in machine", takes=True)


@passing.register
def _(element: Nic, port: Port | None, around: Surroundings) -> Passing:
    return Passing("a network card that a program holds", takes=True)


@passing.register
def _(element: Gateway, port: Port | None, around: Surroundings) -> Passing:
    return Passing("a router between an Ethernet and a tunnel", takes=True)


@passing.register
def _(element: Switch, port: Port | None, around: Surroundings) -> Passing:
    others = _others(element, port)
    if len(others) < 2:
        return Passing("a switch: to its only other connection", others)
    count = f"{len(others)} other connections"
    return Passing(f"a switch: by MAC address, and to all {count} while it does not know where", others)


@passing.register
def _(element: Link, port: Port | None, around: Surroundings) -> Passing:
    if port is None:
        return Passing("takes the frame out of its datagram", _others(element, None))
    others = around.other_ends(element)
    if others:
        return Passing(f"sends it to its other end, {others[0].name}", (Door(others[0], None),), crosses=True)
    towards = around.towards(element)
    return Passing(f"leaves this file towards {towards}", (Away(towards),), crosses=True)


@passing.register
def _(element: Server, port: Port | None, around: Surroundings) -> Passing:
    options = element.arguments.server
    between = options is not None and options.client_to_client
    ways: list[Way] = [*_others(element, port)]
    if port is not None or between:
        ways += [Door(client, None) for client in around.other_ends(element)]
        ways.append(Away(around.towards(element)))
    by = "MAC" if element.arguments.dev_type == "tap" else "IP"
    return Passing(f"a server: to the client with that {by} address", tuple(ways), crosses=True)


@passing.register
def _(element: Vxlan, port: Port | None, around: Surroundings) -> Passing:
    if port is None or port is element.outer:
        return Passing("takes the frame out of its tunnel header", _ports(element.inner))
    does = "puts its headers before it: to the remote with that MAC address, to all while it does not know"
    if element.outer is not None:
        return Passing(does, _ports(element.outer), crosses=True)
    ways: list[Way] = [Door(other, None) for other in around.other_ends(element)]
    if len(ways) < len(element.arguments.remote):
        ways.append(Away(around.towards(element)))
    return Passing(does, tuple(ways), crosses=True)


@passing.register
def _(element: Encapsulation, port: Port | None, around: Surroundings) -> Passing:
    if port is None or port is element.outer:
        return Passing("takes the packet out of its tunnel header", _ports(element.inner))
    if element.outer is not None:
        return Passing("puts its headers before it", _ports(element.outer), crosses=True)
    others = around.other_ends(element)
    towards = around.towards(element)
    way: Way = Door(others[0], None) if others else Away(towards)
    return Passing(f"puts its headers before it, towards {towards}", (way,), crosses=True)


@passing.register
def _(element: Bpf, port: Port | None, around: Surroundings) -> Passing:
    name = element.interface or "the first interface that is up"
    if port is None:
        return Passing(f"hears it on {name}", _others(element, None))
    neighbours = around.at_interface(element)
    ways: list[Way] = [Door(each, None) for each in neighbours]
    if not any(isinstance(each, TapElement) for each in neighbours):
        ways.append(Away(f"the network on {name}"))
    return Passing(f"a packet tap: sends it out on {name}, where every other one hears it", tuple(ways))


@passing.register
def _(element: TapElement, port: Port | None, around: Surroundings) -> Passing:
    name = element.interface or ("tunN" if element.kind == "ip" else "tapN")
    if port is None:
        back = any(each.peer is each for each in element.ports)
        does = f"{name} is joined to itself and gives it back" if back else f"reads it from {name}"
        return Passing(does, _others(element, None))
    ways = [Door(each, None) for each in around.at_interface(element)]
    return Passing(f"writes it to {name}", tuple(ways), takes=True)


def _others(element: Element, port: Port | None) -> tuple[Way, ...]:
    return tuple(each for each in element.ports if each is not port)


def _ports(port: Port | None) -> tuple[Way, ...]:
    return () if port is None else (port,)
