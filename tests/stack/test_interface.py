"""A whole interface as a value: frames that scapy builds go in, and scapy reads what comes out."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, IPerror, UDPerror, defragment, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
    defragment6,
    fragment6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.support.fuzzing import examples
from tmelink import ethernet, ip
from tmelink.stack import icmp, neighbours
from tmelink.stack.fragments import TIMEOUT_V4, TIMEOUT_V6
from tmelink.stack.interface import Interface
from tmelink.stack.ipv4 import Ipv4
from tmelink.stack.ipv6 import PATHS, REPORTS, Ipv6

OUR_MAC, THEIR_MAC, GATEWAY_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:fe"
OURS, THEIRS, BROADCAST = "10.0.0.1", "10.0.0.2", "10.0.0.255"
OURS6, THEIRS6, GATEWAY6 = "fd00::1", "fd00::2", "fd00::fe"
LOCAL6, THEIR_LOCAL6 = "fe80::ff:fe00:1", "fe80::ff:fe00:2"
DATA = random.Random(2).randbytes(20000)


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


class Station:
    """An interface under test and the time; what it sends is read by scapy."""

    def __init__(self, **arguments: object) -> None:
        settings = {
            "inet": IPv4Interface(f"{OURS}/24"),
            "inet6": IPv6Interface(f"{OURS6}/64"),
            "gateway": ip_address("10.0.0.254"),
            "gateway6": ip_address(GATEWAY6),
        }
        self.interface = Interface(mac(OUR_MAC), **(settings | arguments))  # type: ignore[arg-type]
        self.now = 1000.0

    @property
    def drops(self) -> Counter[str]:
        return self.interface.wire.drops

    @property
    def ipv4(self) -> Ipv4:
        assert self.interface.ipv4 is not None
        return self.interface.ipv4

    @property
    def ipv6(self) -> Ipv6:
        assert self.interface.ipv6 is not None
        return self.interface.ipv6

    def sent(self) -> list[Packet]:
        frames, self.interface.wire.out = self.interface.wire.out, []
        packets: list[Packet] = [Ether(bytes(frame)) for frame in frames]
        for frame, packet in zip(frames, packets, strict=True):
            assert_checksums(bytes(frame), packet)
        return packets

    def take(self, *packets: Packet) -> list[Packet]:
        self.interface.receive([memoryview(bytes(packet)) for packet in packets], self.now)
        return self.sent()

    def tick(self, seconds: float) -> list[Packet]:
        self.now += seconds
        self.interface.tick(self.now)
        return self.sent()

    def knows_them(self) -> Station:
        """Let it learn its neighbours, so that replies do not begin with a question."""
        self.interface.receive(INTRODUCTIONS, self.now)
        self.interface.wire.out.clear()
        assert not self.drops
        return self


def introductions() -> Iterator[bytes]:
    """What lets a station learn who the other station and the gateway are."""
    for address, at in ((THEIRS, THEIR_MAC), ("10.0.0.254", GATEWAY_MAC)):
        yield bytes(Ether(src=at, dst=OUR_MAC) / ARP(op=1, hwsrc=at, psrc=address, pdst=OURS))
    for address, at in ((THEIRS6, THEIR_MAC), (THEIR_LOCAL6, THEIR_MAC), (GATEWAY6, GATEWAY_MAC)):
        solicit = ICMPv6ND_NS(tgt=OURS6) / ICMPv6NDOptSrcLLAddr(lladdr=at)
        yield bytes(Ether(src=at, dst=OUR_MAC) / IPv6(src=address, dst=OURS6, hlim=255) / solicit)


INTRODUCTIONS = list(introductions())


def assert_checksums(frame: bytes, packet: Packet) -> None:
    """Every checksum is the one that scapy computes by itself."""
    again = Ether(frame)
    for layer in again.layers():
        for name in ("chksum", "cksum"):
            if layer in (IPerror, UDPerror) or "in ICMP" in (layer(b"").name or ""):
                continue
            if name in again[layer].fields and not (
                IP in again and (again[IP].frag or again[IP].flags.MF) and layer is not IP
            ):
                given = again[layer].fields[name]
                del again[layer].fields[name]
                rebuilt = Ether(bytes(again))
                assert rebuilt[layer].fields[name] == given, f"{layer.__name__} in {packet.summary()}"
                again[layer].fields[name] = given


def from_them(to: str = OUR_MAC) -> Packet:
    return Ether(src=THEIR_MAC, dst=to)


def v4(**fields: Any) -> Packet:
    return IP(**{"src": THEIRS, "dst": OURS, "id": 5, **fields})


def v6(**fields: Any) -> Packet:
    return IPv6(**{"src": THEIRS6, "dst": OURS6, **fields})


@pytest.mark.parametrize("to", ["02:00:00:00:00:09", "01:00:5e:00:00:09", "33:33:00:00:00:16"])
def test_frames_for_other_stations_are_let_pass(to: str) -> None:
    station = Station().knows_them()
    assert station.take(from_them(to) / v4() / ICMP(), from_them(to) / b"garbage") == []
    assert not station.drops


def test_its_own_frames_that_come_back_are_let_pass() -> None:
    station = Station().knows_them()
    station.interface.announce()
    own = station.sent()
    assert len(own) == 4
    assert station.take(*own, Ether(src=OUR_MAC, dst=OUR_MAC) / v4() / ICMP()) == []
    assert not station.drops


# ARP


def test_arp_request_is_answered_and_learned_from() -> None:
    station = Station()
    [reply] = station.take(
        from_them("ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=THEIR_MAC, psrc=THEIRS, pdst=OURS)
    )
    assert (reply.dst, reply.src) == (THEIR_MAC, OUR_MAC)
    arp = reply[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, OUR_MAC, OURS, THEIR_MAC, THEIRS)
    [echo] = station.take(from_them() / v4() / ICMP(id=1, seq=1))
    assert echo[ICMP].type == 0


def test_arp_for_others_is_neither_answered_nor_learned_from() -> None:
    station = Station()
    assert station.take(from_them("ff:ff:ff:ff:ff:ff") / ARP(psrc=THEIRS, pdst="10.0.0.9")) == []
    [question] = station.take(from_them() / v4() / ICMP())
    assert question[ARP].op == 1
    assert not station.drops


def test_an_arp_probe_is_answered_but_nothing_is_learned() -> None:
    station = Station()
    [reply] = station.take(
        from_them("ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=THEIR_MAC, psrc="0.0.0.0", pdst=OURS)
    )
    assert (reply[ARP].op, reply[ARP].psrc, reply.dst) == (2, OURS, THEIR_MAC)
    assert list(station.ipv4.neighbours.table(0)) == []


def test_gratuitous_arp_moves_a_known_neighbour() -> None:
    station = Station().knows_them()
    moved = "02:00:00:00:00:03"
    announcement = ARP(op=1, hwsrc=moved, psrc=THEIRS, pdst=THEIRS)
    assert station.take(Ether(src=moved, dst="ff:ff:ff:ff:ff:ff") / announcement) == []
    [echo] = station.take(Ether(src=moved, dst=OUR_MAC) / v4() / ICMP())
    assert echo.dst == moved


def test_gratuitous_arp_makes_no_new_neighbour() -> None:
    station = Station()
    for op in (1, 2):
        station.take(from_them("ff:ff:ff:ff:ff:ff") / ARP(op=op, psrc=THEIRS, pdst=THEIRS))
    assert list(station.ipv4.neighbours.table(0)) == []


def test_our_address_is_defended_now_and_then() -> None:
    station = Station()
    claim = from_them("ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=THEIR_MAC, psrc=OURS, pdst=OURS)
    [defence] = station.take(claim)
    assert (defence.dst, defence[ARP].op) == ("ff:ff:ff:ff:ff:ff", 1)
    assert (defence[ARP].hwsrc, defence[ARP].psrc, defence[ARP].pdst) == (OUR_MAC, OURS, OURS)
    assert station.take(claim) == []
    station.tick(10)
    assert len(station.take(claim)) == 1
    assert station.drops == {"ARP: address conflict": 3}


def test_a_liar_cannot_fill_the_cache_with_other_networks() -> None:
    station = Station()
    station.take(from_them() / ARP(op=1, hwsrc=THEIR_MAC, psrc="192.168.1.1", pdst=OURS))
    assert list(station.ipv4.neighbours.table(0)) == []


@pytest.mark.parametrize(
    ("arp", "reason"),
    [
        (ARP(op=3, hwsrc=THEIR_MAC), "ARP: unknown operation"),
        (ARP(op=1, hwtype=6, hwsrc=THEIR_MAC), "ARP: not IPv4 on Ethernet"),
        (
            ARP(op=1, hwsrc="ff:ff:ff:ff:ff:ff", psrc=THEIRS, pdst=OURS),
            "ARP: sender is not a unicast address",
        ),
        (Raw(bytes(27)), "ARP: short message"),
    ],
)
def test_bad_arp_is_counted(arp: Packet, reason: str) -> None:
    station = Station()
    frame = from_them()
    frame.type = 0x0806
    assert station.take(frame / arp) == []
    assert station.drops == {reason: 1}


def test_announcement() -> None:
    station = Station()
    station.interface.announce()
    arp, listens, *advertisements = station.sent()
    assert (arp.dst, arp[ARP].op, arp[ARP].psrc, arp[ARP].pdst) == ("ff:ff:ff:ff:ff:ff", 1, OURS, OURS)
    assert (listens.dst, listens[IPv6].dst) == ("33:33:00:00:00:16", "ff02::16")
    assert listening(listens) == [(4, "ff02::1:ff00:1")]
    assert [a[ICMPv6ND_NA].tgt for a in advertisements] == [LOCAL6, OURS6]
    for advertisement in advertisements:
        assert (advertisement.dst, advertisement[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
        assert (advertisement[IPv6].hlim, advertisement[IPv6].src) == (255, advertisement[ICMPv6ND_NA].tgt)
        assert advertisement[ICMPv6ND_NA].S == 0
        assert advertisement[ICMPv6NDOptDstLLAddr].lladdr == OUR_MAC


# IPv4


@pytest.mark.parametrize("length", [0, 1, 56, 1472])
def test_echo(length: int) -> None:
    station = Station().knows_them()
    [reply] = station.take(from_them() / v4(tos=0x10) / ICMP(id=9, seq=8) / DATA[:length])
    assert (reply.src, reply.dst) == (OUR_MAC, THEIR_MAC)
    assert (reply[IP].src, reply[IP].dst, reply[IP].tos, reply[IP].ttl) == (OURS, THEIRS, 0x10, 64)
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq) == (0, 9, 8)
    assert bytes(reply[ICMP].payload) == DATA[:length]


def test_a_reply_asks_for_its_receiver_first() -> None:
    station = Station()
    [question] = station.take(from_them() / v4() / ICMP() / b"x")
    assert (question.dst, question[ARP].op, question[ARP].pdst) == ("ff:ff:ff:ff:ff:ff", 1, THEIRS)
    [reply] = station.take(from_them() / ARP(op=2, hwsrc=THEIR_MAC, psrc=THEIRS, hwdst=OUR_MAC, pdst=OURS))
    assert (reply.dst, reply[ICMP].type) == (THEIR_MAC, 0)


def test_replies_to_other_networks_go_to_the_gateway() -> None:
    station = Station().knows_them()
    [reply] = station.take(Ether(src=GATEWAY_MAC, dst=OUR_MAC) / v4(src="8.8.8.8") / ICMP())
    assert (reply.dst, reply[IP].dst) == (GATEWAY_MAC, "8.8.8.8")
    lone = Station(gateway=None).knows_them()
    assert lone.take(from_them() / v4(src="8.8.8.8") / ICMP()) == []
    assert lone.drops == {"IPv4: no route": 1}


def test_padding_is_not_echoed() -> None:
    station = Station().knows_them()
    frame = bytes(from_them() / v4() / ICMP() / b"abc") + bytes(20)
    [reply] = station.take(Raw(frame))
    assert bytes(reply[ICMP].payload) == b"abc"


def test_a_priority_tag_is_no_obstacle() -> None:
    station = Station().knows_them()
    assert len(station.take(from_them() / Dot1Q(vlan=0, prio=5) / v4() / ICMP())) == 1
    assert station.take(from_them() / Dot1Q(vlan=3) / v4() / ICMP()) == []
    assert station.drops == {"tagged for a VLAN": 1}


def test_a_big_echo_comes_and_goes_in_pieces() -> None:
    station = Station().knows_them()
    pieces = fragment(v4(id=77) / ICMP(id=1, seq=2) / DATA, fragsize=1000)
    random.Random(3).shuffle(pieces)
    replies = station.take(*(from_them() / piece for piece in pieces))
    assert max(len(reply) for reply in replies) == 14 + 1500
    [whole] = defragment([reply[IP] for reply in replies])
    reply = IP(bytes(whole))
    assert (reply[ICMP].type, reply[ICMP].seq, bytes(reply[ICMP].payload)) == (0, 2, DATA)
    assert ip.checksum(bytes(whole.payload)) == 0


def test_pieces_that_stay_incomplete_are_reported() -> None:
    station = Station().knows_them()
    first, *_, last = fragment(v4(id=77) / ICMP() / DATA[:5000], fragsize=1000)
    assert station.take(from_them() / first, from_them() / last) == []
    assert station.interface.deadline() == station.now + TIMEOUT_V4
    [error] = station.tick(TIMEOUT_V4)
    assert (error[ICMP].type, error[ICMP].code) == (11, 1)
    assert error.original[42:] == bytes(first)[: icmp.QUOTE_V4]
    assert station.drops == {"fragment: timeout": 2}
    # Without the first piece nobody is told.
    station.take(from_them() / last)
    assert station.tick(TIMEOUT_V4) == []


@pytest.mark.parametrize(("kind", "told"), [(8, True), (0, False), (3, False), (13, False)])
def test_only_incomplete_echo_requests_of_icmp_are_reported(kind: int, told: bool) -> None:
    station = Station().knows_them()
    first, *_ = fragment(v4(id=77) / ICMP(type=kind) / DATA[:5000], fragsize=1000)
    station.take(from_them() / first)
    assert bool(station.tick(TIMEOUT_V4)) == told


def test_udp_echo() -> None:
    station = Station().knows_them()
    [reply] = station.take(from_them() / v4() / UDP(sport=5000, dport=7) / DATA[:1000])
    assert (reply[IP].src, reply[UDP].sport, reply[UDP].dport) == (OURS, 7, 5000)
    assert bytes(reply[UDP].payload) == DATA[:1000]
    big = fragment(v4(id=1) / UDP(sport=5000, dport=7) / DATA)
    [whole] = defragment([reply[IP] for reply in station.take(*(from_them() / piece for piece in big))])
    assert bytes(IP(bytes(whole))[UDP].payload) == DATA


def test_two_echo_services_do_not_talk_for_ever() -> None:
    station = Station().knows_them()
    assert station.take(from_them() / v4() / UDP(sport=7, dport=7) / b"x") == []
    assert station.take(from_them() / v6() / UDP(sport=7, dport=7) / b"x") == []
    assert station.drops == {"UDP: echo to an echo service": 2}


def test_an_unused_port_is_unreachable() -> None:
    station = Station().knows_them()
    request = v4() / UDP(sport=5000, dport=9) / DATA[:1000]
    [error] = station.take(from_them() / request)
    assert (error[ICMP].type, error[ICMP].code) == (3, 3)
    assert error.original[42:] == bytes(request)[:548]
    assert len(error[IP]) == 576
    assert station.drops == {"UDP: no such port": 1}


def test_an_error_about_a_datagram_in_pieces_quotes_its_beginning() -> None:
    station = Station().knows_them()
    request = v4() / UDP(sport=5000, dport=9) / DATA[:3000]
    [error] = station.take(*(from_them() / piece for piece in fragment(request)))
    assert (error[ICMP].type, error[ICMP].code) == (3, 3)
    assert error.original[42:] == bytes(request)[:548]
    request = v6() / UDP(sport=5000, dport=9) / DATA[:3000]
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")])
    pieces = fragment6(v6() / IPv6ExtHdrFragment(id=5) / options / request.payload, 1280)
    [error] = station.take(*(from_them() / piece for piece in reversed(pieces)))
    assert error[ICMPv6DestUnreach].code == 4
    assert error.original[62:] == bytes(v6() / options / request.payload)[:1232]
    # The pointer into the quote shows what is wrong with the whole.
    pieces = fragment6(v6() / IPv6ExtHdrFragment(id=5) / IPv6ExtHdrDestOpt(nh=99) / DATA[:3000], 1280)
    [error] = station.take(*(from_them() / piece for piece in pieces))
    assert (error[ICMPv6ParamProblem].code, error[ICMPv6ParamProblem].ptr) == (1, 40)
    assert error.original[62 + 40] == 99


def test_an_unknown_protocol_is_unreachable() -> None:
    station = Station().knows_them()
    [error] = station.take(from_them() / v4(proto=99) / b"x")
    assert (error[ICMP].type, error[ICMP].code) == (3, 2)


def test_errors_are_limited() -> None:
    station = Station().knows_them()
    flood = [from_them() / v4() / UDP(sport=5000, dport=9)] * 100
    assert len(station.take(*flood)) == icmp.ERROR_BURST
    station.tick(1)
    assert len(station.take(*flood)) == icmp.ERROR_RATE
    assert station.drops["ICMP: error not sent, too many"] == 200 - icmp.ERROR_BURST - icmp.ERROR_RATE


@pytest.mark.parametrize(
    "packet",
    [
        from_them("ff:ff:ff:ff:ff:ff") / v4(dst=BROADCAST) / UDP(sport=5000, dport=9),
        from_them("ff:ff:ff:ff:ff:ff") / v4(dst=BROADCAST, proto=99) / b"x",
        from_them("ff:ff:ff:ff:ff:ff") / v4(dst="255.255.255.255") / UDP(sport=5000, dport=7),
        from_them("ff:ff:ff:ff:ff:ff") / v4(dst=OURS) / ICMP(),
        from_them("01:00:5e:00:00:01") / v4(dst="224.0.0.1") / ICMP(),
        from_them() / v4() / ICMP(type=13) / bytes(12),
        from_them() / v4() / ICMP(type=3, code=3) / bytes(28),
        from_them("33:33:00:00:00:01") / v6(dst="ff02::1") / ICMPv6EchoRequest(),
        from_them("33:33:00:00:00:01") / v6(dst="ff02::1") / UDP(sport=5000, dport=9),
        from_them("33:33:00:00:00:01") / v6(dst="ff02::1", nh=99) / b"x",
        from_them() / v6() / ICMPv6DestUnreach() / v6(),
        from_them() / v6(nh=59) / b"x",
    ],
)
def test_what_must_not_be_answered(packet: Packet) -> None:
    station = Station().knows_them()
    assert station.take(packet) == []


@pytest.mark.parametrize("source", [OURS, BROADCAST, "255.255.255.255", "224.0.0.5", "127.0.0.1", "0.0.0.0"])
def test_impossible_sources(source: str) -> None:
    station = Station().knows_them()
    assert station.take(from_them() / v4(src=source) / ICMP()) == []
    assert station.drops == {"IPv4: bad source": 1}


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (Raw(b"short"), "short frame"),
        (Ether(src=THEIR_MAC, dst=OUR_MAC, type=0x88CC) / b"lldp", "protocol not spoken"),
        (from_them() / v4(dst="10.0.0.9") / ICMP(), "IPv4: other destination"),
        (from_them("ff:ff:ff:ff:ff:ff") / v4(dst=BROADCAST) / UDP(sport=1, dport=7), "UDP: broadcast"),
        (from_them("01:00:5e:00:00:01") / v4(dst="224.0.0.1") / ICMP(), "ICMP: echo to a group"),
        (from_them() / v4(chksum=1) / ICMP(), "IPv4: bad checksum"),
        (from_them() / v4() / ICMP(chksum=1), "ICMP: bad checksum"),
        (from_them() / v4(proto=1) / b"\x08\0", "ICMP: short message"),
        (from_them() / v4() / UDP(sport=1, dport=7, chksum=1), "UDP: bad checksum"),
        (from_them() / v6(dst="fd00::9") / ICMPv6EchoRequest(), "IPv6: other destination"),
        (from_them() / v6(src=OURS6) / ICMPv6EchoRequest(), "IPv6: bad source"),
        (from_them() / v6(src="ff02::1") / ICMPv6EchoRequest(), "IPv6: bad source"),
        (from_them() / v6() / ICMPv6EchoRequest(cksum=1), "ICMPv6: bad checksum"),
        (from_them() / v6(hlim=254) / ICMPv6ND_NS(tgt=OURS6), "ND: from beyond the link"),
        (from_them() / v6(hlim=255) / ICMPv6ND_NS(tgt="ff02::1"), "ND: multicast target"),
        (from_them() / v6(hlim=255) / ICMPv6ND_NS(tgt=OURS6) / b"\1\0", "ND: bad option"),
        (from_them() / v6(hlim=255) / ICMPv6ND_NS(tgt=OURS6) / b"\1", "ND: bad option"),
        (from_them() / v6(hlim=255) / ICMPv6ND_NS(tgt=OURS6) / b"\1\2\2\0\0\0\0\1", "ND: bad option"),
        (
            from_them() / v6(hlim=255) / ICMPv6ND_NS(tgt=OURS6) / b"\1\1\1\0\0\0\0\1",
            "ND: sender is not a unicast address",
        ),
        (from_them() / v6(hlim=255, src="::") / ICMPv6ND_NS(tgt=OURS6), "ND: bad probe"),
        (
            from_them("33:33:ff:00:00:01")
            / v6(hlim=255, src="::", dst="ff02::1:ff00:1")
            / ICMPv6ND_NS(tgt=OURS6)
            / ICMPv6NDOptSrcLLAddr(lladdr=THEIR_MAC),
            "ND: bad probe",
        ),
        (from_them() / v6(hlim=255, src="fd11::1") / ICMPv6ND_NS(tgt=OURS6), "ND: from another network"),
        (from_them() / v6(hlim=255) / ICMPv6ND_NA(tgt=OURS6), "ND: address conflict"),
    ],
)
def test_what_is_dropped_is_counted(packet: Packet, reason: str) -> None:
    station = Station().knows_them()
    assert station.take(packet) == []
    assert station.drops == {reason: 1}


# IPv6


def test_the_link_local_address_is_made_from_the_mac() -> None:
    assert str(IPv6Address(Station().ipv6.link_local)) == LOCAL6
    assert Station(inet6=None, gateway6=None).ipv6.address == ip_address(LOCAL6).packed
    assert Station(mtu=1279, inet6=None, gateway6=None).interface.ipv6 is None


@pytest.mark.parametrize(("own", "source"), [(OURS6, THEIRS6), (LOCAL6, THEIR_LOCAL6)])
def test_solicitation_is_answered(own: str, source: str) -> None:
    station = Station()
    group = "ff02::1:ff00:1"
    solicit = ICMPv6ND_NS(tgt=own) / ICMPv6NDOptSrcLLAddr(lladdr=THEIR_MAC)
    [answer] = station.take(from_them("33:33:ff:00:00:01") / IPv6(src=source, dst=group, hlim=255) / solicit)
    assert (answer.dst, answer[IPv6].src, answer[IPv6].dst) == (THEIR_MAC, own, source)
    assert answer[IPv6].hlim == 255
    advertisement = answer[ICMPv6ND_NA]
    assert (advertisement.tgt, advertisement.S, advertisement.O, advertisement.R) == (own, 1, 1, 0)
    assert advertisement[ICMPv6NDOptDstLLAddr].lladdr == OUR_MAC
    [reply] = station.take(from_them() / IPv6(src=source, dst=own) / ICMPv6EchoRequest(id=3, seq=4, data="x"))
    assert (reply.dst, reply[ICMPv6EchoReply].id, reply[ICMPv6EchoReply].data) == (THEIR_MAC, 3, b"x")


def test_duplicate_address_detection_hears_that_it_is_taken() -> None:
    station = Station()
    probe = IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=OURS6)
    [answer] = station.take(from_them("33:33:ff:00:00:01") / probe)
    assert (answer.dst, answer[IPv6].dst, answer[ICMPv6ND_NA].S) == ("33:33:00:00:00:01", "ff02::1", 0)


def test_options_of_other_kinds_or_sizes_are_skipped() -> None:
    station = Station()
    # A nonce (RFC 3971), and a link-layer address of another medium's size, before the one that counts.
    others = [Raw(b"\x0e\1" + bytes(6)), Raw(b"\1\2" + bytes(14))]
    packet = v6(hlim=255) / ICMPv6ND_NS(tgt=OURS6)
    for option in (*others, Raw(bytes(ICMPv6NDOptSrcLLAddr(lladdr=THEIR_MAC)))):
        packet /= option
    [answer] = station.take(from_them() / packet)
    assert (answer.dst, answer[ICMPv6ND_NA].tgt) == (THEIR_MAC, OURS6)


def test_solicitation_for_others_is_ignored() -> None:
    station = Station()
    solicit = ICMPv6ND_NS(tgt="fd00::9:1") / ICMPv6NDOptSrcLLAddr(lladdr=THEIR_MAC)
    packet = from_them("33:33:ff:00:00:01") / IPv6(src=THEIRS6, dst="ff02::1:ff00:1", hlim=255) / solicit
    assert station.take(packet) == []
    assert not station.drops
    assert list(station.ipv6.neighbours.table(0)) == []


def test_a_reply_asks_for_its_receiver_by_solicitation() -> None:
    station = Station()
    [question] = station.take(from_them() / v6() / ICMPv6EchoRequest(data="x"))
    assert (question.dst, question[IPv6].dst) == ("33:33:ff:00:00:02", "ff02::1:ff00:2")
    assert (question[IPv6].src, question[ICMPv6ND_NS].tgt) == (OURS6, THEIRS6)
    assert question[ICMPv6NDOptSrcLLAddr].lladdr == OUR_MAC
    advertise = ICMPv6ND_NA(tgt=THEIRS6, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=THEIR_MAC)
    [reply] = station.take(from_them() / v6(hlim=255) / advertise)
    assert (reply.dst, reply[ICMPv6EchoReply].data) == (THEIR_MAC, b"x")


def test_an_advertisement_that_was_not_asked_for_makes_no_neighbour() -> None:
    station = Station()
    advertise = ICMPv6ND_NA(tgt=THEIRS6, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=THEIR_MAC)
    assert station.take(from_them() / v6(hlim=255) / advertise) == []
    assert list(station.ipv6.neighbours.table(0)) == []


def test_an_advertisement_overrides_only_where_it_says_so() -> None:
    station = Station().knows_them()
    moved = "02:00:00:00:00:03"
    option = ICMPv6NDOptDstLLAddr(lladdr=moved)

    def replies_go_to() -> str:
        [reply] = station.take(from_them() / v6() / ICMPv6EchoRequest())
        return str(reply.dst)

    station.take(from_them() / v6(hlim=255) / ICMPv6ND_NA(tgt=THEIRS6, S=0, O=0) / option)
    assert replies_go_to() == THEIR_MAC
    station.take(from_them() / v6(hlim=255) / ICMPv6ND_NA(tgt=THEIRS6, S=0, O=1) / option)
    assert replies_go_to() == moved


def test_a_solicited_advertisement_confirms() -> None:
    station = Station().knows_them()
    station.tick(1)
    station.take(from_them() / v6() / ICMPv6EchoRequest())
    [question] = station.tick(neighbours.DELAY)
    assert (question.dst, question[IPv6].dst, question[ICMPv6ND_NS].tgt) == (THEIR_MAC, THEIRS6, THEIRS6)
    station.take(from_them() / v6(hlim=255) / ICMPv6ND_NA(tgt=THEIRS6, S=1, O=0))
    assert station.interface.deadline() is None


@pytest.mark.parametrize("length", [0, 1, 56, 1452])
def test_echo6(length: int) -> None:
    station = Station().knows_them()
    [reply] = station.take(from_them() / v6(tc=8) / ICMPv6EchoRequest(id=9, seq=8, data=DATA[:length]))
    assert (reply[IPv6].src, reply[IPv6].dst, reply[IPv6].tc, reply[IPv6].hlim) == (OURS6, THEIRS6, 8, 64)
    echo = reply[ICMPv6EchoReply]
    assert (echo.id, echo.seq, echo.data) == (9, 8, DATA[:length])


def test_extension_headers_are_walked() -> None:
    station = Station().knows_them()
    chain = IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")])
    [reply] = station.take(from_them() / v6() / chain / ICMPv6EchoRequest(data="x"))
    assert reply[ICMPv6EchoReply].data == b"x"


def test_a_big_echo6_comes_and_goes_in_pieces() -> None:
    station = Station().knows_them()
    request = v6() / IPv6ExtHdrFragment(id=5) / ICMPv6EchoRequest(id=1, seq=2, data=DATA)
    pieces = fragment6(request, 1280)
    random.Random(3).shuffle(pieces)
    replies = station.take(*(from_them() / piece for piece in pieces))
    assert max(len(reply) for reply in replies) <= 14 + 1500
    reply = IPv6(bytes(defragment6([reply[IPv6] for reply in replies])))
    assert (reply[ICMPv6EchoReply].seq, reply[ICMPv6EchoReply].data) == (2, DATA)


def test_a_datagram_that_becomes_too_long_when_whole_is_dropped() -> None:
    station = Station().knows_them()
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")])
    for offset, size, more in ((0, 32768, 1), (4096, 32760, 0)):
        piece = IPv6ExtHdrFragment(nh=17, offset=offset, m=more, id=5) / bytes(size)
        assert station.take(from_them() / v6() / options / piece) == []
    assert station.drops == {"IPv6: too long when whole": 1}


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    station = Station().knows_them()
    [reply] = station.take(from_them() / v6() / IPv6ExtHdrFragment(id=5) / ICMPv6EchoRequest(data="x"))
    assert reply[ICMPv6EchoReply].data == b"x"


def test_incomplete_pieces6_are_reported() -> None:
    station = Station().knows_them()
    first, *_ = fragment6(v6() / IPv6ExtHdrFragment(id=5) / ICMPv6EchoRequest(data=DATA[:5000]), 1280)
    assert station.take(from_them() / first) == []
    [error] = station.tick(TIMEOUT_V6)
    assert error[ICMPv6TimeExceeded].code == 1
    assert len(error[IPv6]) == 1280
    assert error.original[62:] == bytes(first)[:1232]


def test_udp_echo6() -> None:
    station = Station().knows_them()
    [reply] = station.take(from_them() / v6() / UDP(sport=5000, dport=7) / DATA[:1000])
    assert (reply[IPv6].src, reply[UDP].sport, reply[UDP].dport) == (OURS6, 7, 5000)
    assert bytes(reply[UDP].payload) == DATA[:1000]


def header_for_all() -> Packet:
    """Destination options with one that even a group's members must complain about."""
    return Raw(bytes.fromhex("3b00800400000000"))


def test_an_unused_port6_is_unreachable() -> None:
    station = Station().knows_them()
    request = v6() / UDP(sport=5000, dport=9) / DATA[:1400]
    [error] = station.take(from_them() / request)
    assert (error[IPv6].src, error[ICMPv6DestUnreach].code) == (OURS6, 4)
    assert error.original[62:] == bytes(request)[:1232]
    [error] = station.take(from_them() / v6(dst=LOCAL6) / UDP(sport=5000, dport=9))
    assert error[IPv6].src == LOCAL6
    # Whoever asks a group is told from an address of ours.
    [error] = station.take(from_them("33:33:00:00:00:01") / v6(dst="ff02::1", nh=60) / header_for_all())
    assert (error[IPv6].src, error[ICMPv6ParamProblem].code) == (OURS6, 2)


@pytest.mark.parametrize(
    ("packet", "code", "pointer"),
    [
        (v6(nh=99) / b"x", 1, 6),
        (v6() / IPv6ExtHdrDestOpt(nh=99) / b"x", 1, 40),
        (v6(nh=60) / bytes.fromhex("3b008004000000000000")[:8], 2, 42),
        (v6() / IPv6ExtHdrFragment(nh=17, m=1) / bytes(9), 0, 4),
        (v6() / IPv6ExtHdrFragment(nh=17, offset=8191, m=1) / bytes(16), 0, 42),
    ],
)
def test_parameter_problems_are_told(packet: Packet, code: int, pointer: int) -> None:
    station = Station().knows_them()
    [error] = station.take(from_them() / packet)
    problem = error[ICMPv6ParamProblem]
    assert (problem.code, problem.ptr) == (code, pointer)
    assert error.original[62:] == bytes(packet)


def test_a_narrow_path_is_heeded() -> None:
    station = Station().knows_them()
    big = ICMPv6EchoRequest(data=DATA[:1452])
    [reply] = station.take(from_them() / v6() / big)
    too_big = IPv6(src=GATEWAY6, dst=OURS6) / ICMPv6PacketTooBig(mtu=1300) / Raw(bytes(reply[IPv6])[:1232])
    station.take(Ether(src=GATEWAY_MAC, dst=OUR_MAC) / too_big)
    replies = station.take(from_them() / v6() / big)
    assert [len(piece[IPv6]) <= 1300 for piece in replies] == [True, True]
    assert IPv6(bytes(defragment6([piece[IPv6] for piece in replies])))[ICMPv6EchoReply].data == DATA[:1452]
    station.tick(600)
    [whole] = [p for p in station.take(from_them() / v6() / big) if ICMPv6EchoReply in p]
    assert len(whole[IPv6]) == 1500


def test_the_memory_for_narrow_paths_is_bounded() -> None:
    station = Station().knows_them()
    gateway = Ether(src=GATEWAY_MAC, dst=OUR_MAC)
    for number in range(PATHS + 1):
        quote = IPv6(src=OURS6, dst=f"2001:db8::{number:x}", nh=59)
        station.take(gateway / IPv6(src=GATEWAY6, dst=OURS6) / ICMPv6PacketTooBig(mtu=1300) / quote)

    def pieces(number: int) -> int:
        ping(station, f"2001:db8::{number:x}", size=1400)
        return len(station.sent())

    assert [pieces(number) for number in (0, 1, PATHS)] == [1, 2, 2]


def test_a_path_cannot_be_narrowed_by_who_knows_nothing_of_us() -> None:
    station = Station().knows_them()
    lie = IPv6(src=GATEWAY6, dst=OURS6) / ICMPv6PacketTooBig(mtu=1300) / Raw(bytes(v6()))
    station.take(Ether(src=GATEWAY_MAC, dst=OUR_MAC) / lie)
    assert station.drops == {"ICMPv6: error about an unknown packet": 1}


# Multicast listeners

QUERIER = "fe80::1:2"


def query(group: str, version: int = 2, **fields: Any) -> Packet:
    asked = ICMPv6MLQuery2(mladdr=group) if version == 2 else ICMPv6MLQuery(mladdr=group)
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    to = "ff02::1" if group == "::" else group
    frame = Ether(src=THEIR_MAC, dst="33:33:00:00:00:01" if group == "::" else "33:33:ff:00:00:01")
    return frame / IPv6(**{"src": QUERIER, "dst": to, "hlim": 1, **fields}) / alert / asked


def listening(packet: Packet) -> list[tuple[int, str]]:
    """The records of a version 2 report."""
    assert (packet[IPv6].src, packet[IPv6].hlim) == (LOCAL6, 1)
    assert packet[IPv6ExtHdrHopByHop].options[0].otype == 5
    # scapy takes only the first record of several for one.
    records = packet.original[14 + 40 + 8 + 8 :]
    assert len(records) == 20 * packet[ICMPv6MLReport2].records_number
    return [(records[at], str(IPv6Address(records[at + 4 : at + 20]))) for at in range(0, len(records), 20)]


def test_a_querier_hears_which_groups_are_listened_to() -> None:
    station = Station(inet6=IPv6Interface("fd00::5:6/64"))
    [report] = station.take(query("::"))
    assert listening(report) == [(2, "ff02::1:ff00:1"), (2, "ff02::1:ff05:6")]
    [report] = station.take(query("ff02::1:ff00:1"))
    assert listening(report) == [(2, "ff02::1:ff00:1")]


def test_an_old_querier_hears_it_too() -> None:
    station = Station()
    [report] = station.take(query("::", version=1))
    assert (report.dst, report[IPv6].dst, report[IPv6].hlim) == ("33:33:ff:00:00:01", "ff02::1:ff00:1", 1)
    assert report[ICMPv6MLReport].mladdr == "ff02::1:ff00:1"


def test_queries_that_are_not_answered() -> None:
    station = Station()
    for packet in (query("::", hlim=2), query("::", src="fd00::9")):
        assert station.take(packet) == []
    other = query("ff02::1:ff00:1")
    other[ICMPv6MLQuery2].mladdr = "ff02::9:9"
    assert station.take(other) == []
    assert station.drops == {"MLD: from beyond the link": 2}
    assert len(station.take(*[query("::")] * 100)) == REPORTS
    assert station.drops["MLD: too many queries"] == 100 - REPORTS


# Pings


def ping(station: Station, to: str, size: int = 8, sequence: int = 1) -> None:
    destination = ipaddress.ip_address(to)
    node = station.interface.node(destination)
    assert node is not None
    node.ping(destination.packed, 7, sequence, DATA[:size], station.now)


def answers(station: Station) -> list[tuple[object, ...]]:
    found, station.interface.wire.answers = station.interface.wire.answers, []
    return [(str(ipaddress.ip_address(a.peer)), a.identifier, a.sequence, a.size, a.error) for a in found]


@pytest.mark.parametrize("to", [THEIRS, THEIRS6, THEIR_LOCAL6])
def test_ping_and_its_reply(to: str) -> None:
    station = Station().knows_them()
    ping(station, to)
    [request] = station.sent()
    if ":" in to:
        echo = request[ICMPv6EchoRequest]
        assert (echo.id, echo.seq, echo.data) == (7, 1, DATA[:8])
        reply: Packet = IPv6(src=to, dst=request[IPv6].src) / ICMPv6EchoReply(id=7, seq=1, data=DATA[:8])
    else:
        assert (request[ICMP].type, request[ICMP].id, request[ICMP].seq) == (8, 7, 1)
        reply = IP(src=to, dst=OURS) / ICMP(type=0, id=7, seq=1) / DATA[:8]
    assert station.take(from_them() / reply) == []
    assert answers(station) == [(to, 7, 1, 8, None)]


@pytest.mark.parametrize("to", [OURS, OURS6, LOCAL6])
def test_ping_of_itself_needs_no_wire(to: str) -> None:
    station = Station()
    ping(station, to, size=5000)
    assert station.sent() == []
    assert answers(station) == [(to, 7, 1, 5000, None)]


def test_a_big_ping_is_cut() -> None:
    station = Station().knows_them()
    ping(station, THEIRS, size=10000)
    [whole] = defragment([piece[IP] for piece in station.sent()])
    assert bytes(IP(bytes(whole))[ICMP].payload) == DATA[:10000]


@pytest.mark.parametrize(("to", "own"), [("10.0.0.9", OURS), ("fd00::9", OURS6)])
def test_ping_of_nobody_is_told(to: str, own: str) -> None:
    station = Station()
    ping(station, to, size=4000)
    assert len(station.sent()) == 1
    for _ in range(neighbours.TRIES):
        station.tick(neighbours.RETRY)
    assert answers(station) == [(to, 7, 1, 0, "host unreachable")]


def test_ping_without_a_route_is_told() -> None:
    station = Station(gateway=None, gateway6=None)
    ping(station, "8.8.8.8")
    ping(station, "2001:db8::1")
    assert [error for *_, error in answers(station)] == ["no route to host"] * 2


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [(3, 3, "port unreachable"), (11, 0, "time to live exceeded"), (3, 15, "ICMP type 3")],
)
def test_an_error_about_a_ping_is_told(kind: int, code: int, words: str) -> None:
    station = Station().knows_them()
    ping(station, "8.8.8.8", size=4000)
    first, *_, last = station.sent()
    gateway = Ether(src=GATEWAY_MAC, dst=OUR_MAC)
    for piece in (first, last):
        error = IP(src="10.0.0.254", dst=OURS) / ICMP(type=kind, code=code) / Raw(bytes(piece[IP])[:28])
        station.take(gateway / error)
    assert answers(station) == [("10.0.0.254", 7, 1, 0, words)]


def test_an_error6_about_a_ping_is_told() -> None:
    station = Station().knows_them()
    for size in (8, 4000):
        ping(station, "2001:db8::1", size)
        first, *_ = station.sent()
        error = IPv6(src=GATEWAY6, dst=OURS6) / ICMPv6DestUnreach(code=0) / Raw(bytes(first[IPv6]))
        station.take(Ether(src=GATEWAY_MAC, dst=OUR_MAC) / error)
        assert answers(station) == [(GATEWAY6, 7, 1, 0, "no route")]


# Anything at all

SEEDS = [
    from_them() / ARP(op=1, hwsrc=THEIR_MAC, psrc=THEIRS, pdst=OURS),
    from_them() / v4() / ICMP(id=1) / b"0123456789",
    from_them() / v4() / UDP(sport=5000, dport=7) / b"0123456789",
    from_them() / v4(flags="MF", frag=1) / ICMP() / bytes(16),
    from_them() / v4() / ICMP(type=3, code=3) / IP(src=OURS, dst=THEIRS) / ICMP(id=1),
    from_them() / v6() / ICMPv6EchoRequest(data="0123456789"),
    from_them() / v6(hlim=255) / ICMPv6ND_NS(tgt=OURS6) / ICMPv6NDOptSrcLLAddr(lladdr=THEIR_MAC),
    from_them() / v6(hlim=255) / ICMPv6ND_NA(tgt=THEIRS6, S=1) / ICMPv6NDOptDstLLAddr(lladdr=THEIR_MAC),
    from_them() / v6() / ICMPv6PacketTooBig(mtu=1300) / IPv6(src=OURS6, dst=THEIRS6) / ICMPv6EchoRequest(),
    from_them() / v6() / IPv6ExtHdrFragment(offset=1, m=1, id=3) / bytes(16),
    from_them() / v6() / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / UDP(sport=5000, dport=7) / b"x",
    from_them() / IPv6(src="fe80::9", dst=OURS6, hlim=1) / ICMPv6MLQuery2(),
]


def with_checksums(frame: bytearray) -> bytearray:
    """Make the IPv4 header's checksum right again, so that damage behind it is not all hidden by it."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        frame[24:26] = bytes(2)
        length = (frame[14] & 15) * 4
        frame[24:26] = ip.checksum(bytes(frame[14 : 14 + length])).to_bytes(2, "big")
    return frame


@examples(1500)
@given(
    st.sampled_from([bytes(seed) for seed in SEEDS]),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    st.integers(0, 100),
    st.binary(max_size=30),
)
def test_damaged_frames_are_taken_or_counted(
    seed: bytes, damage: list[tuple[int, int]], keep: int, tail: bytes
) -> None:
    station = Station().knows_them()
    frame = bytearray(seed[: max(14, keep)])
    for at, value in damage:
        if 14 <= at < len(frame):
            frame[at] = value
    frame = with_checksums(frame) + tail
    station.interface.receive([frame], station.now)
    station.tick(100)
    for answer in station.interface.wire.out:
        assert len(answer) <= 1514
    # Nothing may hold on to the buffer: its owner uses it again.
    frame += b"more"


@examples(500)
@given(st.sampled_from([0x0800, 0x0806, 0x86DD, 0x8100, 0x88CC]), st.binary(max_size=120))
def test_any_frame_is_taken_or_counted(ethertype: int, payload: bytes) -> None:
    station = Station()
    station.interface.receive([ethernet.build(mac(OUR_MAC), mac(THEIR_MAC), ethertype, payload)], station.now)
    assert station.drops.total() + len(station.interface.wire.out) >= (ethertype != 0x0806)


def test_reasons_are_few_however_much_is_sent() -> None:
    station = Station()
    source = random.Random(4)
    seeds = [bytes(seed) for seed in SEEDS]
    for _ in range(20000):
        frame = bytearray(source.choice(seeds))
        for _ in range(source.randrange(1, 4)):
            frame[source.randrange(14, len(frame))] = source.randrange(256)
        station.interface.receive([with_checksums(frame)], station.now)
        station.interface.wire.out.clear()
        station.interface.wire.answers.clear()
    assert station.drops.total() > 10000
    assert len(station.drops) < 60
