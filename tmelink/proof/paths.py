"""The MTU of the underlay path between the ends of a tunnel: given, known or assumed.

`--path-mtu` holds for every path. Without it, the MTU is that of the interface that packets leave through:
one of the file's own, or one of this computer's if the file is for this computer. Any other path is assumed
to be an Ethernet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tmelink.element import Element, mtu_beyond
from tmelink.elements.openvpn.link import Link
from tmelink.elements.tunnels.arguments import TunnelArguments
from tmelink.elements.tunnels.base import TunnelElement
from tmelink.elements.tunnels.vxlan import Vxlan
from tmelink.machine import CheckedMachine
from tmelink.openvpn.options.parse import Options
from tmelink.proof.hosts import HostModel, main_route, outer_address
from tmelink.proof.kinds import numeric
from tmelink.routing.facts import IPAddress, IPVersion, RouteResult
from tmelink.sizes import LOOPBACK, PATH

Towards = Callable[[IPAddress], RouteResult | None]
"""Looks up this computer's route to an address; None if there is none, or no computer to ask."""


@dataclass(frozen=True, slots=True)
class MeasuredPath:
    """The largest packet on a path in bytes, how that is known, and the source address if it is known."""

    mtu: int
    why: str
    source: IPAddress | None = None

    def __str__(self) -> str:
        return f"a path of {self.mtu} bytes: {self.why}"


def nowhere(_address: IPAddress) -> RouteResult | None:
    """The answer when no computer is asked."""
    return None


def outer_version(options: Options, host: str | None) -> IPVersion:
    """The IP version of a link's underlay packets, as far as its options and its peer's address say."""
    address = numeric(host)
    return 6 if "6" in options.proto or (address is not None and address.version == 6) else 4


class PathTable:
    """The underlay paths of one file. `given` is --path-mtu; `towards` asks this computer for its routes."""

    def __init__(
        self,
        machine: CheckedMachine,
        hosts: Sequence[HostModel],
        towards: Towards = nowhere,
        given: int | None = None,
    ) -> None:
        self._machine = machine
        self._hosts = hosts
        self._towards = towards
        self._given = given
        self._asked: set[HostModel] = set()
        self._paths = {element: path for path, element in machine.elements.items()}

    def of(
        self, element: Element, own: IPAddress | str | None, other: IPAddress | str | None
    ) -> MeasuredPath:
        """The path from a tunnel's local address, if it is bound to one, to the address of another end."""
        home = self._machine.homes.get(self._paths[element])
        source, destination = numeric(own), numeric(other)
        if other == "localhost" or (destination is not None and destination.is_loopback):
            return MeasuredPath(LOOPBACK, "the loopback interface", source)
        if self._given is not None:
            return self.bypassing(home, source, destination)
        mine = [each for each in self._hosts if each.computer == (home, None)]
        found = None if destination is None else main_route(mine, destination)
        if found is not None and destination is not None:
            out = self._measured(found[1])
            if source is None or any(each.ip == source for each in out.addresses):
                why = f"the mtu of {out.name} at {out.place}"
                return MeasuredPath(out.mtu, why, source or out.address(destination.version))
        return self.bypassing(home, source, destination)

    def bypassing(
        self, home: str | None, source: IPAddress | None, destination: IPAddress | None
    ) -> MeasuredPath:
        """The path by a host's own routes, which bypasses every interface of the file."""
        if self._given is not None:
            return MeasuredPath(self._given, "as --path-mtu says", source)
        return self._here(home, source, destination) or MeasuredPath(
            PATH, "assumed, as on an Ethernet", source
        )

    def _here(
        self, home: str | None, source: IPAddress | None, destination: IPAddress | None
    ) -> MeasuredPath | None:
        """The path by this computer's routes, if the file's host is this computer or may be any."""
        known = source or outer_address(self._machine, home)
        if known is None:
            mine = not self._machine.hosts
        else:
            own = self._towards(known)
            mine = own is not None and own.local
        route = self._towards(destination) if mine and destination is not None else None
        if route is None:
            return None
        return MeasuredPath(route.mtu, f"the MTU of this computer's {route.device}", source or route.source)

    def _measured(self, out: HostModel) -> HostModel:
        """An interface that a path leaves through, with its MTU; as it is where that leads back to it."""
        if out in self._asked:
            return out
        self._asked.add(out)
        try:
            return self.with_mtu(out)
        finally:
            self._asked.discard(out)

    # The MTU that the path leaves for inner packets

    def outer(self, element: Element) -> MeasuredPath:
        """The largest underlay packet: the MTU of the path, or what the tunnel around it takes."""
        if isinstance(element, Link):
            options = element.arguments
            return self.of(element, options.local, options.remotes[0].host if options.remotes else None)
        if not isinstance(element, TunnelElement):
            return MeasuredPath(PATH, "assumed, as on an Ethernet")
        around = None if element.outer is None else element.outer.peer
        if around is not None:
            taken = around.element.mtu(around, self._outer_mtu)
            return MeasuredPath(taken or PATH, f"what {around.element.name} takes", None)
        ends = element.arguments
        if isinstance(ends, TunnelArguments):
            return self.of(element, ends.local, ends.remote)
        assert isinstance(ends, Vxlan.Arguments), "a tunnel has one end, or several as vxlan has"
        paths = [self.of(element, ends.local, remote) for remote in ends.remote]
        return min(paths, key=lambda path: path.mtu)

    def inner(self, tunnel: TunnelElement) -> int:
        """The largest inner packet that crosses a tunnel unfragmented."""
        return tunnel.inner_mtu(self._outer_mtu)

    def with_mtu(self, host: HostModel) -> HostModel:
        """The host; where the file gives no MTU, with that of what it is connected to."""
        port = host.port
        if port is None or not host.element.takes_on_mtu or host.element.mtu(port) is not None:
            return host
        beyond = mtu_beyond(port, self._outer_mtu)
        return host if beyond is None else replace(host, mtu=beyond)

    def _outer_mtu(self, element: Element) -> int:
        return self.outer(element).mtu
