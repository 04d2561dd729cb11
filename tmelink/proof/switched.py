"""Warnings about switches and filters: VLANs and meshes that lead nowhere, filters that drop ARP alone."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator

from tmelink.element import Port
from tmelink.elements.builtin.switch import Switch
from tmelink.proof.filtered import frames_of_a_ping, keeps_back
from tmelink.proof.topology import Topology
from tmelink.source import Mistake

_SAMPLES = (
    (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2")),
    (ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address("2001:db8::2")),
)


def switch_problems(topology: Topology) -> Iterator[Mistake]:
    """What certainly is not meant."""
    switches = [each for each in topology.elements() if isinstance(each, Switch) and each.has_rules]
    for switch in switches:
        yield from _lonely_vlans(topology, switch)
    yield from _meshes(topology, switches)
    for port, selection in topology.filters.items():
        if port.kind != "ethernet" or port.peer is None:
            continue
        for ends in _SAMPLES:
            dropped = keeps_back(port, selection, ends, None)
            passes_ip = selection.passing([frames_of_a_ping(*ends)["the ping"]])[0]
            if passes_ip and dropped:
                yield Mistake(
                    port.place or topology.place(port.element),
                    f"the filter '{' '.join(selection.words)}' from {port.element.name} to "
                    f"{port.peer.element.name} passes IP packets and drops {dropped}, which they need",
                    "add the word 'arp'" if dropped == "ARP" else 'add "icmp6", in quotes',
                )


def _lonely_vlans(topology: Topology, switch: Switch) -> Iterator[Mistake]:
    """VLANs that only one connection of a switch has."""
    for port in switch.ports:
        members = switch.rules_of(port).vlans
        number = None if members is None else members.untagged
        others = (switch.members(other) for other in switch.ports if other is not port)
        if number is not None and not any(each is not None and number in each for each in others):
            yield Mistake(
                port.place or topology.place(switch),
                f"VLAN {number} is at no other connection of {switch.name}: its frames go nowhere",
                "give another connection 'vlan access' or 'vlan trunk' with it",
            )


def _meshes(topology: Topology, switches: list[Switch]) -> Iterator[Mistake]:
    """Switches of one mesh without a link between them, which no other switch of the mesh makes up for."""
    members: dict[str, dict[Switch, set[Switch]]] = defaultdict(dict)
    for switch in switches:
        for port in switch.ports:
            if mesh := switch.rules_of(port).mesh:
                members[mesh].setdefault(switch, set()).update(_beyond(topology, port))
    for mesh, linked in members.items():
        known = list(linked)
        for number, one in enumerate(known):
            for other in known[number + 1 :]:
                if other not in linked[one] and one not in linked[other] and linked[one] & linked[other]:
                    yield Mistake(
                        topology.place(other),
                        f"{other.name} and {one.name} are of mesh {mesh} and have no link between them: what "
                        "is behind one does not reach the other",
                        "a mesh needs a link between each two of its switches",
                    )


def _beyond(topology: Topology, port: Port) -> Iterator[Switch]:
    """The switches that a connection leads to: at once, or by a link whose other end is in the file."""
    if port.peer is None:
        return
    near = port.peer.element
    far = [each for other in topology.other_ends(near) for each in other.ports]
    ends = [port] if isinstance(near, Switch) else far
    for each in ends:
        if each.peer is not None and isinstance(each.peer.element, Switch):
            yield each.peer.element
