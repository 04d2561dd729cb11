"""The IP addresses of stations, learnt from what they say: against frames that scapy builds."""

from __future__ import annotations

import asyncio
import ipaddress
import random

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from tests.support.bridge import Bridge, RuledBridge, station
from tests.support.fuzzing import mutated, scaled
from tmelink.elements.builtin.station_addresses import MOST, said_by

MAC = {number: station(number).hex(":") for number in range(10)}


def ether(number: int, rest: Packet, to: str = "ff:ff:ff:ff:ff:ff") -> bytes:
    return bytes(Ether(src=MAC[number], dst=to) / rest)


def asks(number: int, own: str, other: str) -> bytes:
    return ether(number, ARP(op=1, hwsrc=MAC[number], psrc=own, pdst=other))


def answers(number: int, own: str, to: int) -> bytes:
    return ether(number, ARP(op=2, hwsrc=MAC[number], psrc=own, hwdst=MAC[to]), MAC[to])


def known(bridge: Bridge) -> dict[bytes, list[str]]:
    return {each.mac: [*map(str, each.addresses)] for each in bridge.switch.details().stations}


def test_those_who_ask_and_those_who_answer_are_known_by_their_address() -> None:
    bridge = Bridge()
    bridge.ends[0].send(asks(1, "10.0.0.1", "10.0.0.2"))
    bridge.ends[1].send(answers(2, "10.0.0.2", 1))
    assert known(bridge) == {station(1): ["10.0.0.1"], station(2): ["10.0.0.2"]}
    said = asyncio.run(bridge.switch.command(["table"]))
    assert said.splitlines()[1] == "02:00:00:00:00:01  port 0 (end0)  0 s  10.0.0.1"


def test_neighbour_discovery_says_it_too() -> None:
    bridge = Bridge()
    ask = IPv6(src="fe80::1", dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt="fe80::2")
    bridge.ends[0].send(ether(1, ask / ICMPv6NDOptSrcLLAddr(lladdr=MAC[1]), "33:33:ff:00:00:02"))
    reply = IPv6(src="fe80::2", dst="fe80::1") / ICMPv6ND_NA(tgt="fe80::2", R=0)
    bridge.ends[1].send(ether(2, reply / ICMPv6NDOptDstLLAddr(lladdr=MAC[2]), MAC[1]))
    probe = IPv6(src="::", dst="ff02::1:ff00:3") / ICMPv6ND_NS(tgt="fe80::3")
    bridge.ends[2].send(ether(3, probe, "33:33:ff:00:00:03"))
    assert known(bridge) == {station(1): ["fe80::1"], station(2): ["fe80::2"], station(3): []}


def test_an_address_that_is_given_by_dhcp_is_the_client_s() -> None:
    bridge = Bridge()
    bridge.ends[0].send(ether(1, IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)))
    ack = BOOTP(op=2, yiaddr="10.0.0.77", chaddr=station(1)) / DHCP(options=[("message-type", 5), "end"])
    offer = BOOTP(op=2, yiaddr="10.0.0.66", chaddr=station(1)) / DHCP(options=[("message-type", 2), "end"])
    for message in (offer, ack):
        packet = IP(src="10.0.0.9", dst="255.255.255.255") / UDP(sport=67, dport=68) / message
        bridge.ends[1].send(ether(9, packet))
    assert known(bridge) == {station(1): ["10.0.0.77"], station(9): []}


def test_an_address_is_at_the_station_that_said_so_last_and_goes_with_it() -> None:
    bridge = Bridge(ageing=100.0)
    bridge.ends[0].send(asks(1, "10.0.0.1", "10.0.0.9"))
    bridge.ends[1].send(asks(2, "10.0.0.1", "10.0.0.9"))
    assert known(bridge) == {station(1): [], station(2): ["10.0.0.1"]}
    bridge.ends[0].send(*(asks(1, f"10.0.1.{number}", "10.0.0.9") for number in range(1, 2)))
    for number in range(2 * MOST):
        bridge.ends[0].send(asks(1, f"10.0.2.{number}", "10.0.0.9"))
    assert len(known(bridge)[station(1)]) == MOST
    bridge.clock.now += 101
    assert known(bridge) == {}
    assert not bridge.switch._addresses._of
    assert not bridge.switch._addresses._holder


def test_a_probe_for_an_address_claims_nothing_and_nobody_speaks_for_the_unknown() -> None:
    bridge = Bridge()
    bridge.ends[0].send(asks(1, "0.0.0.0", "10.0.0.1"))
    bridge.ends[0].send(ether(1, ARP(op=2, hwsrc=MAC[5], psrc="10.0.0.5", hwdst=MAC[2])))
    assert known(bridge) == {station(1): []}


def test_each_vlan_has_its_own_addresses() -> None:
    bridge = RuledBridge("vlan trunk 10,20", "vlan access 10")
    for vlan in (10, 20):
        bridge.ends[0].send(ether(1, Dot1Q(vlan=vlan) / ARP(op=1, hwsrc=MAC[1], psrc=f"10.0.{vlan}.1")))
    found = {each.vlan: each.addresses for each in bridge.switch.details().stations}
    assert found == {
        10: (ipaddress.ip_address("10.0.10.1"),),
        20: (ipaddress.ip_address("10.0.20.1"),),
    }


@pytest.mark.fuzz
def test_mutated_frames_are_read_or_passed_over() -> None:
    chance = random.Random(4)
    ask = IPv6(src="fe80::1", dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt="fe80::2")
    ack = BOOTP(op=2, yiaddr="10.0.0.77", chaddr=station(1)) / DHCP(options=[("message-type", 5), "end"])
    good = [
        asks(1, "10.0.0.1", "10.0.0.2"),
        ether(1, ask / ICMPv6NDOptSrcLLAddr(lladdr=MAC[1]), "33:33:ff:00:00:02"),
        ether(9, IP(src="10.0.0.9", dst="255.255.255.255") / UDP(sport=67, dport=68) / ack),
    ]
    read = 0
    for _ in range(scaled(5_000)):
        read += said_by(mutated(chance, good)) is not None
    assert read > 0
