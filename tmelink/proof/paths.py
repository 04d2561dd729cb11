"""How large a packet may be on the network outside, between the ends of a tunnel: told, known or assumed.

What `--path-mtu` says holds everywhere. Else it is the MTU of the interface that packets go out by: one of
the file's own, or one of this computer's, where the file is asked about on the computer that it is for. All
else is taken to be an Ethernet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tmelink.element import Element
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.elements.tunnels.arguments import TunnelArguments
from tmelink.elements.tunnels.base import TunnelElement
from tmelink.elements.tunnels.vxlan import Vxlan
from tmelink.machine import Machine
from tmelink.openvpn.options.parse import Options
from tmelink.proof.hosts import HostModel, main_route, numeric, outer_address
from tmelink.proof.sizes import LOOPBACK, PATH, IPVersion
from tmelink.routing.facts import IPAddress, RouteResult

Towards = Callable[[IPAddress], RouteResult | None]
"""How the computer that is asked reaches an address; None where it does not, or cannot be asked."""

Carrier = Link | Server | TunnelElement | Vxlan
"""What puts packets into those of a network outside."""


@dataclass(frozen=True, slots=True)
class MeasuredPath:
    """The largest packet on a path in bytes, who says so, and the own address on it where that is known."""

    mtu: int
    why: str
    source: IPAddress | None = None

    def __str__(self) -> str:
        return f"a path of {self.mtu} bytes: {self.why}"


def nowhere(_address: IPAddress) -> RouteResult | None:
    """Of a computer that nothing is asked about."""
    return None


def outer_version(options: Options, host: str | None) -> IPVersion:
    """The IP version that a link speaks outside, as far as its options and its peer's address tell."""
    address = numeric(host)
    return 6 if "6" in options.proto or (address is not None and address.version == 6) else 4


class PathTable:
    """The paths outside of one file. `told` is --path-mtu; `towards` asks this computer for its routes."""

    def __init__(
        self,
        machine: Machine,
        stations: Sequence[HostModel],
        towards: Towards = nowhere,
        told: int | None = None,
    ) -> None:
        self._machine = machine
        self._stations = stations
        self._towards = towards
        self._told = told
        self._paths = {element: path for path, element in machine.elements.items()}

    def of(
        self, element: Element, own: IPAddress | str | None, other: IPAddress | str | None
    ) -> MeasuredPath:
        """From a tunnel's own address, where it is bound to one, to another end's."""
        home = self._machine.homes.get(self._paths[element])
        source, destination = numeric(own), numeric(other)
        if other == "localhost" or (destination is not None and destination.is_loopback):
            return MeasuredPath(LOOPBACK, "the loopback interface", source)
        if self._told is not None:
            return self.past(home, source, destination)
        mine = [each for each in self._stations if each.computer == (home, None)]
        found = None if destination is None else main_route(mine, destination)
        if found is not None and destination is not None:
            out = found[1]
            if source is None or any(each.ip == source for each in out.addresses):
                why = f"the mtu of {out.name} at {out.place}"
                return MeasuredPath(out.mtu, why, source or out.address(destination.version))
        return self.past(home, source, destination)

    def past(self, home: str | None, source: IPAddress | None, destination: IPAddress | None) -> MeasuredPath:
        """By a host's own routes, past every interface of the file."""
        if self._told is not None:
            return MeasuredPath(self._told, "as --path-mtu says", source)
        return self._here(home, source, destination) or MeasuredPath(
            PATH, "assumed, as an Ethernet's", source
        )

    def _here(
        self, home: str | None, source: IPAddress | None, destination: IPAddress | None
    ) -> MeasuredPath | None:
        """As this computer's routes have it, if the file's computer is this one or may be any."""
        known = source or outer_address(self._machine, home)
        if known is None:
            mine = not self._machine.hosts
        else:
            own = self._towards(known)
            mine = own is not None and own.local
        outlet = self._towards(destination) if mine and destination is not None else None
        if outlet is None:
            return None
        return MeasuredPath(
            outlet.mtu, f"the MTU of this computer's {outlet.device}", source or outlet.source
        )

    # What the path leaves of itself inside

    def outer(self, tunnel: TunnelElement | Vxlan) -> MeasuredPath:
        """The largest outer packet of a tunnel: that of its path, or what the one around it takes."""
        around = None if tunnel.outer is None else tunnel.outer.peer
        if around is not None:
            return MeasuredPath(self.taken(around.element) or PATH, f"what {around.element.name} takes", None)
        ends = tunnel.arguments
        if isinstance(ends, TunnelArguments):
            return self.of(tunnel, ends.local, ends.remote)
        assert isinstance(ends, Vxlan.Arguments), "a tunnel has one end, or several as vxlan has"
        paths = [self.of(tunnel, ends.local, remote) for remote in ends.remote]
        return min(paths, key=lambda path: path.mtu)

    def inner(self, tunnel: TunnelElement | Vxlan) -> int:
        """The largest packet inside a tunnel that travels whole."""
        given = tunnel.arguments.mtu
        return int(given) if given is not None else self.outer(tunnel).mtu - tunnel.overhead

    def taken(self, element: Element) -> int | None:
        """The largest packet that an element takes from its neighbour; None where it says nothing of it."""
        if isinstance(element, TunnelElement | Vxlan):
            return self.inner(element)
        return element.mtu(element.ports[0]) if element.ports else None

    def suited(self, station: HostModel) -> HostModel:
        """A gateway's tunnel takes what the tunnel it is joined to takes."""
        element, port = station.element, station.port
        if not isinstance(element, Gateway) or port is None or port.kind == "ethernet" or port.peer is None:
            return station
        beyond = port.peer.element
        if element.arguments.tunnel_mtu is not None or not isinstance(beyond, TunnelElement | Vxlan):
            return station
        return replace(station, mtu=self.inner(beyond))
