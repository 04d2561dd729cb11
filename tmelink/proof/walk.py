"""A packet's way through a file, with nothing started: every hop, what is put before it there, how it ends.

What leads where is `tmelink.proof.ground`'s, what a link makes of a frame `tmelink.proof.wire`'s. Here they
are put together: who decides, what becomes of the size, and whether the answer comes back the same way.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from tmelink.element import Element
from tmelink.elements.bpf import Bpf
from tmelink.elements.encapsulation import Encapsulation
from tmelink.elements.link import Link
from tmelink.elements.server import Server
from tmelink.elements.tap_device import TapElement
from tmelink.elements.tunnel_arguments import TunnelArguments
from tmelink.elements.vxlan import Vxlan
from tmelink.encapsulation import vxlan
from tmelink.proof import wire
from tmelink.proof.ground import Ground, Step
from tmelink.proof.hops import Hop, Outside, Proof, Verdict
from tmelink.proof.sizes import (
    ETHERNET,
    IP_HEADER,
    LOOPBACK,
    PATH,
    UDP_HEADER,
    Header,
    Ping,
    Version,
    cut,
)
from tmelink.proof.stations import Station
from tmelink.routing.facts import IPAddress
from tmelink.routing.translation import AUTO

MAX_ROUTERS = 16
"""Routers on one way: more than any file has without a loop."""


def prove(ground: Ground, source: Station, target: Station | IPAddress, ping: Ping) -> Proof:
    """The way of a ping from a station to another one, or to an address wherever that is."""
    proof = _Walk(ground, source, target, ping).run()
    if isinstance(target, Station) and proof.verdict == "arrives":
        back = _Walk(ground, target, source, ping).run()
        there = [hop.name for hop in proof.hops]
        again = [hop.name for hop in back.hops]
        if back.verdict != "arrives":
            proof.back = f"no answer comes back: {back.reason}"
        elif set(there) != set(again):
            proof.back = f"the answer comes back another way: {', '.join(dict.fromkeys(again))}"
    return proof


class _Walk:
    def __init__(self, ground: Ground, source: Station, target: Station | IPAddress, ping: Ping) -> None:
        self.ground = ground
        self.target = target if isinstance(target, Station) else None
        self.destination = target.address(ping.version) if isinstance(target, Station) else target
        name = f"{target.name} ({self.destination})" if isinstance(target, Station) else str(target)
        if self.destination is None:
            assert self.target is not None, "an address is a destination"
            name = self.target.name
        self.proof = Proof(source, name, ping)
        self.version: Version = ping.version
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

    # From one who speaks IP to the next

    def on_from(self, at: Station, first: bool) -> Station | None:
        """What a station does with the packet; the next one, or None where the way has ended."""
        if not first and self.is_for(at):
            self.hop(at, "takes it")
            self.end("arrives", f"at {at.name}")
            return None
        if not first and not at.forwards:
            self.hop(at, f"is not for itself, and a {at.what.split()[0]} does not forward here")
            self.end("dropped", f"{at.name} does not forward")
            return None
        if self.destination is None or not any(each.addresses for each in self.siblings(at)):
            return self.by_frame(at)
        way, out = self.way(at)
        if way is None or (out is at and not first and at.what == "gateway"):
            self.no_way(at)
            return None
        network, gateway = way
        next_hop = gateway or self.destination
        rule = f"is in {network}" if network.prefixlen else "is in no network of its own"
        through = "" if gateway is None else f" via {gateway}" if network.prefixlen else f", so via {gateway}"
        if not self.fits(out, f"{self.destination} {rule}{through}, out by {self.name(out)}"):
            return None
        return self.across(out, next_hop)

    def is_for(self, at: Station) -> bool:
        if self.target is not None and self.target.element is at.element:
            return True
        mine = self.siblings(at)
        return any(own.ip == self.destination for each in mine for own in each.addresses)

    def siblings(self, at: Station) -> list[Station]:
        """All interfaces of the same computer or gateway."""
        if at.computer is not None:
            return [each for each in self.ground.stations if each.computer == at.computer]
        return [each for each in self.ground.stations if each.element is at.element]

    def way(
        self, at: Station
    ) -> tuple[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, IPAddress | None] | None, Station]:
        """The most specific route of all interfaces, and the interface; its own one where they are alike."""
        assert self.destination is not None, "only addresses are routed"
        found = [(way, each) for each in self.siblings(at) if (way := each.way(self.destination)) is not None]
        if not found:
            return None, at
        return max(found, key=lambda pair: (pair[0][0].prefixlen, pair[1] is at))

    def no_way(self, at: Station) -> None:
        if at.computer is None:
            self.hop(at, f"knows no way to {self.destination}")
            self.end("dropped", f"{at.name} has no route to {self.destination}")
            return
        outside = "the interface that they lead to" if at.nat == AUTO else at.nat
        under = f", under the address of {outside} (nat)" if at.nat else ""
        self.hop(at, f"no network of the file: by the computer's own routes{under}")
        self.end("leaves", f"by the computer's own routes, which the file does not know{under}")

    def by_frame(self, at: Station) -> Station | None:
        """To a machine that has no address in the file."""
        if not self.fits(at, "puts it into a frame"):
            return None
        return self.across(at, None)

    def fits(self, out: Station, does: str) -> bool:
        """Send by an interface, in fragments where its MTU wants them; False where it may not be cut."""
        largest = max(self.packets)
        uncut = self.df or (self.version == 6 and out is not self.proof.source)
        if largest > out.mtu and uncut:
            self.hop(out, does, room=out.mtu)
            self.end("dropped", f"{largest} bytes do not fit the MTU {out.mtu} of {out.name}, {_TOLD}")
            return False
        remark = ""
        if largest > out.mtu:
            self.packets = tuple(cut(self.packets, out.mtu, self.version))
            if not self.packets:
                self.hop(out, does, room=out.mtu)
                self.end("dropped", f"an MTU of {out.mtu} leaves no room for a fragment")
                return False
            remark = f"cut into {len(self.packets)} fragments"
        headers = (ETHERNET,) if out.port is not None and out.port.kind == "ethernet" else ()
        self.hop(out, does, headers=headers, room=out.mtu, remark=remark)
        return True

    # Across one Ethernet, or one tunnel

    def across(self, out: Station, next_hop: IPAddress | None) -> Station | None:
        reach = self.ground.reach(out)
        named = [each for each in reach.stations if any(own.ip == next_hop for own in each.addresses)]
        for station in [*named, *reach.stations]:
            if self.meant(station, out, next_hop):
                return station if self.carried(reach.stations[station]) else None
        unknown = [each for each in reach.stations if not each.addresses]
        if reach.away:
            step, away = reach.away[0]
            if self.carried(step):
                others = {each.towards for _step, each in reach.away[1:]} - {away.towards}
                others |= {f"what is behind {each.name}" for each in unknown}
                also = (
                    f", and towards {', '.join(sorted(others))}, while its place is not known"
                    if others
                    else ""
                )
                self.end("leaves", f"towards {away.towards}{also}")
            return None
        if unknown and next_hop is not None:
            behind = unknown[0]
            if self.carried(reach.stations[behind]):
                self.hop(behind, f"the file has nobody with {next_hop}, so perhaps who is behind it")
                self.end("leaves", f"to what is behind {', '.join(each.name for each in unknown)}")
            return None
        if out.port is None:
            self.end("dropped", f"{out.name} is not connected")
        elif reach.ends and not reach.stations:
            step = reach.ends[0]
            self.carried(step)
            self.end("dropped", f"{step.door.element.name} is not connected")
        elif next_hop is None:
            self.end("dropped", f"{self.proof.destination} is not on the same Ethernet")
        else:
            self.end("dropped", f"nobody there has {next_hop}")
        return None

    def meant(self, station: Station, out: Station, next_hop: IPAddress | None) -> bool:
        if next_hop is None:
            return station is self.target
        if out.port is not None and out.port.kind == "ip":
            return True
        return any(own.ip == next_hop for own in station.addresses)

    def carried(self, last: Step) -> bool:
        """Every step to the last; False where the packet is dropped on the way."""
        trail = last.trail()
        for index, step in enumerate(trail):
            element = step.door.element
            if step.passing.takes and step is last:
                return True  # whoever takes it has a hop of its own
            onward = trail[index + 1].door.port if step is not last else None
            if isinstance(element, Server) and onward is not None:
                self.pass_by(step)
            elif step.passing.crosses and isinstance(element, Link | Server):
                other = trail[index + 1].door.element if step is not last else None
                if not self.linked(step, element, other):
                    return False
            elif step.passing.crosses and isinstance(element, Encapsulation | Vxlan):
                if not self.wrapped(step, element):
                    return False
            else:
                if isinstance(element, Encapsulation | Vxlan):
                    self.wrapping -= element.overhead
                self.pass_by(step)
        return True

    def pass_by(self, step: Step) -> None:
        element = step.door.element
        room = None
        if isinstance(element, Bpf | TapElement):
            taps = [
                each for each in (element, *self.ground.at_interface(element)) if isinstance(each, TapElement)
            ]
            room = (taps[0].wanted.mtu or PATH) if taps else None
        self.add(step, step.passing.does, room=room)

    def linked(self, step: Step, link: Link | Server, other: Element | None) -> bool:
        """Into the datagrams of a link or a server."""
        options = link.arguments
        epochs = options.tls is not None and other is not None
        header = wire.inner_header(options)
        longest, room = wire.longest(options) - header, wire.inner_mtu(options) - self.wrapping
        carried = [packet + self.wrapping for packet in self.packets]
        if max(carried) > longest:
            self.add(step, step.passing.does, room=room)
            self.end("dropped", f"{max(carried)} bytes are more than --tun-mtu of {link.name} allows")
            return False
        made = [wire.datagrams(options, packet + header, epochs=epochs) for packet in carried]
        if not all(made):
            self.add(step, step.passing.does, room=room)
            self.end("dropped", f"--fragment {options.fragment} of {link.name} would make too many pieces")
            return False
        outside, path, version = self.outside(link, other)
        datagrams = [each for several in made for each in several]
        headers = datagrams[0].headers
        if wire.is_stream(options):
            sizes = tuple(each.size for each in datagrams)
            outside = replace(outside, sizes=sizes)
            self.add(step, step.passing.does, headers=headers, room=room, outside=outside,
                     remark=_STREAM)  # fmt: skip
            return True
        apart = [wire.outer_packets(options, each, version, path) for each in datagrams]
        outside = replace(outside, sizes=tuple(size for several in apart for size in several))
        headers = (Header(f"IPv{version}", IP_HEADER[version]), Header("UDP", UDP_HEADER), *headers)
        room = wire.whole(options, version, path, epochs=epochs) - self.wrapping
        remark = ""
        if len(datagrams) > len(self.packets):
            remark = f"cut into {len(datagrams)} datagrams by --fragment {options.fragment}"
        torn = max(map(len, apart))
        if torn > 1 and options.mtu_disc == "yes":
            self.add(step, step.passing.does, headers=headers, room=room, outside=outside)
            self.end("dropped", f"--mtu-disc yes: the datagram does not fit a path of {path} bytes")
            return False
        if torn > 1:
            remark = f"sent outside in {torn} fragments: a path of {path} bytes takes packets of {room} whole"
        self.add(step, step.passing.does, headers=headers, room=room, outside=outside, remark=remark)
        return True

    def outside(self, link: Link | Server, other: Element | None) -> tuple[Outside, int, Version]:
        """The addresses outside, the MTU assumed between them, and the IP version."""
        own = self.ground.end(link)
        theirs = self.ground.end(other) if isinstance(other, Link | Server) else None
        remote = link.arguments.remotes[0] if link.arguments.remotes else None
        host = remote.host if remote is not None else theirs.address if theirs is not None else None
        source = own.address
        stream = wire.is_stream(link.arguments)
        called = theirs.port if theirs is not None else None
        if remote is not None and not link.arguments.proto.endswith("server"):
            called = remote.port
        path, version = carrier_path(self.ground, link)
        carrier = "TCP" if stream else "UDP"
        return Outside(source, host, carrier, called, (), stream), path, version

    def wrapped(self, step: Step, tunnel: Encapsulation | Vxlan) -> bool:
        """A header before each packet, and an outer IP header before that."""
        if isinstance(tunnel, Vxlan):
            return self.spread(step, tunnel)
        inner, version, does = tunnel.inner_mtu(), self.version, step.passing.does
        if self.wrapping:
            version = 4  # it is the outer packet of another tunnel that this one carries
        headers = [Header("IPv4", IP_HEADER[4])]
        if tunnel.codec.header:
            headers.append(Header(type(tunnel).__name__, tunnel.codec.header))
        carried = [packet + self.wrapping for packet in self.packets]
        cuts = tunnel.codec.kind == "ip" and max(carried) > inner
        if cuts and (self.df or version == 6):
            self.add(step, does, headers=tuple(headers), room=inner - self.wrapping)
            self.end("dropped", f"{max(carried)} bytes do not fit the {inner} of {tunnel.name}, {_TOLD}")
            return False
        remark = ""
        if cuts:
            carried = cut(carried, inner, version)
            remark = f"cut into {len(carried)} fragments"
            if not self.wrapping:
                self.packets = tuple(carried)
        outer = tuple(cut([packet + tunnel.overhead for packet in carried], tunnel.path_mtu(), 4))
        if len(outer) > len(carried):
            remark = "sent outside in fragments"
        ends = tunnel.arguments
        local, remote = (
            (str(ends.local), str(ends.remote)) if isinstance(ends, TunnelArguments) else (None, None)
        )
        sent = Outside(local, remote, "IP", None, outer)
        self.add(step, does, headers=tuple(headers), room=inner - self.wrapping, outside=sent, remark=remark)
        self.wrapping += tunnel.overhead
        return True

    def spread(self, step: Step, tunnel: Vxlan) -> bool:
        """Into a datagram of VXLAN, which unless it is told to nobody cuts (RFC 7348, section 4.3)."""
        assert tunnel.inner is not None, "the packet came by it"
        own = tunnel.arguments
        version: Version = 4 if own.remote[0].version == 4 else 6
        headers = (Header(f"IPv{version}", IP_HEADER[version]), Header("UDP", UDP_HEADER), _VXLAN)
        room = (tunnel.mtu(tunnel.inner) or PATH) - self.wrapping
        outer = [packet + self.wrapping + tunnel.overhead for packet in self.packets]
        cuts = cut(outer, tunnel.path_mtu(), version)
        local = None if own.local is None else str(own.local)
        sent = Outside(local, ", ".join(map(str, own.remote)), "UDP", own.port, tuple(cuts))
        if len(cuts) > len(outer) and not own.fragment:
            self.add(step, step.passing.does, headers=headers, room=room)
            self.end("dropped", f"{max(outer)} bytes outside do not fit {tunnel.path_mtu()}; add 'fragment'")
            return False
        remark = "sent outside in fragments" if len(cuts) > len(outer) else ""
        self.add(step, step.passing.does, headers=headers, room=room, outside=sent, remark=remark)
        self.wrapping += tunnel.overhead
        return True

    # Hops

    def name(self, station: Station) -> str:
        kind = "Ethernet" if station.port is None or station.port.kind == "ethernet" else "tunnel"
        return station.interface or f"its {kind}"

    def hop(self, at: Station, does: str, *, headers: tuple[Header, ...] = (), room: int | None = None,
            remark: str = "") -> None:  # fmt: skip
        self.proof.hops.append(
            Hop(at.name, at.place, f"{at.what}: {does}", self.packets, headers, room, remark=remark)
        )

    def add(self, step: Step, does: str, *, headers: tuple[Header, ...] = (), room: int | None = None,
            outside: Outside | None = None, remark: str = "") -> None:  # fmt: skip
        element = step.door.element
        place = self.ground.place(element)
        self.proof.hops.append(Hop(element.name, place, does, self.packets, headers, room, outside, remark))


def carrier_path(ground: Ground, link: Link | Server) -> tuple[int, Version]:
    """The MTU that is assumed between a link's ends, and the IP version that they speak."""
    ends = [remote.host for remote in link.arguments.remotes[:1]]
    host = ends[0] if ends else ground.end(link).address
    address = _numeric(host)
    near = host == "localhost" or (address is not None and address.is_loopback)
    six = "6" in link.arguments.proto or (address is not None and address.version == 6)
    return LOOPBACK if near else PATH, 6 if six else 4


_VXLAN = Header("VXLAN", vxlan.HEADER)

_TOLD = "and the sender is told"

_STREAM = "TCP cuts the stream as its path wants it, so nothing is sent in fragments"


def _numeric(host: str | None) -> IPAddress | None:
    try:
        return None if host is None else ipaddress.ip_address(host)
    except ValueError:
        return None
