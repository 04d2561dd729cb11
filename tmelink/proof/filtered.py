"""Which filters of a file would keep a ping back: its frames are made and put to them."""

from __future__ import annotations

from tmelink import ethernet, ip
from tmelink.element import Port
from tmelink.inline.filters import Selection
from tmelink.machine import CheckedMachine
from tmelink.routing.facts import IPAddress
from tmelink.stack import arp, icmp, ndp

_HERE, _THERE = b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"


def selections(machine: CheckedMachine) -> dict[Port, Selection]:
    """The filter on what each port sends, where there is one."""
    found: dict[Port, Selection] = {}
    for each in machine.filters:
        names = {each.element, each.other}
        for pair in machine.connections:
            if {port.element.name for port in pair} != names:
                continue
            out, come_in = pair if pair[0].element.name == each.element else pair[::-1]
            for direction, port in (("out", out), ("in", come_in)):
                if each.request.direction in (direction, "both"):
                    found.pop(port, None)
                    if each.request.words:
                        found[port] = Selection(each.request.words, port.kind)
    return found


def keeps_back(port: Port, selection: Selection, ends: tuple[IPAddress, IPAddress], vlan: int | None) -> str:
    """What of a ping from one address to another a filter on what `port` sends drops; empty if nothing."""
    for what, frame in frames_of_a_ping(*ends).items():
        if port.kind == "ip":
            if what != "the ping":
                continue
            frame = frame[ethernet.HEADER :]
        elif vlan is not None:
            frame = frame[:12] + b"\x81\x00" + vlan.to_bytes(2, "big") + frame[12:]
        if not selection.passing([frame])[0]:
            return what
    return ""


def frames_of_a_ping(sender: IPAddress, destination: IPAddress) -> dict[str, bytes]:
    """The frames of a ping: the question for the MAC address, and the echo request."""
    if sender.version == 4:
        echo = ip.build_ipv4(sender.packed, destination.packed, ip.ICMP, icmp.build(8, 0, 1, 1, bytes(56)))
        return {
            "ARP": arp.request(_HERE, sender.packed, destination.packed),
            "the ping": ethernet.build(_THERE, _HERE, ethernet.IPV4, echo),
        }
    group = ndp.solicited_node(destination.packed)
    question = ndp.solicitation(sender.packed, _HERE, destination.packed, group)
    message = icmp.build_v6(sender.packed, destination.packed, 128, 0, 1, 1, bytes(56))
    echo = ip.build_ipv6(sender.packed, destination.packed, ip.ICMPV6, message)
    return {
        "neighbour discovery": ethernet.build(ethernet.multicast_ipv6(group), _HERE, ethernet.IPV6, question),
        "the ping": ethernet.build(_THERE, _HERE, ethernet.IPV6, echo),
    }
