"""Traces a packet through a file with nothing started: every hop, the headers added there, how it ends.

`tmelink.proof.topology` says what leads where, `tmelink.elements.openvpn.wire` what a link makes of a frame.
This module combines them: which rule decides, what becomes of the size, and whether the answer takes the same
path back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from tmelink.element import Element
from tmelink.elements.emulators.udp import Udp
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn import wire
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.elements.tunnels.base import TunnelElement
from tmelink.elements.tunnels.point_to_point import PointToPointTunnel
from tmelink.elements.tunnels.vxlan import Vxlan
from tmelink.encapsulation import vxlan
from tmelink.proof.filtered import keeps_back
from tmelink.proof.hops import Hop, Journey, Proof, UnderlayPackets, Verdict
from tmelink.proof.hosts import Gatewayed, HostModel, main_route
from tmelink.proof.kinds import numeric
from tmelink.proof.paths import MeasuredPath, outer_version
from tmelink.proof.topology import Reach, Topology, TraceStep
from tmelink.routing.facts import IPAddress, IPVersion
from tmelink.routing.translation import AUTO
from tmelink.sizes import (
    ETHERNET,
    IP_HEADER,
    UDP_HEADER,
    HeaderSize,
    PingSize,
    cut,
)

MAX_ROUTERS = 16
"""Routers on one path: more than any file has without a loop."""


def prove(topology: Topology, journey: Journey, ping: PingSize) -> Proof:
    """The path of a ping from one host to another, or to an address wherever that is."""
    source, target, sender = journey
    walk = _Trace(topology, journey, ping)
    proof = walk.run()
    if isinstance(target, HostModel):
        answering, own = target if proof.verdict == "arrives" else None, None
    else:
        # The underlay network is not in the file, but a computer there may be, and so may the path of its
        # answer.
        reached = walk.left or proof.verdict == "arrives"
        answering, own = topology.computer_at(target) if reached else None, target
    if answering is None:
        return proof
    answer = _Trace(topology, Journey(answering, sender or source, own), ping)
    back = answer.run()
    there, again = ([hop.name for hop in each.hops] for each in (proof, back))
    if back.verdict == "dropped":
        proof.back = f"no answer comes back: {back.reason}"
    elif back.verdict == "leaves" and not (walk.left and answer.left):
        proof.back = f"the answer takes another path: {back.reason}"
    elif back.verdict == "arrives" and (walk.left or set(there) != set(again)):
        proof.back = f"the answer comes back by another path: {', '.join(dict.fromkeys(again))}"
    return proof


class Transit(NamedTuple):
    """The interface by which a packet leaves its sender, every tunnel that it enters, and why it is lost."""

    by: HostModel | None
    entered: list[Element]
    lost: str


def carried(topology: Topology, journey: Journey) -> Transit:
    """The transit of a small packet to an address; without a sender address, by the main routing table."""
    assert not isinstance(journey.target, HostModel), "an outer packet is for an address"
    walk = _Trace(topology, journey, PingSize(4 if journey.target.version == 4 else 6, 0))
    walk.sender = journey.sender
    proof = walk.run()
    lost = proof.reason if proof.verdict == "dropped" else ""
    return Transit(walk.by, list(dict.fromkeys(walk.entered)), lost)


class _Trace:
    def __init__(self, topology: Topology, journey: Journey, ping: PingSize) -> None:
        self.topology = topology
        source, target, sender = journey
        self.sender = sender or source.address(ping.version)
        self.by: HostModel | None = None
        self.entered: list[Element] = []
        self.left = False  # whether it has left by a computer's own routes
        self.target = target if isinstance(target, HostModel) else None
        self.destination = target.address(ping.version) if isinstance(target, HostModel) else target
        name = f"{target.name} ({self.destination})" if isinstance(target, HostModel) else str(target)
        if self.destination is None:
            assert self.target is not None, "an address is a destination"
            name = self.target.name
        self.proof = Proof(source, name, ping, self.sender)
        self.version: IPVersion = ping.version
        self.df = ping.df
        self.packets: tuple[int, ...] = (ping.packet,)
        self.wrapping = 0  # bytes around each of them by the tunnels that they are in

    def run(self) -> Proof:
        at, first = self.proof.source, True
        for _ in range(MAX_ROUTERS):
            onward = self.on_from(at, first)
            if onward is None:
                return self.proof
            at, first = onward, False
        self.end("dropped", f"it has passed {MAX_ROUTERS} routers: they form a loop")
        return self.proof

    def end(self, verdict: Verdict, reason: str) -> None:
        self.proof.verdict, self.proof.reason = verdict, reason

    # From one host to the next

    def on_from(self, at: HostModel, first: bool) -> HostModel | None:
        """What a host does with the packet; the next host, or None if the path ends."""
        if not first and self.is_for(at):
            self.taken(at, "takes it")
            self.end("arrives", f"at {at.name}")
            return None
        if not first and not at.forwards:
            self.hop(at, f"not for its own address, and this {at.what.split()[0]} does not forward")
            self.end("dropped", f"{at.name} does not forward")
            return None
        if self.destination is None or not any(each.addresses for each in self.siblings(at)):
            return self.by_frame(at)
        route, out, chosen = self.route(at)
        if route is None or (out is at and not first and at.what == "gateway"):
            self.no_route(at, chosen)
            return None
        self.by = self.by or out
        network, gateway = route
        next_hop = gateway or self.destination
        rule = f"is in {network}" if network.prefixlen else "is in no network of its own"
        through = "" if gateway is None else f" via {gateway}" if network.prefixlen else f", so via {gateway}"
        if not self.fits(out, f"{chosen}{self.destination} {rule}{through}, out by {self.name(out)}"):
            return None
        return self.across(out, next_hop)

    def taken(self, at: HostModel, does: str) -> None:
        """The hop of the receiver; an emulator behind bare datagrams gets the packet in one of these."""
        if not isinstance(at.element, Udp):
            self.hop(at, does)
            return
        local, remote = at.element.arguments.local, at.element.arguments.remote
        host, port = (None, None) if remote is None else (remote.host, remote.port)
        path = self.topology.paths.of(at.element, local.host, host)
        address = numeric(host or local.host)
        version: IPVersion = 6 if address is not None and address.version == 6 else 4
        headers = (HeaderSize(f"IPv{version}", IP_HEADER[version]), HeaderSize("UDP", UDP_HEADER))
        around = ETHERNET.bytes + sum(header.bytes for header in headers)
        sizes = tuple(cut([packet + around for packet in self.packets], path.mtu, version))
        remark = "sent in fragments" if len(sizes) > len(self.packets) else ""
        sent = UnderlayPackets(local.host, host, "UDP", port, sizes, path=path)
        self.hop(at, does, headers=headers, underlay=sent, remark=remark)

    def is_for(self, at: HostModel) -> bool:
        if self.target is not None and self.target.element is at.element:
            return True
        mine = self.siblings(at)
        if any(own.ip == self.destination for each in mine for own in each.addresses):
            return True
        return at.computer is not None and self.destination == self.topology.outer_address(at)

    def siblings(self, at: HostModel) -> list[HostModel]:
        """All interfaces of the same computer or gateway."""
        if at.computer is not None:
            return [each for each in self.topology.hosts if each.computer == at.computer]
        return [each for each in self.topology.hosts if each.element is at.element]

    def route(self, at: HostModel) -> tuple[Gatewayed | None, HostModel, str]:
        """The route (None if the packet bypasses the file), its interface, and the rule that chose it."""
        assert self.destination is not None, "only addresses are routed"
        interfaces = self.siblings(at)
        rules = [
            (rule, each)
            for each in interfaces
            for rule in each.rules
            if self.sender is not None and self.sender in rule.source
        ]
        for rule, owner in sorted(rules, key=lambda pair: pair[0].priority):
            chosen = f"rule {rule.priority} sends packets from {self.sender} to table {rule.table}: "
            if rule.table not in owner.tables:
                # This table holds what the main table does, except the tunnel's routes.
                found = main_route([each for each in interfaces if each is not owner], self.destination, at)
                return *(found or (None, at)), chosen
            route = owner.route(self.destination, rule.table)
            if route is not None:
                return route, owner, chosen
        return *(main_route(interfaces, self.destination, at) or (None, at)), ""

    def no_route(self, at: HostModel, chosen: str) -> None:
        if at.computer is None:
            self.hop(at, f"has no route to {self.destination}")
            self.end("dropped", f"{at.name} has no route to {self.destination}")
            return
        assert self.destination is not None, "only addresses are routed"
        interface = "the interface that they lead to" if at.nat == AUTO else at.nat
        under = f", with the address of {interface} (nat)" if at.nat else ""
        known = "" if chosen else "no network of the file: "
        if not self.goes_out(at, f"{chosen}{known}by the computer's own routes{under}"):
            return
        host = self.topology.host_at(self.destination)
        towards = "" if host is None else f", to {host}"
        self.end("leaves", f"by the computer's own routes, which the file does not know{under}{towards}")
        self.left = True

    def goes_out(self, at: HostModel, does: str) -> bool:
        """By a computer's own routes, fragmented if the path's MTU is smaller."""
        assert at.computer is not None, "only computers have routes of their own"
        translated = at.nat is not None and at is not self.proof.source
        path = self.topology.paths.bypassing(at.computer[0], None, self.destination)
        source = path.source if translated else self.sender
        count = len(self.packets)
        if not self.cut_to(path.mtu, at):
            self.hop(at, does, room=path.mtu)
            self.end(
                "dropped", f"{max(self.packets)} bytes do not fit a path of {path.mtu} bytes, {_ICMP_ERROR}"
            )
            return False
        sent = UnderlayPackets(
            None if source is None else str(source),
            str(self.destination),
            "IP",
            None,
            self.packets,
            path=path,
        )
        self.hop(at, does, room=path.mtu, remark=_cut(count, self.packets), underlay=sent)
        return True

    def by_frame(self, at: HostModel) -> HostModel | None:
        """Straight to a machine that has no address in the file."""
        if not self.fits(at, "puts it into a frame"):
            return None
        return self.across(at, None)

    def fits(self, out: HostModel, does: str) -> bool:
        """Send through an interface, fragmented if its MTU is smaller; False if that is not allowed."""
        count = len(self.packets)
        if not self.cut_to(out.mtu, out):
            self.hop(out, does, room=out.mtu)
            self.end(
                "dropped",
                f"{max(self.packets)} bytes do not fit the MTU {out.mtu} of {out.name}, {_ICMP_ERROR}",
            )
            return False
        headers = (ETHERNET,) if out.port is not None and out.port.kind == "ethernet" else ()
        self.hop(out, does, headers=headers, room=out.mtu, remark=_cut(count, self.packets))
        return True

    def cut_to(self, mtu: int, out: HostModel) -> bool:
        """Fragment larger packets; False, with nothing done, where that is not allowed or not possible."""
        if max(self.packets) <= mtu:
            return True
        pieces = tuple(cut(self.packets, mtu, self.version))
        if self.df or not pieces or (self.version == 6 and out is not self.proof.source):
            return False
        self.packets = pieces
        return True

    # Across one Ethernet, or one tunnel

    def across(self, out: HostModel, next_hop: IPAddress | None) -> HostModel | None:
        reach = self.topology.reach(out)
        named = [each for each in reach.hosts if any(own.ip == next_hop for own in each.addresses)]
        for host in [*named, *reach.hosts]:
            if self.meant(host, out, next_hop):
                return host if self.carried(reach.hosts[host]) else None
        if reach.stopped and self.kept_back(reach, out, next_hop):
            return None
        unknown = [each for each in reach.hosts if not each.addresses]
        if reach.away:
            step, away = reach.away[0]
            self.entered += [element for other, _away in reach.away[1:] for element in _crossed(other)]
            if self.carried(step):
                others = {each.towards for _step, each in reach.away[1:]} - {away.towards}
                others |= {f"what is behind {each.name}" for each in unknown}
                also = (
                    f", and towards {', '.join(sorted(others))}, until its location is known"
                    if others
                    else ""
                )
                self.end("leaves", f"towards {away.towards}{also}")
            return None
        if unknown and next_hop is not None:
            behind = unknown[0]
            if self.carried(reach.hosts[behind]):
                self.taken(behind, f"no host in the file has {next_hop}; perhaps one behind this element")
                self.end("leaves", f"to what is behind {', '.join(each.name for each in unknown)}")
            return None
        if out.port is None:
            self.end("dropped", f"{out.name} is not connected")
        elif reach.ends and not reach.hosts:
            step = reach.ends[0]
            self.carried(step)
            self.end("dropped", f"{step.ingress.element.name} is not connected")
        elif next_hop is None:
            self.end("dropped", f"{self.proof.destination} is not on the same Ethernet")
        else:
            self.end("dropped", f"no host there has {next_hop}")
        return None

    def kept_back(self, reach: Reach, out: HostModel, next_hop: IPAddress | None) -> bool:
        """Whether a switch keeps the packet from the host that it is for; the path ends there."""
        freely = self.topology.reach(out, freely=True)
        for host, last in freely.hosts.items():
            if not self.meant(host, out, next_hop):
                continue
            passed = {(step.ingress.element, step.ingress.port) for step in last.trail()}
            for step, to, why in reach.stopped:
                if (step.ingress.element, step.ingress.port) in passed and (
                    to.peer is not None and (to.peer.element, to.peer) in passed
                ):
                    if self.carried(step):
                        self.end("dropped", f"{step.ingress.element.name} does not pass it on: {why}")
                    return True
        return False

    def filtered(self, step: TraceStep) -> bool:
        """Whether a filter drops the packet on its way into an element; the path ends there."""
        port = None if step.ingress.port is None else step.ingress.port.peer
        selection = None if port is None else self.topology.filters.get(port)
        if (
            port is None
            or selection is None
            or self.sender is None
            or self.destination is None
            or self.wrapping
        ):
            return False
        if self.sender.version != self.destination.version:
            return False
        dropped = keeps_back(port, selection, (self.sender, self.destination), step.vlan)
        if dropped:
            words = " ".join(selection.words)
            there = step.ingress.element.name
            self.end("dropped", f"the filter '{words}' from {port.element.name} to {there} drops {dropped}")
        return bool(dropped)

    def meant(self, host: HostModel, out: HostModel, next_hop: IPAddress | None) -> bool:
        if next_hop is None:
            return host is self.target
        if out.port is not None and out.port.kind == "ip":
            return True
        return any(own.ip == next_hop for own in host.addresses)

    def carried(self, last: TraceStep) -> bool:
        """Every step to the last; False if the packet is dropped before it."""
        trail = last.trail()
        self.entered += _crossed(last)
        for index, step in enumerate(trail):
            element = step.ingress.element
            if self.topology.filters and self.filtered(step):
                return False
            if step.forwarding.takes and step is last:
                return True  # the host that takes it has a hop of its own
            onward = trail[index + 1].ingress.port if step is not last else None
            if isinstance(element, Server) and onward is not None:
                self.pass_by(step)
            elif step.forwarding.crosses and isinstance(element, Link | Server):
                other = trail[index + 1].ingress.element if step is not last else None
                if not self.linked(step, element, other):
                    return False
            elif step.forwarding.crosses and isinstance(element, PointToPointTunnel):
                if not self.wrapped(step, element):
                    return False
            elif step.forwarding.crosses and isinstance(element, Vxlan):
                if not self.spread(step, element):
                    return False
            else:
                if isinstance(element, TunnelElement):
                    self.wrapping -= element.overhead
                self.pass_by(step)
        return True

    def pass_by(self, step: TraceStep) -> None:
        element = step.ingress.element
        room = None
        if isinstance(element, Bpf | TunTap):
            taps = [
                each for each in (element, *self.topology.at_interface(element)) if isinstance(each, TunTap)
            ]
            room = self.topology.mtu(taps[0]) if taps else None
        self.add(step, step.forwarding.does, room=room)

    def linked(self, step: TraceStep, link: Link | Server, other: Element | None) -> bool:
        """The hop into the datagrams of a link or a server."""
        options = link.arguments
        epochs = options.tls is not None and other is not None
        header = wire.inner_header(options)
        longest, room = wire.longest(options) - header, wire.inner_mtu(options) - self.wrapping
        carried = [packet + self.wrapping for packet in self.packets]
        if max(carried) > longest:
            self.add(step, step.forwarding.does, room=room)
            self.end("dropped", f"{max(carried)} bytes are more than --tun-mtu of {link.name} allows")
            return False
        made = [wire.datagrams(options, packet + header, epochs=epochs) for packet in carried]
        if not all(made):
            self.add(step, step.forwarding.does, room=room)
            self.end(
                "dropped", f"--fragment {options.sizes.fragment} of {link.name} would make too many pieces"
            )
            return False
        underlay, path, version = self.underlay(link, other)
        datagrams = [each for several in made for each in several]
        headers = datagrams[0].headers
        if wire.is_stream(options):
            sizes = tuple(each.size for each in datagrams)
            underlay = replace(underlay, sizes=sizes)
            self.add(step, step.forwarding.does, headers=headers, room=room, underlay=underlay,
                     remark=_STREAM)  # fmt: skip
            return True
        apart = [wire.outer_packets(options, each, version, path.mtu) for each in datagrams]
        underlay = replace(underlay, sizes=tuple(size for several in apart for size in several), path=path)
        headers = (HeaderSize(f"IPv{version}", IP_HEADER[version]), HeaderSize("UDP", UDP_HEADER), *headers)
        room = wire.whole(options, version, path.mtu, epochs=epochs) - self.wrapping
        remark = ""
        if len(datagrams) > len(self.packets):
            remark = f"cut into {len(datagrams)} datagrams by --fragment {options.sizes.fragment}"
        torn = max(map(len, apart))
        if torn > 1 and options.mtu_disc == "yes":
            self.add(step, step.forwarding.does, headers=headers, room=room, underlay=underlay)
            self.end("dropped", f"--mtu-disc yes: the datagram does not fit a path of {path.mtu} bytes")
            return False
        if torn > 1:
            remark = f"sent in {torn} fragments: the path takes packets of {room} whole"
        self.add(step, step.forwarding.does, headers=headers, room=room, underlay=underlay, remark=remark)
        return True

    def underlay(
        self, link: Link | Server, other: Element | None
    ) -> tuple[UnderlayPackets, MeasuredPath, IPVersion]:
        """The underlay addresses, the path between them, and the IP version."""
        own = self.topology.end(link)
        theirs = self.topology.end(other) if isinstance(other, Link | Server) else None
        remote = link.arguments.remotes[0] if link.arguments.remotes else None
        host = remote.host if remote is not None else theirs.address if theirs is not None else None
        path = self.topology.paths.of(link, link.arguments.local, host)
        source = link.arguments.local or (str(path.source) if path.source is not None else own.computer)
        stream = wire.is_stream(link.arguments)
        called = theirs.port if theirs is not None else None
        if remote is not None and not link.arguments.proto.endswith("server"):
            called = remote.port
        carrier = "TCP" if stream else "UDP"
        return (
            UnderlayPackets(source, host, carrier, called, (), stream),
            path,
            outer_version(link.arguments, host or source),
        )

    def wrapped(self, step: TraceStep, tunnel: PointToPointTunnel) -> bool:
        """The hop that puts a tunnel header before each packet, and an outer IP header before that."""
        path, version, does = self.topology.paths.outer(tunnel), self.version, step.forwarding.does
        inner = self.topology.paths.inner(tunnel)
        if self.wrapping:
            version = 4  # this tunnel carries the outer packet of another one
        headers = [HeaderSize("IPv4", IP_HEADER[4])]
        if tunnel.codec.header:
            headers.append(HeaderSize(type(tunnel).__name__, tunnel.codec.header))
        carried = [packet + self.wrapping for packet in self.packets]
        cuts = tunnel.codec.kind == "ip" and max(carried) > inner
        if cuts and (self.df or version == 6):
            self.add(step, does, headers=tuple(headers), room=inner - self.wrapping)
            self.end(
                "dropped", f"{max(carried)} bytes do not fit the {inner} of {tunnel.name}, {_ICMP_ERROR}"
            )
            return False
        remark = ""
        if cuts:
            carried = cut(carried, inner, version)
            remark = f"cut into {len(carried)} fragments"
            if not self.wrapping:
                self.packets = tuple(carried)
        outer = tuple(cut([packet + tunnel.overhead for packet in carried], path.mtu, 4))
        if len(outer) > len(carried):
            remark = "sent in fragments"
        ends = tunnel.arguments
        sent = UnderlayPackets(str(ends.local), str(ends.remote), "IP", None, outer, path=path)
        self.add(step, does, headers=tuple(headers), room=inner - self.wrapping, underlay=sent, remark=remark)
        self.wrapping += tunnel.overhead
        return True

    def spread(self, step: TraceStep, tunnel: Vxlan) -> bool:
        """The hop into a VXLAN datagram, which is not fragmented unless asked (RFC 7348, section 4.3)."""
        assert tunnel.inner is not None, "the packet came by it"
        own = tunnel.arguments
        version: IPVersion = 4 if own.remote[0].version == 4 else 6
        headers = (HeaderSize(f"IPv{version}", IP_HEADER[version]), HeaderSize("UDP", UDP_HEADER), _VXLAN)
        path = self.topology.paths.outer(tunnel)
        room = self.topology.paths.inner(tunnel) - self.wrapping
        outer = [packet + self.wrapping + tunnel.overhead for packet in self.packets]
        cuts = cut(outer, path.mtu, version)
        local = None if own.local is None else str(own.local)
        sent = UnderlayPackets(
            local, ", ".join(map(str, own.remote)), "UDP", own.port, tuple(cuts), path=path
        )
        if len(cuts) > len(outer) and not own.fragment:
            self.add(step, step.forwarding.does, headers=headers, room=room)
            self.end(
                "dropped",
                f"outer packets of {max(outer)} bytes do not fit a path of {path.mtu}; add 'fragment'",
            )
            return False
        remark = "sent in fragments" if len(cuts) > len(outer) else ""
        self.add(step, step.forwarding.does, headers=headers, room=room, underlay=sent, remark=remark)
        self.wrapping += tunnel.overhead
        return True

    # Hops

    def name(self, host: HostModel) -> str:
        kind = "Ethernet" if host.port is None or host.port.kind == "ethernet" else "tunnel"
        return host.interface or f"its {kind}"

    def hop(self, at: HostModel, does: str, *, headers: tuple[HeaderSize, ...] = (), room: int | None = None,
            underlay: UnderlayPackets | None = None, remark: str = "") -> None:  # fmt: skip
        does = f"{at.what}: {does}"
        self.proof.hops.append(Hop(at.name, at.place, does, self.packets, headers, room, underlay, remark))

    def add(self, step: TraceStep, does: str, *, headers: tuple[HeaderSize, ...] = (),
            room: int | None = None, underlay: UnderlayPackets | None = None,
            remark: str = "") -> None:  # fmt: skip
        element = step.ingress.element
        place = self.topology.place(element)
        self.proof.hops.append(Hop(element.name, place, does, self.packets, headers, room, underlay, remark))


_VXLAN = HeaderSize("VXLAN", vxlan.HEADER)

_ICMP_ERROR = "and the sender gets an ICMP error"

_STREAM = "TCP segments the stream to fit its path, so nothing is sent in fragments"


def _crossed(last: TraceStep) -> list[Element]:
    """The tunnels that a frame enters before a step."""
    return [
        step.ingress.element
        for step in last.trail()
        if step.forwarding.crosses and step.ingress.port is not None
    ]


def _cut(before: int, packets: tuple[int, ...]) -> str:
    return f"cut into {len(packets)} fragments" if len(packets) > before else ""
