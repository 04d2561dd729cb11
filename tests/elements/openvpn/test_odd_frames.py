"""Odd frames through links of each kind: what a machine sends is what the other one gets, bit for bit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scapy.compat import raw
from scapy.contrib.mpls import MPLS
from scapy.layers.eap import EAPOL
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR, IPOption_Timestamp
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.ppp import PPP, PPPoE, PPPoED

from tests.support.aio import run
from tests.support.links import PING, End
from tests.support.sockets import free_port
from tmelink.frame import Burst, Counters, Frame, pieces
from tmelink.offload import coalesce, cut

HEAD: Any = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
ALL: Any = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff")
V4: Any = IP(src="10.0.0.1", dst="10.0.0.2")
V6: Any = IPv6(src="fd00::1", dst="fd00::2")
DATA = bytes(range(256)) * 4


def kind(ethertype: int, payload: bytes = DATA[:60]) -> bytes:
    return raw(HEAD.copy())[:12] + ethertype.to_bytes(2) + payload


FRAMES: dict[str, bytes] = {
    "the least that is a frame": kind(0x88B5, b""),
    "one byte of payload": kind(0x88B5, b"\0"),
    "as long as may be": kind(0x88B5, bytes(1500)),
    "all zeros": bytes(60),
    "all ones": b"\xff" * 60,
    "from a group": b"\2\0\0\0\0\2\1\0\0\0\0\1" + b"\x88\xb5" + bytes(46),
    "from its own destination": b"\2\0\0\0\0\2" * 2 + b"\x88\xb5" + bytes(46),
    "with a ping's bytes in it": kind(0x88B5, PING * 3),
    "802.3 with LLC": raw(Dot3(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / LLC() / DATA[:40]),
    "802.3 with SNAP": raw(Dot3(dst="02:00:00:00:00:02") / LLC() / SNAP(code=0x809B) / DATA[:40]),
    "802.3 whose length is less": raw(Dot3(len=3, dst="02:00:00:00:00:02") / LLC() / DATA[:43]),
    "a spanning tree's": raw(Dot3(dst="01:80:c2:00:00:00") / LLC() / STP()),
    "LLDP": kind(0x88CC, b"\x02\x07\x04\2\0\0\0\0\1\x04\x02\x07a\x06\2\0\x78\0\0"),
    "EAPOL": raw(HEAD / EAPOL(type=1)),
    "a flow control's pause": b"\x01\x80\xc2\0\0\1\2\0\0\0\0\1\x88\x08\0\1\xff\xff" + bytes(42),
    "ARP for oneself": raw(ALL / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.1")),
    "ARP with other bytes as padding": raw(ALL / ARP(op=2)) + DATA[:18],
    "VLAN 0 with a priority": raw(HEAD / Dot1Q(vlan=0, prio=7) / V4 / UDP() / DATA[:20]),
    "two tags": raw(HEAD / Dot1AD(vlan=4094) / Dot1Q(vlan=1) / V4 / UDP() / DATA[:20]),
    "three tags": raw(HEAD / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / V4 / TCP() / DATA[:20]),
    "PPPoE discovery": raw(ALL / PPPoED(code=9)),
    "PPPoE": raw(HEAD / PPPoE(sessionid=7) / PPP(proto=0x21) / V4 / ICMP()),
    "MPLS": raw(HEAD / MPLS(label=16, s=1) / V4 / UDP()),
    "IPX": kind(0x8137),
    "DECnet": kind(0x6003),
    "IPv4 with options": raw(HEAD / IP(options=[IPOption_RR(), IPOption_Timestamp()]) / UDP() / DATA[:60]),
    "IPv4 with a wrong checksum": raw(HEAD / IP(chksum=1) / UDP() / DATA[:60]),
    "IPv4 that says that it is shorter": raw(HEAD / IP(len=28) / UDP() / DATA[:60]),
    "IPv4 that says that it is longer": raw(HEAD / IP(len=1400) / UDP() / DATA[:60]),
    "IPv4 whose header is shorter than any": raw(HEAD / IP(ihl=1) / UDP() / DATA[:60]),
    "IPv4 of version 9": raw(HEAD / IP(version=9) / UDP() / DATA[:60]),
    "the first fragment": raw(HEAD / IP(flags="MF", id=7) / UDP(len=900) / DATA[:512]),
    "the last fragment": raw(HEAD / IP(frag=65, id=7) / DATA[:60]),
    "UDP with checksum 0": raw(HEAD / V4 / UDP(chksum=0) / DATA[:60]),
    "UDP whose length lies": raw(HEAD / V4 / UDP(len=9) / DATA[:60]),
    "TCP with urgent data": raw(HEAD / V4 / TCP(flags="PAU", urgptr=3) / DATA[:60]),
    "TCP under congestion": raw(HEAD / IP(tos=3) / TCP(flags="AEC") / DATA[:60]),
    "TCP with all flags": raw(HEAD / V4 / TCP(flags="FRPAUEC") / DATA[:60]),
    "TCP with none": raw(HEAD / V4 / TCP(flags="") / DATA[:60]),
    "a SYN that fits, with IP options": raw(
        HEAD / IP(options=[IPOption_RR()]) / TCP(flags="S", options=[("MSS", 88)])
    ),
    "IPv6 hop by hop": raw(HEAD / V6 / IPv6ExtHdrHopByHop() / UDP() / DATA[:60]),
    "IPv6 with a route": raw(HEAD / V6 / IPv6ExtHdrRouting(addresses=["fd00::9"]) / UDP() / DATA[:60]),
    "IPv6 options for the destination": raw(HEAD / V6 / IPv6ExtHdrDestOpt() / TCP() / DATA[:60]),
    "an IPv6 fragment": raw(HEAD / V6 / IPv6ExtHdrFragment(offset=8, nh=17) / DATA[:60]),
    "IPv6 with nothing next": raw(HEAD / IPv6(nh=59)),
    "a jumbogram's header": raw(HEAD / IPv6(plen=0, nh=0) / DATA[:60]),
}

LINKS = {
    "UDP": "",
    "UDP, fragments": "--fragment 500",
    "UDP, framing": "--compress stub-v2",
    "UDP, static key": "--secret {key} --cipher AES-256-CBC",
    "UDP, static key, fragments": "--secret {key} --cipher AES-128-CBC --auth SHA256 --fragment 700",
    "TCP": "--proto tcp",
    "TCP, static key": "--secret {key} --cipher none",
}


def options(link: str, key: Path, own: int, peer: int, *, server: bool) -> str:
    words = LINKS[link].format(key=key)
    if "--proto tcp" in words:
        words = words.replace("--proto tcp", f"--proto tcp4-{'server' if server else 'client'}")
        words += f" --lport {own}" if server else f" --nobind --remote 127.0.0.1 {peer}"
        return f"--dev tap --local 127.0.0.1 {words}" if server else f"--dev tap {words}"
    return f"--dev tap --local 127.0.0.1 --lport {own} --remote 127.0.0.1 {peer} {words}"


def test_there_are_more_than_35_kinds() -> None:
    assert len(set(FRAMES.values())) == len(FRAMES) > 35


@pytest.mark.parametrize("alone", [True, False], ids=["one by one", "at once"])
@pytest.mark.parametrize("link", LINKS)
def test_they_cross_a_link_unchanged(link: str, alone: bool, tmp_path: Path) -> None:
    key = tmp_path / "static.key"
    lines = "\n".join("5a" * 16 for _ in range(16))
    key.write_text(f"-----BEGIN OpenVPN Static key V1-----\n{lines}\n-----END OpenVPN Static key V1-----\n")
    key.chmod(0o600)
    sent = list(FRAMES.values())

    async def body() -> None:
        one, two = free_port(), free_port()
        async with (
            End(options(link, key, one, two, server=True)) as a,
            End(options(link, key, two, one, server=False)) as b,
        ):
            if "TCP" in link:
                await a.until_connected()
                await b.until_connected()
            await _cross(a, b, sent, alone=alone)
            await _cross(b, a, sent, alone=alone)
            for end in (a, b):
                assert (end.drops("wire sent"), end.drops("wire received")) == ({}, {})

    run(body)


async def _cross(here: End, there: End, frames: Sequence[bytes], *, alone: bool) -> None:
    there.machine.frames.clear()
    if not alone:
        here.machine.send(*frames)
    else:
        for count, frame in enumerate(frames, 1):
            here.machine.send(frame)
            await there.machine.until(lambda n=count: len(there.machine.frames) >= n)  # type: ignore[misc]
    await there.machine.until(lambda: len(there.machine.frames) >= len(frames))
    await asyncio.sleep(0)
    assert list(map(bytes, there.machine.frames)) == list(frames)


def test_they_are_the_same_once_joined_and_cut_again() -> None:
    """As on their way to and from an interface that takes super-frames."""
    kinds: list[Frame] = list(FRAMES.values())
    for frames in (kinds, [frame for frame in kinds for _ in range(3)]):
        counters = Counters()
        assert [bytes(piece) for piece in pieces(cut(coalesce(frames), counters))] == frames
        assert not counters.drops
        assert [bytes(piece) for piece in pieces(cut(Burst(frames), counters))] == frames
