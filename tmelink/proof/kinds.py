"""What the proof has to know of each kind of element: one entry a kind.

The elements do not know this module. A package with elements of its own adds entries to `KINDS` by an entry
point of the group `tmelink.proof`, which names a mapping of the same shape. An entry holds for subclasses
too. A kind without an entry is assumed to have a host behind each of its connections.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, NamedTuple

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
from tmelink.frame import Kind
from tmelink.proof import forwarding
from tmelink.proof.forwarding import Forwarding, ForwardingContext
from tmelink.routing.facts import IPAddress

GROUP = "tmelink.proof"


class UnderlayEnds(NamedTuple):
    """The address that packets of an underlay network come from, None for any, and those that they go to."""

    local: IPAddress | None
    remotes: list[IPAddress]


def _nobody(element: Any, around: ForwardingContext) -> Sequence[Element]:
    return ()


def _nowhere(element: Any) -> str:
    return "nowhere"


def _as_it_is(element: Any, come_in: Port | None, out: Port, vlan: int | None) -> int | str | None:
    return vlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementKind:
    """One kind of element, by what the proof asks of it."""

    forward: Callable[[Any, Port | None, ForwardingContext], Forwarding] = forwarding.taken
    """What happens to a frame that enters through a port, or for None from the element's far side."""

    passes: Callable[[Any, Port | None, Port, int | None], int | str | None] = _as_it_is
    """What VLAN's tag a frame has that leaves by a port, given where it came in and its tag there; None for
    none. A text where it does not leave there, and why."""

    has_host: bool = True
    """Whether a host that sends and receives IP packets is behind each connection; not where it passes on."""

    other_ends: Callable[[Any, ForwardingContext], Sequence[Element]] = _nobody
    """The elements of the file that are the other end of it."""

    towards: Callable[[Any], str] = _nowhere
    """Its peer as an address, for a person to read."""

    carries: Callable[[Any], Kind] | None = None
    """What it puts into packets of an underlay network; None for a kind that does not."""

    underlay: Callable[[Any, ForwardingContext], UnderlayEnds] | None = None
    """Where those packets come from and go to, as far as the file says it."""


def kind_of(element: Element) -> ElementKind:
    """The entry of an element's class, or else of the nearest class above it."""
    known = _known()
    return next((known[each] for each in type(element).__mro__ if each in known), _UNKNOWN)


@cache
def _known() -> Mapping[type[Any], ElementKind]:
    return plugged(point.load() for point in entry_points(group=GROUP))


def plugged(added: Iterable[Mapping[type[Any], ElementKind]]) -> Mapping[type[Any], ElementKind]:
    """The built-in kinds and those that packages add."""
    known = dict(KINDS)
    for kinds in added:
        known.update(kinds)
    return known


def numeric(text: str | IPAddress | None) -> IPAddress | None:
    """An address; None for a name, which is not resolved here."""
    try:
        return None if text is None else ipaddress.ip_address(text)
    except ValueError:
        return None


# Links and servers


def _towards_link(link: Link) -> str:
    options = link.arguments
    carrier = "TCP" if options.proto.startswith("tcp") else "UDP"
    if not options.remotes:
        return f"whoever calls its {carrier} port {options.lport}"
    host = options.remotes[0].host
    if options.proto.endswith("server"):
        return f"{host} once that has called its {carrier} port {options.lport}"
    return f"{host} {carrier} port {options.remotes[0].port}"


def _towards_server(server: Server) -> str:
    options = server.arguments
    return f"the clients of its {'TCP' if options.proto.startswith('tcp') else 'UDP'} port {options.lport}"


def _frames_of(element: Link | Server) -> Kind:
    return "ethernet" if element.arguments.dev_type == "tap" else "ip"


def _named_ends(element: Link | Server, around: ForwardingContext) -> UnderlayEnds:
    named: list[str | None] = [remote.host for remote in element.arguments.remotes]
    named += [around.source_address(other) for other in around.link_ends(element) if not named]
    found = [address for each in named if (address := numeric(each)) is not None]
    return UnderlayEnds(numeric(element.arguments.local), found)


# Tunnels


def _facing(tunnel: PointToPointTunnel, around: ForwardingContext) -> Sequence[Element]:
    own = tunnel.arguments
    return [
        other
        for other in around.elements()
        if type(other) is type(tunnel)
        and other is not tunnel
        and (own.local, own.remote) == (other.arguments.remote, other.arguments.local)
    ]


def _same_vxlan(vxlan: Vxlan, around: ForwardingContext) -> Sequence[Element]:
    def meet(theirs: Vxlan.Arguments) -> bool:
        same = (own.vni, own.port) == (theirs.vni, theirs.port)
        return same and theirs.local in own.remote and own.local in theirs.remote

    own = vxlan.arguments
    return [
        other
        for other in around.elements()
        if isinstance(other, Vxlan) and other is not vxlan and meet(other.arguments)
    ]


_UNKNOWN = ElementKind()

KINDS: Mapping[type[Any], ElementKind] = {
    Host: ElementKind(forward=forwarding.host),
    Nic: ElementKind(forward=forwarding.nic),
    Gateway: ElementKind(forward=forwarding.gateway),
    TunTap: ElementKind(forward=forwarding.interface),
    Switch: ElementKind(forward=forwarding.switch, passes=forwarding.switched, has_host=False),
    Bpf: ElementKind(forward=forwarding.packet_tap, has_host=False),
    Link: ElementKind(
        forward=forwarding.link,
        has_host=False,
        other_ends=lambda link, around: around.link_ends(link),
        towards=_towards_link,
        carries=_frames_of,
        underlay=_named_ends,
    ),
    Server: ElementKind(
        forward=forwarding.server,
        has_host=False,
        other_ends=lambda server, around: around.link_ends(server),
        towards=_towards_server,
        carries=_frames_of,
        underlay=_named_ends,
    ),
    PointToPointTunnel: ElementKind(
        forward=forwarding.tunnel,
        has_host=False,
        other_ends=_facing,
        towards=lambda tunnel: str(tunnel.arguments.remote),
        carries=lambda tunnel: tunnel.codec.kind,
        underlay=lambda tunnel, _: UnderlayEnds(tunnel.arguments.local, [tunnel.arguments.remote]),
    ),
    Vxlan: ElementKind(
        forward=forwarding.vxlan,
        has_host=False,
        other_ends=_same_vxlan,
        towards=lambda vxlan: ", ".join(map(str, vxlan.arguments.remote)),
        carries=lambda vxlan: "ethernet",
        underlay=lambda vxlan, _: UnderlayEnds(vxlan.arguments.local, list(vxlan.arguments.remote)),
    ),
}
"""The built-in kinds."""
