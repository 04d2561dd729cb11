"""Multicast frames go where hosts asked for them, by IGMP and MLD: messages built here and by scapy."""

from __future__ import annotations

import asyncio
import ipaddress
import random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery2,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from tests.support.bridge import Bridge, RuledBridge, station
from tests.support.fuzzing import mutated, scaled
from tmelink import ethernet
from tmelink.elements.builtin.group_snooping import LAST_SECONDS, MEMBER_SECONDS, MOST_GROUPS, ROUTER_SECONDS
from tmelink.errors import ElementError
from tmelink.stack import listeners

TV4, TV6 = "239.1.2.3", "ff1e::7:8"
TV_MAC = {4: "01:00:5e:01:02:03", 6: "33:33:00:07:00:08"}


def ether(number: int, to: str, rest: Packet) -> bytes:
    return bytes(Ether(src=station(number).hex(":"), dst=to) / rest)


def four(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def message(kind: int, rest: bytes) -> Raw:
    """An IGMP message (RFC 2236, section 2; RFC 3376, section 4.2), with its checksum."""
    whole = bytes((kind, 0, 0, 0)) + rest
    return Raw(whole[:2] + checksum(whole).to_bytes(2, "big") + rest)


def record(kind: int, group: str, *sources: str) -> bytes:
    """What a report of version 3 says of a group."""
    return bytes((kind, 0, 0, len(sources))) + four(group) + b"".join(map(four, sources))


def igmp(number: int, kind: int, group: str, source: str = "10.0.0.9") -> bytes:
    to = {0x11: "224.0.0.1", 0x17: "224.0.0.2"}.get(kind, group)
    packet = IP(src=source, dst=to, ttl=1, proto=2) / message(kind, four(group))
    mac = ethernet.text(ethernet.multicast_ipv4(four(to)))
    return ether(number, mac, packet)


def mld(number: int, message: Packet, to: str = "ff02::1", mac: str = "33:33:00:00:00:01") -> bytes:
    head = IPv6(src="fe80::9", dst=to, hlim=1) / IPv6ExtHdrHopByHop(options=[RouterAlert()])
    return ether(number, mac, head / message)


def query(number: int, version: int) -> bytes:
    return igmp(number, 0x11, "0.0.0.0") if version == 4 else mld(number, ICMPv6MLQuery2())


def join(number: int, version: int) -> bytes:
    if version == 4:
        return igmp(number, 0x16, TV4)
    return mld(number, ICMPv6MLReport(mladdr=TV6), TV6, TV_MAC[6])


def leave(number: int, version: int) -> bytes:
    if version == 4:
        return igmp(number, 0x17, TV4)
    return mld(number, ICMPv6MLDone(mladdr=TV6), "ff02::2", "33:33:00:00:00:02")


def show(number: int, version: int, group: str | None = None) -> bytes:
    packet = IP(dst=group or TV4) if version == 4 else IPv6(dst=group or TV6)
    return ether(number, TV_MAC[version], packet / UDP(dport=5000) / b"frames of a film")


def reached(bridge: Bridge, sender: int, frame: bytes) -> list[int]:
    bridge.taken()
    bridge.ends[sender].send(frame)
    return [number for number, taken in enumerate(bridge.taken()) if taken == [frame]]


@pytest.mark.parametrize("version", [4, 6])
def test_a_group_goes_to_those_who_asked_and_to_routers(version: int) -> None:
    bridge = Bridge(5, snoop=True)
    assert reached(bridge, 3, show(3, version)) == [0, 1, 2, 4], "no router asks"
    assert reached(bridge, 0, query(0, version)) == [1, 2, 3, 4]
    assert reached(bridge, 3, show(3, version)) == [0, 1, 2, 4], "nobody has answered"
    assert reached(bridge, 1, join(1, version)) == [0], "only routers hear what hosts want"
    assert reached(bridge, 3, show(3, version)) == [0, 1]
    assert reached(bridge, 2, join(2, version)) == [0]
    assert reached(bridge, 3, show(3, version)) == [0, 1, 2]
    assert reached(bridge, 1, leave(1, version)) == [0]
    bridge.clock.now += LAST_SECONDS + 1
    assert reached(bridge, 3, show(3, version)) == [0, 2]
    bridge.clock.now += ROUTER_SECONDS
    assert reached(bridge, 3, show(3, version)) == [0, 1, 2, 4], "the router has gone"
    reached(bridge, 0, query(0, version))
    bridge.clock.now += MEMBER_SECONDS - ROUTER_SECONDS
    assert reached(bridge, 3, show(3, version)) == [0, 1, 2, 4], "its last host is silent"


def test_reports_of_the_newest_versions_count_too() -> None:
    bridge = Bridge(4, snoop=True)
    for version in (4, 6):
        reached(bridge, 0, query(0, version))
    wanted = record(4, TV4) + record(1, "239.9.9.9", "10.0.0.5")
    report = message(0x22, b"\0\0\0\2" + wanted)
    reached(bridge, 1, ether(1, "01:00:5e:00:00:16", IP(dst="224.0.0.22", ttl=1, proto=2) / report))
    assert reached(bridge, 3, show(3, 4)) == [0, 1]
    records = [ICMPv6MLDMultAddrRec(rtype=4, dst=TV6)]
    reached(bridge, 1, mld(1, ICMPv6MLReport2(records=records), "ff02::16", "33:33:00:00:00:16"))
    assert reached(bridge, 3, show(3, 6)) == [0, 1]
    gone = message(0x22, b"\0\0\0\1" + record(3, TV4))
    reached(bridge, 1, ether(1, "01:00:5e:00:00:16", IP(dst="224.0.0.22", ttl=1, proto=2) / gone))
    bridge.clock.now += LAST_SECONDS + 1
    assert reached(bridge, 3, show(3, 4)) == [0, 1, 2]


def test_what_everybody_needs_goes_everywhere_and_so_does_what_is_not_ip() -> None:
    bridge = Bridge(4, snoop=True)
    for version in (4, 6):
        reached(bridge, 0, query(0, version))
        reached(bridge, 1, join(1, version))
    for whole in (
        ether(3, "01:00:5e:00:00:fb", IP(dst="224.0.0.251") / UDP()),
        ether(3, "33:33:00:00:00:01", IPv6(dst="ff02::1") / UDP()),
        ether(3, "ff:ff:ff:ff:ff:ff", IP(dst="255.255.255.255") / UDP()),
        ether(3, "ab:00:00:03:00:00", Packet()) + b"\x60\x03" + bytes(46),
    ):
        assert reached(bridge, 3, whole) == [0, 1, 2]


def test_a_switch_s_own_question_makes_nobody_a_router() -> None:
    bridge = Bridge(4, snoop=True)
    reached(bridge, 0, igmp(0, 0x11, "0.0.0.0", "0.0.0.0"))
    assert reached(bridge, 1, join(1, 4)) == [0, 2, 3], "no router is known"
    assert reached(bridge, 3, show(3, 4)) == [1]


def test_each_vlan_has_its_own_groups() -> None:
    bridge = RuledBridge("vlan trunk 10,20", "vlan access 10", "vlan access 20", "vlan access 10", snoop=True)
    for vlan in (10, 20):
        question = Ether(query(0, 4))
        tagged = Ether(src=question.src, dst=question.dst) / Dot1Q(vlan=vlan) / question.payload
        bridge.ends[0].send(bytes(tagged))
    bridge.ends[1].send(join(1, 4))
    bridge.taken()
    bridge.ends[3].send(show(3, 4))
    assert [len(taken) for taken in bridge.taken()] == [1, 1, 0, 0]
    film = Ether(show(0, 4))
    bridge.ends[0].send(bytes(Ether(src=film.src, dst=film.dst) / Dot1Q(vlan=20) / film.payload))
    assert [len(taken) for taken in bridge.taken()] == [0, 0, 1, 0], "nobody has asked there"


def test_groups_are_told_and_bounded() -> None:
    bridge = Bridge(3, snoop=True)
    reached(bridge, 0, query(0, 4))
    reached(bridge, 1, join(1, 4))
    assert asyncio.run(bridge.switch.command(["groups"])) == "01:00:5e:01:02:03  port 1 (end1)"
    for number in range(MOST_GROUPS + 10):
        reached(bridge, 1, igmp(1, 0x16, f"239.7.{number >> 8}.{number & 255}"))
    assert bridge.switch._groups is not None
    assert len(bridge.switch._groups._members) == MOST_GROUPS
    with pytest.raises(ElementError, match="write 'snoop'"):
        asyncio.run(Bridge().switch.command(["groups"]))


@pytest.mark.fuzz
def test_mutated_messages_are_read_or_passed_over() -> None:
    chance = random.Random(9)
    good = [query(1, 4), query(1, 6), join(1, 4), join(1, 6), leave(1, 4), leave(1, 6)]
    read = 0
    for _ in range(scaled(5_000)):
        read += listeners.parse(mutated(chance, good)) is not None
    assert read > 0
