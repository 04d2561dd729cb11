"""Warnings, each with its place: certain problems in a file that can be run.

What OpenVPN's users run every day gives no warning: a plain UDP link sends full-size frames in fragments,
which works, and --mssfix keeps TCP below that size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tmelink.element import Element, mtu_beyond
from tmelink.elements.openvpn import wire
from tmelink.elements.openvpn.base import OpenvpnElement
from tmelink.elements.openvpn.link import Link
from tmelink.elements.tunnels.vxlan import Vxlan
from tmelink.ip import MIN_MTU_V6
from tmelink.machine import CheckedMachine
from tmelink.proof import loops, pairs
from tmelink.proof.hosts import HostModel
from tmelink.proof.leftovers import leftovers
from tmelink.proof.paths import Towards, nowhere, outer_version
from tmelink.proof.switched import switch_problems
from tmelink.proof.topology import Topology
from tmelink.sizes import IP_HEADER, PATH, UDP_HEADER
from tmelink.source import Mistake


def problems(machine: CheckedMachine, towards: Towards = nowhere) -> list[Mistake]:
    """Every warning, in the order of the file; `towards` looks up this computer's routes."""
    return of_topology(Topology(machine, towards))


def of_topology(topology: Topology) -> list[Mistake]:
    """Every warning of a file whose topology is known, in the order of the file."""
    machine = topology.machine
    found = [
        *_sizes(topology),
        *_ends(topology),
        *_near_ends(topology),
        *_keyless(topology),
        *leftovers(machine),
        *_ethernets(topology),
        *_narrow_packets(topology),
        *loops.tunnels(topology),
        *loops.wires(topology),
        *switch_problems(topology),
    ]
    order = {id(place.source): at for at, place in enumerate(machine.places.values())}
    return sorted(dict.fromkeys(found), key=lambda m: (order.get(id(m.place.source), 0), m.place.line))


def mtu_problems(machine: CheckedMachine, towards: Towards = nowhere) -> list[Mistake]:
    """The warnings about MTUs that the file gives and that do not fit; one without any costs nothing."""
    elements = machine.elements.values()
    if not any(each.takes_on_mtu and each.mtu(port) for each in elements for port in each.ports):
        return []
    topology = Topology(machine, towards)
    found = [each for members in _segments(topology) for each in _narrow(topology, members)]
    found += _narrow_packets(topology)
    return list(dict.fromkeys(found))


def _sizes(topology: Topology) -> Iterator[Mistake]:
    """Links over UDP whose options make them send packets that do not fit their path."""
    for link in topology.links:
        options = link.arguments
        mtu = wire.inner_mtu(options)
        unclamped = options.sizes.mssfix is not None and not options.sizes.mssfix.size
        if wire.is_stream(options) or options.sizes.fragment or not (unclamped or mtu > PATH):
            continue
        host = options.remotes[0].host if options.remotes else None
        path = topology.paths.of(link, options.local, host).mtu
        version = outer_version(options, host or options.local)
        (datagram,) = wire.datagrams(options, mtu + wire.inner_header(options))
        outer = IP_HEADER[version] + UDP_HEADER + datagram.size
        if outer <= path:
            continue
        fits = wire.whole(options, version, path)
        clamp = "--mssfix" if unclamped else "--fragment 1400"
        yield Mistake(
            topology.place(link),
            f"{link.name}: {mtu}-byte packets become {outer} bytes on a {path}-byte path: they will be "
            "sent in fragments",
            f"add {clamp} or --tun-mtu {fits}",
        )


def _ends(topology: Topology) -> Iterator[Mistake]:
    """Two ends of a link in one file whose options do not match."""
    for link, other in topology.pairs.items():
        if topology.links.index(link) > topology.links.index(other):
            continue
        ours, theirs = link.arguments, other.arguments
        same: dict[str, tuple[object, object]] = {
            "--fragment": (bool(ours.sizes.fragment), bool(theirs.sizes.fragment)),
            "--secret": (ours.secret is not None, theirs.secret is not None),
            "TLS": (ours.tls is not None, theirs.tls is not None),
            "compression framing": (ours.compression.framing, theirs.compression.framing),
            "--super-frames": (ours.sizes.super_frames, theirs.sizes.super_frames),
        }
        if ours.secret is not None:
            here, there = ours.encryption, theirs.encryption
            same |= {"--cipher": (here.cipher, there.cipher), "--auth": (here.auth, there.auth)}
        for what, (one, another) in same.items():
            if one != another:
                yield Mistake(
                    topology.place(other),
                    f"{other.name} differs from its other end {link.name} in {what}: no frame will pass",
                    f"see {topology.place(link)}",
                )
        if wire.inner_mtu(ours) != wire.inner_mtu(theirs):
            yield Mistake(
                topology.place(other),
                f"{other.name} has --tun-mtu {wire.inner_mtu(theirs)} and its other end {link.name} "
                f"{wire.inner_mtu(ours)}: larger packets pass in one direction only",
                f"see {topology.place(link)}",
            )


def _near_ends(topology: Topology) -> Iterator[Mistake]:
    """Links that name each other's computers, and yet are not the two ends of one link."""
    at: dict[str, list[Link]] = defaultdict(list)
    for link in topology.links:
        if link in topology.pairs or link in topology.served:
            continue
        end = topology.end(link)
        called = dict.fromkeys(remote.host for remote in end.options.remotes)
        for one in (one for host in called for one in at[host]):
            why = pairs.why_not(topology.end(one), end)
            if why is not None:
                yield Mistake(
                    topology.place(link),
                    f"{link.name} and {one.name} name each other's addresses but cannot meet: {why}",
                    f"see {topology.place(one)}",
                )
        if end.address is not None:
            at[end.address].append(link)


def _keyless(topology: Topology) -> Iterator[Mistake]:
    """A cipher that encrypts nothing, and equal key directions."""
    for link in topology.links:
        options = link.arguments
        if options.encryption.cipher and options.secret is None and options.tls is None:
            yield Mistake(
                topology.place(link),
                f"{link.name} has a --cipher but no key, so nothing is encrypted",
                "add --secret FILE, or TLS (docs/secure-link.md)",
            )
        other = topology.pairs.get(link)
        if other is None or topology.links.index(link) > topology.links.index(other):
            continue
        ours, theirs = options.key_direction, other.arguments.key_direction
        if ours is not None and ours == theirs:
            yield Mistake(
                topology.place(other),
                f"{other.name} and its other end {link.name} both have key direction {ours}",
                "one end has 0 and the other 1",
            )


def _ethernets(topology: Topology) -> Iterator[Mistake]:
    """What machines on one Ethernet must have in common."""
    narrowest = min(_fits(topology), default=None)
    for members in _segments(topology):
        yield from _twice(members)
        yield from _gateways(topology, members)
        mtus: dict[int, list[HostModel]] = defaultdict(list)
        for each in members:
            if each.addresses:
                mtus[each.mtu].append(each)
        if len(mtus) > 1:
            few = min(mtus.values(), key=len)[0]
            listed = ", ".join(f"{mtu} at {_names(each)}" for mtu, each in sorted(mtus.items()))
            yield Mistake(
                few.place,
                f"MTUs differ on one Ethernet ({listed}): larger packets are lost without an error",
                "give all of them the smallest one",
            )
        if narrowest is not None and any(each.mtu > narrowest for each in members):
            yield from _narrow(topology, members)


def _fits(topology: Topology) -> Iterator[int]:
    """The longest packet that each link and tunnel takes, where longer ones are dropped."""
    for element in topology.elements():
        if isinstance(element, Link):
            yield wire.longest(element.arguments) - wire.inner_header(element.arguments)
        elif isinstance(element, Vxlan) and not element.arguments.fragment:
            yield max(topology.paths.inner(element), MIN_MTU_V6)


def _twice(members: list[HostModel]) -> Iterator[Mistake]:
    holders: dict[object, HostModel] = {}
    for each in members:
        for own in each.addresses:
            first = holders.setdefault(own.ip, each)
            if first is not each:
                yield Mistake(
                    each.place,
                    f"{each.name} and {first.name} have the same address {own.ip} on one Ethernet",
                    f"the other is at {first.place}",
                )


def _gateways(topology: Topology, members: list[HostModel]) -> Iterator[Mistake]:
    addresses = {own.ip for each in members for own in each.addresses}
    for each in members:
        for network, gateway in each.routes:
            if gateway is None or network.prefixlen or gateway.is_link_local:
                continue
            if each.near(gateway) is None:
                yield Mistake(
                    each.place,
                    f"{each.name}: its gateway {gateway} is not in its network",
                    "a gateway is a neighbour: give it an address of that network",
                )
            elif gateway not in addresses and not topology.shared_reach(each).away:
                yield Mistake(
                    each.place,
                    f"{each.name}: no host on its Ethernet has the address {gateway} of its gateway",
                    "nothing else is connected there: add the gateway, or correct the address",
                )


def _narrow(topology: Topology, members: list[HostModel]) -> Iterator[Mistake]:
    """Links and tunnels that drop what machines on their Ethernet send."""
    crossed: dict[int, list[Element]] = {}
    for each in members:
        if not each.addresses:
            continue
        reach = topology.shared_reach(each)
        if id(reach) not in crossed:
            lasts = [*reach.hosts.values(), *(last for last, _away in reach.away)]
            steps = {id(step): step for last in lasts for step in last.trail()}
            crossed[id(reach)] = [step.ingress.element for step in steps.values() if step.forwarding.crosses]
        for element in crossed[id(reach)]:
            if isinstance(element, Link):
                yield from _narrow_link(topology, element, each)
            elif isinstance(element, Vxlan) and not element.arguments.fragment:
                fits = max(topology.paths.inner(element), MIN_MTU_V6)
                if fits < each.mtu:
                    yield Mistake(
                        topology.place(element),
                        f"{element.name} drops packets above {fits} bytes, and {each.name} sends up to "
                        f"{each.mtu} bytes",
                        f"leave out {each.name}'s mtu, or give {element.name} the word 'fragment'",
                    )


def _narrow_link(topology: Topology, link: Link, sender: HostModel) -> Iterator[Mistake]:
    options = link.arguments
    if wire.longest(options) - wire.inner_header(options) >= sender.mtu:
        return
    jumbo = sender.mtu > PATH and not wire.is_stream(options) and not options.sizes.fragment
    pieces = " and --fragment 1400" if jumbo else ""
    yield Mistake(
        topology.place(link),
        f"{link.name} drops packets above --tun-mtu {wire.inner_mtu(options)}, and {sender.name} sends up to "
        f"{sender.mtu} bytes",
        f"leave out {sender.name}'s mtu, or give {link.name} --tun-mtu {sender.mtu}{pieces} at both ends",
    )


def _narrow_packets(topology: Topology) -> Iterator[Mistake]:
    """Links and servers that carry IP packets and drop some that an interface or a gateway sends to them."""
    for each in topology.machine.elements.values():
        for port in each.ports if each.takes_on_mtu else ():
            element = None if port.peer is None else port.peer.element
            if port.kind != "ip" or not isinstance(element, OpenvpnElement):
                continue
            given, taken = each.mtu(port), mtu_beyond(port)
            if given is not None and taken is not None and taken < given:
                yield Mistake(
                    topology.place(element),
                    f"{element.name} drops packets above {taken} bytes, and {each.name} sends up to "
                    f"{given} bytes",
                    f"leave out the MTU of {each.name}",
                )


def _segments(topology: Topology) -> list[list[HostModel]]:
    """The hosts of each Ethernet."""
    found: list[list[HostModel]] = []
    placed: set[HostModel] = set()
    for each in topology.hosts:
        if each in placed or each.port is None or each.port.kind != "ethernet":
            continue
        members = [each, *topology.reach(each).hosts]
        placed.update(members)
        found.append(members)
    return found


def _names(hosts: list[HostModel]) -> str:
    return ", ".join(each.name for each in hosts)
