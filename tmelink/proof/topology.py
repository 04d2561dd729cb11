"""What belongs together in a file: link ends, the elements of an interface, the hosts of an Ethernet."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tmelink.element import Element, Port
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.machine import CheckedMachine
from tmelink.proof.filtered import selections
from tmelink.proof.forwarding import Away, Egress, Forwarding, Ingress
from tmelink.proof.hosts import HostModel, hosts, outer_address
from tmelink.proof.kinds import kind_of
from tmelink.proof.pairs import End, NamedEnds, meet, pairs
from tmelink.proof.paths import PathTable, Towards, nowhere
from tmelink.routing.facts import IPAddress
from tmelink.source import Place


@dataclass(frozen=True, slots=True)
class TraceStep:
    """A frame that enters an element, what the element does with it, and the step before."""

    ingress: Ingress
    forwarding: Forwarding
    before: TraceStep | None = None
    vlan: int | None = None
    """Of the tag that the frame has as it enters."""

    def trail(self) -> list[TraceStep]:
        """The steps from the first to this one."""
        steps: list[TraceStep] = []
        step: TraceStep | None = self
        while step is not None:
            steps.append(step)
            step = step.before
        return steps[::-1]


@dataclass(slots=True)
class Reach:
    """How far a frame gets: the hosts that hear it, the steps where it leaves the file, and dead ends.

    `stopped` has the connections that a switch keeps it from, and why.
    """

    hosts: dict[HostModel, TraceStep] = field(default_factory=dict)
    away: list[tuple[TraceStep, Away]] = field(default_factory=list)
    ends: list[TraceStep] = field(default_factory=list)
    stopped: list[tuple[TraceStep, Port, str]] = field(default_factory=list)


class Topology:
    """A loaded machine and what follows from it; starts nothing.

    `towards` looks up this computer's route to an address. `path_mtu` is what the user gives as the MTU of
    every underlay path (`tmelink.proof.paths`).
    """

    def __init__(
        self, machine: CheckedMachine, towards: Towards = nowhere, path_mtu: int | None = None
    ) -> None:
        self.machine = machine
        self._names = {element: path for path, element in machine.elements.items()}
        found = hosts(machine)
        self.paths = PathTable(machine, found, towards, path_mtu)
        self.hosts = [self.paths.with_mtu(each) for each in found]
        self.links = [element for element in machine.elements.values() if isinstance(element, Link)]
        self.pairs = pairs(self.links, {link: self.computer_address(link) for link in self.links})
        servers = [element for element in machine.elements.values() if isinstance(element, Server)]
        named = NamedEnds({server: self.end(server) for server in servers})
        self.served = {
            link: server
            for link in self.links
            if link not in self.pairs
            for server in named.near(self.end(link))
            if meet(self.end(link), self.end(server))
        }
        self.filters = selections(machine)
        self._host_at: dict[IPAddress, str] = {}
        for host in machine.hosts:
            if (address := outer_address(machine, host)) is not None:
                self._host_at.setdefault(address, host)
        self._by_port = {(each.element, each.port): each for each in self.hosts}
        self._reaches: dict[Hashable, Reach] = {}
        self._at_interface: dict[Hashable, list[Element]] = {}
        for element in machine.elements.values():
            if isinstance(element, Bpf | TunTap) and element.interface is not None:
                self._at_interface.setdefault(self.interface(element), []).append(element)

    def mtu(self, element: Element) -> int | None:
        """The MTU of the interface that an element is; None if it is not one."""
        return next((each.mtu for each in self.hosts if each.element is element), None)

    def place(self, element: Element) -> Place:
        """Where the file makes the element."""
        return self.machine.places[self._names[element]]

    def home(self, element: Element) -> str | None:
        """The host of the file that it is on."""
        return self.machine.homes.get(self._names[element])

    def computer_address(self, element: Element) -> str | None:
        """The address that the file gives the computer that it is on."""
        return self.machine.hosts.get(self.home(element) or "")

    def outer_address(self, host: HostModel) -> IPAddress | None:
        """The underlay address that the file gives the host's computer."""
        if host.computer is None or host.computer[1] is not None:
            return None
        return outer_address(self.machine, host.computer[0])

    def host_at(self, address: IPAddress) -> str | None:
        """The `host` of the file that has an underlay address."""
        return self._host_at.get(address)

    def computer_at(self, address: IPAddress) -> HostModel | None:
        """A host model of the computer that has an underlay address."""
        return next((each for each in self.hosts if self.outer_address(each) == address), None)

    def end(self, link: Link | Server) -> End:
        """A link's or a server's end with the address of its computer."""
        return End(link.arguments, self.computer_address(link))

    # What a kind of element asks for (`ForwardingContext`)

    def other_ends(self, element: Element) -> Sequence[Element]:
        """The other ends of a link, a server or a tunnel that are in the file."""
        return kind_of(element).other_ends(element, self)

    def link_ends(self, element: Link | Server) -> Sequence[Link | Server]:
        """The other end of a link in the file, a link or a server; the clients of a server in the file."""
        if isinstance(element, Server):
            return [link for link, server in self.served.items() if server is element]
        other = self.pairs.get(element) or self.served.get(element)
        return [] if other is None else [other]

    def source_address(self, element: Link | Server) -> str | None:
        """The address that a link's or a server's packets come from, where the file gives it."""
        return self.end(element).address

    def elements(self) -> Iterable[Element]:
        """All elements of the file."""
        return self.machine.elements.values()

    def at_interface(self, element: Element) -> Sequence[Element]:
        """The other elements of its interface: packet taps, and the TAP that creates it."""
        assert isinstance(element, Bpf | TunTap), f"{element.name} has no interface"
        return [each for each in self._at_interface.get(self.interface(element), ()) if each is not element]

    def towards(self, element: Element) -> str:
        """The peer of a link or a tunnel as an address, for a person to read."""
        return kind_of(element).towards(element)

    def interface(self, element: Bpf | TunTap) -> Hashable:
        """A key for the interface that it listens on or creates."""
        netns = element.netns if isinstance(element, TunTap) else None
        return (self.home(element), netns, element.interface)

    # Traces on one Ethernet, or one tunnel

    def shared_reach(self, sender: HostModel) -> Reach:
        """What a frame passes on its way from a host: `reach`, worked out once for all hosts on one switch.

        The links that are crossed and the steps that leave the file are the same for all of them. Which hosts
        hear a frame is not: no host hears its own.
        """
        peer = None if sender.port is None else sender.port.peer
        shared = peer is not None and isinstance(peer.element, Switch) and not peer.element.has_rules
        alone = not shared or self._is_tapped(sender)
        key: Hashable = sender if alone or peer is None else peer.element
        found = self._reaches.get(key)
        if found is None:
            found = self._reaches[key] = self.reach(sender)
        return found

    def _is_tapped(self, sender: HostModel) -> bool:
        return isinstance(sender.element, TunTap) and bool(self.at_interface(sender.element))

    def reach(self, sender: HostModel, *, freely: bool = False) -> Reach:
        """Everywhere that a frame from a host gets, with the shortest trail to each other host.

        With `freely` no switch keeps it from any connection.
        """
        reach = Reach()
        seen: set[tuple[Element, int | None, int | None]] = set()
        waiting: list[tuple[Egress, TraceStep | None, int | None]] = []
        if sender.port is not None:
            waiting.append((sender.port, None, None))
        if sender.computer is not None:
            assert isinstance(sender.element, TunTap), "a computer's host model is an interface"
            waiting += [(Ingress(each, None), None, None) for each in self.at_interface(sender.element)]
        for onward, before, vlan in waiting:  # it grows
            if isinstance(onward, Away):
                assert before is not None, "a host's first step is in the file"
                reach.away.append((before, onward))
                continue
            ingress = self._ingress(onward)
            if ingress is None:
                if before is not None:
                    reach.ends.append(before)
                continue
            mark = (ingress.element, None if ingress.port is None else ingress.port.index, vlan)
            if mark in seen or (isinstance(ingress.element, Bpf) and self._own_echo(ingress, before)):
                continue
            seen.add(mark)
            does = kind_of(ingress.element).forward(ingress.element, ingress.port, self)
            step = TraceStep(ingress, does, before, vlan)
            if does.takes and vlan is None:
                taker = self._by_port.get((ingress.element, ingress.port))
                if taker is not None and taker is not sender:
                    reach.hosts.setdefault(taker, step)
            elif not does.to:
                reach.ends.append(step)
            waiting += self._exits(step, reach, freely)
        return reach

    @staticmethod
    def _exits(step: TraceStep, reach: Reach, freely: bool) -> Iterator[tuple[Egress, TraceStep, int | None]]:
        """Where a frame leaves an element, and with which tag; what keeps it back is noted."""
        element, port = step.ingress
        passes = kind_of(element).passes
        for to in step.forwarding.to:
            found: int | str | None = step.vlan
            if isinstance(to, Port) and not freely:
                found = passes(element, port, to, step.vlan)
            if isinstance(found, str):
                assert isinstance(to, Port), "only connections are kept back"
                reach.stopped.append((step, to, found))
            else:
                yield to, step, found

    @staticmethod
    def _ingress(onward: Port | Ingress) -> Ingress | None:
        if isinstance(onward, Ingress):
            return onward
        return None if onward.peer is None else Ingress(onward.peer.element, onward.peer)

    @staticmethod
    def _own_echo(ingress: Ingress, before: TraceStep | None) -> bool:
        """Whether a packet tap hears its own frame, which it recognises and drops."""
        return (
            ingress.port is None
            and before is not None
            and any(step.ingress.element is ingress.element for step in before.trail())
        )
