"""The router as a value: what scapy builds goes in at one side, and scapy reads what comes out at either."""

from __future__ import annotations

import random
from ipaddress import IPv4Interface, IPv6Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, defragment, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
    fragment6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.support.fuzzing import examples
from tmelink import ip
from tmelink.frame import Burst, Counters, Gso
from tmelink.offload import segmented, virtio
from tmelink.stack import neighbours
from tmelink.stack.router import Router

MAC, THEIR_MAC = "00:f0:0d:f0:0d:00", "02:00:00:00:00:02"
OURS, THEIRS, AWAY = "10.38.2.1", "10.38.2.2", "192.0.2.9"
OURS6, THEIRS6, AWAY6 = "fd38::1", "fd38::2", "2001:db8::9"
DATA = random.Random(6).randbytes(9000)


class Lab:
    """A router, the time, and scapy on both sides of it."""

    def __init__(self, mtu: int = 1500, tunnel_mtu: int = 1500) -> None:
        self.router = Router(
            bytes.fromhex(MAC.replace(":", "")),
            inet=IPv4Interface(f"{OURS}/24"),
            inet6=IPv6Interface(f"{OURS6}/64"),
            mtu=mtu,
            tunnel_mtu=tunnel_mtu,
        )
        self.now = 100.0

    def frames(self) -> list[Packet]:
        burst = self.router.take_frames()
        return [] if burst is None else [Ether(bytes(f)) for f in segmented(burst, Counters()).frames]

    def packets(self) -> list[Packet]:
        burst = self.router.take_packets()
        if burst is None:
            return []
        return [_ip(bytes(packet)) for packet in segmented(burst, Counters(), ip=True).frames]

    def inside(self, *packets: Packet, mac: str = MAC) -> None:
        """Packets from the machine inside."""
        frames = [bytes(Ether(src=THEIR_MAC, dst=mac) / packet) for packet in packets]
        self.router.from_ethernet(Burst(list(frames)), self.now)

    def outside(self, *packets: Packet) -> None:
        """Packets from the tunnel."""
        self.router.from_tunnel(Burst([bytes(packet) for packet in packets]), self.now)

    def meet(self) -> None:
        """Let the router know the machine inside."""
        self.inside(ARP(op=1, psrc=THEIRS, hwsrc=THEIR_MAC, pdst=OURS), mac="ff:ff:ff:ff:ff:ff")
        self.outside(IPv6(src=AWAY6, dst=THEIRS6) / ICMPv6EchoRequest())
        self.frames()
        answer = ICMPv6ND_NA(tgt=THEIRS6, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=THEIR_MAC)
        self.inside(IPv6(src=THEIRS6, dst=OURS6, hlim=255) / answer)
        self.frames()

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.router.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.router.tick(self.now)
        self.now = end

    @property
    def drops(self) -> dict[str, int]:
        return {**self.router.wire.drops, **self.router.tunnel.drops}


def _ip(packet: bytes) -> Packet:
    return IP(packet) if packet[0] >> 4 == 4 else IPv6(packet)


def right(packet: Packet) -> bool:
    """Whether every checksum and length is what scapy would write."""
    again = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        if layer in again:
            del again[layer].chksum
    return bytes(again.__class__(bytes(again))) == bytes(packet)


UDP4 = UDP(sport=1000, dport=2000)


# Its own address is served locally


@pytest.mark.parametrize("outside", [False, True])
def test_its_own_address_answers_ping_and_udp_echo_from_either_side(outside: bool) -> None:
    lab = Lab()
    lab.meet()
    source, source6 = (AWAY, AWAY6) if outside else (THEIRS, THEIRS6)
    put, got = (lab.outside, lab.packets) if outside else (lab.inside, lab.frames)
    put(IP(src=source, dst=OURS) / ICMP(id=7) / b"ping")
    (reply,) = got()
    assert (reply[IP].src, reply[IP].dst, reply[ICMP].type, reply[ICMP].id) == (OURS, source, 0, 7)
    assert reply[Raw].load == b"ping"
    put(IP(src=source, dst=OURS) / UDP(sport=1000, dport=7) / b"echo")
    (reply,) = got()
    assert (reply[UDP].sport, reply[UDP].dport, reply[Raw].load) == (7, 1000, b"echo")
    put(IPv6(src=source6, dst=OURS6) / ICMPv6EchoRequest(data=b"six"))
    (reply,) = got()
    assert (reply[IPv6].src, reply[ICMPv6EchoReply].data) == (OURS6, b"six")
    assert lab.frames() == lab.packets() == []


def test_fragments_for_itself_are_put_together_and_others_are_not() -> None:
    lab = Lab()
    lab.meet()
    pieces = fragment(IP(src=AWAY, dst=OURS, id=9) / ICMP() / DATA[:4000], 1400)
    lab.outside(*pieces)
    assert bytes(defragment(lab.packets())[0][Raw].load) == DATA[:4000]
    pieces = fragment(IP(src=AWAY, dst=THEIRS, id=9) / UDP4 / DATA[:4000], 1400)
    lab.outside(*pieces[:2])
    assert [bytes(frame[IP].payload) for frame in lab.frames()] == [bytes(p.payload) for p in pieces[:2]]
    # A whole IPv6 packet with a fragment header passes as it is, too.
    (first, *_) = fragment6(
        IPv6(src=AWAY6, dst=THEIRS6) / IPv6ExtHdrFragment(id=3) / UDP4 / DATA[:3000], 1400
    )
    lab.outside(first)
    (frame,) = lab.frames()
    assert IPv6ExtHdrFragment in frame
    assert frame[IPv6].hlim == first.hlim - 1


# From inside into the tunnel


def test_other_addresses_go_into_the_tunnel_one_hop_less() -> None:
    lab = Lab()
    lab.inside(IP(src=THEIRS, dst=AWAY, ttl=64, id=5) / UDP4 / b"data", IPv6(src=THEIRS6, dst=AWAY6) / UDP4)
    four, six = lab.packets()
    assert (four.src, four.dst, four.ttl, four.id, four[Raw].load) == (THEIRS, AWAY, 63, 5, b"data")
    assert right(four)
    assert (six.src, six.dst, six.hlim) == (THEIRS6, AWAY6, 63)
    assert lab.frames() == []


def test_padding_of_a_short_frame_does_not_travel() -> None:
    lab = Lab()
    frame = bytes(Ether(src=THEIR_MAC, dst=MAC) / IP(src=THEIRS, dst=AWAY) / UDP4).ljust(60, b"\0")
    lab.router.from_ethernet(Burst([frame]), lab.now)
    (packet,) = lab.packets()
    assert len(packet) == 28


@pytest.mark.parametrize("ttl", range(2, 256, 11))
def test_the_header_checksum_follows_the_ttl(ttl: int) -> None:
    lab = Lab()
    for identification in (0, 1, 0x1234, 0xFFFF, 0xB9E0, 0xBADF):
        lab.inside(IP(src=THEIRS, dst=AWAY, ttl=ttl, id=identification) / UDP4)
        (packet,) = lab.packets()
        assert packet.ttl == ttl - 1
        assert right(packet)


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=THEIRS, dst="10.38.2.255") / UDP4,
        IP(src=THEIRS, dst="10.38.2.0") / UDP4,
        IP(src=THEIRS, dst="10.38.2.77") / UDP4,
        IP(src=THEIRS, dst="255.255.255.255") / UDP4,
        IP(src=THEIRS, dst="224.0.0.251") / UDP4,
        IP(src=THEIRS, dst="127.0.0.1") / UDP4,
        IP(src=THEIRS, dst="169.254.1.1") / UDP4,
        IP(src="255.255.255.255", dst=AWAY) / UDP4,
        IP(src=OURS, dst=AWAY) / UDP4,
        IP(src=THEIRS, dst=AWAY, chksum=1) / UDP4,
        IPv6(src=THEIRS6, dst="fd38::77") / UDP4,
        IPv6(src=THEIRS6, dst="ff02::fb") / UDP4,
        IPv6(src="fe80::2", dst=AWAY6) / UDP4,
        IPv6(src=THEIRS6, dst="fe80::1") / UDP4,
        IPv6(src=THEIRS6, dst="::1") / UDP4,
    ],
    ids=repr,
)
def test_what_does_not_belong_there_stays_out_of_the_tunnel(packet: Packet) -> None:
    lab = Lab()
    lab.inside(packet)
    assert lab.packets() == lab.frames() == []
    assert sum(lab.drops.values()) == 1


def test_frames_for_others_are_not_taken() -> None:
    lab = Lab()
    lab.inside(IP(src=THEIRS, dst=AWAY) / UDP4, mac="02:00:00:00:00:99")
    lab.inside(IP(src=THEIRS, dst=AWAY) / UDP4, mac="ff:ff:ff:ff:ff:ff")
    assert lab.packets() == []


def test_the_last_hop_is_answered_with_time_exceeded() -> None:
    lab = Lab()
    lab.meet()
    lab.inside(IP(src=THEIRS, dst=AWAY, ttl=1) / UDP4)
    (error,) = lab.frames()
    assert (error[IP].src, error[IP].dst, error[ICMP].type, error[ICMP].code) == (OURS, THEIRS, 11, 0)
    assert error[IPerror].dst == AWAY
    lab.inside(IPv6(src=THEIRS6, dst=AWAY6, hlim=1) / UDP4)
    (error,) = lab.frames()
    assert (error[IPv6].src, error[ICMPv6TimeExceeded].code) == (OURS6, 0)
    lab.outside(IP(src=AWAY, dst=THEIRS, ttl=1) / ICMP(type=0))
    (error,) = lab.packets()
    assert (error.src, error.dst, error[ICMP].type) == (OURS, AWAY, 11)
    # But no error about an error, and none about a later fragment.
    lab.outside(IP(src=AWAY, dst=THEIRS, ttl=1) / ICMP(type=3) / IP() / UDP())
    lab.outside(IP(src=AWAY, dst=THEIRS, ttl=1, frag=100) / UDP4)
    assert lab.packets() == []
    assert lab.drops["IPv4: time to live exceeded"] >= 2


# Too big


def test_too_big_a_packet_is_cut_unless_it_must_not_be() -> None:
    lab = Lab(tunnel_mtu=1300)
    lab.meet()
    lab.inside(IP(src=THEIRS, dst=AWAY, id=4) / UDP4 / DATA[:1400])
    pieces = lab.packets()
    assert [len(piece) <= 1300 for piece in pieces] == [True, True]
    assert all(piece.ttl == 63 and ip.checksum(bytes(piece)[:20]) == 0 for piece in pieces)
    assert defragment(pieces)[0][Raw].load == DATA[:1400]
    lab.inside(IP(src=THEIRS, dst=AWAY, flags="DF") / UDP4 / DATA[:1400])
    assert lab.packets() == []
    (error,) = lab.frames()
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, 1300)
    lab.inside(IPv6(src=THEIRS6, dst=AWAY6) / UDP4 / DATA[:1400])
    (error,) = lab.frames()
    assert error[ICMPv6PacketTooBig].mtu == 1300
    assert lab.drops["IPv4: too big, and not to be fragmented"] == lab.drops["IPv6: too big"] == 1


def test_its_own_answers_fit_into_the_tunnel() -> None:
    lab = Lab(tunnel_mtu=1300)
    lab.outside(*fragment(IP(src=AWAY, dst=OURS) / ICMP() / DATA[:2000], 1200))
    pieces = lab.packets()
    assert max(map(len, pieces)) <= 1300
    assert defragment(pieces)[0][Raw].load == DATA[:2000]
    whole = IPv6(src=AWAY6, dst=OURS6) / IPv6ExtHdrFragment(id=1) / ICMPv6EchoRequest(data=DATA[:2000])
    lab.outside(*fragment6(whole, 1280))
    assert sum(map(len, pieces := lab.packets())) > 1280
    assert max(map(len, pieces)) <= 1300


# From the tunnel


def test_packets_for_its_network_are_sent_to_the_machine_that_has_the_address() -> None:
    lab = Lab()
    lab.outside(IP(src=AWAY, dst=THEIRS, id=1) / UDP4 / b"one", IP(src=AWAY, dst=THEIRS, id=2) / UDP4)
    (question,) = lab.frames()
    assert (question.dst, question[ARP].psrc, question[ARP].pdst) == ("ff:ff:ff:ff:ff:ff", OURS, THEIRS)
    lab.inside(ARP(op=2, psrc=THEIRS, hwsrc=THEIR_MAC, pdst=OURS, hwdst=MAC))
    one, two = lab.frames()
    assert (one.src, one.dst, one[IP].ttl, one[Raw].load) == (MAC, THEIR_MAC, 63, b"one")
    assert two[IP].id == 2
    assert right(two[IP])
    lab.outside(IP(src=AWAY, dst=THEIRS, id=3) / UDP4)
    assert [frame[IP].id for frame in lab.frames()] == [3]


def test_ipv6_neighbours_are_discovered() -> None:
    lab = Lab()
    lab.outside(IPv6(src=AWAY6, dst=THEIRS6) / UDP4)
    (question,) = lab.frames()
    assert question[ICMPv6ND_NS].tgt == THEIRS6
    answer = ICMPv6ND_NA(tgt=THEIRS6, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=THEIR_MAC)
    lab.inside(IPv6(src=THEIRS6, dst=OURS6, hlim=255) / answer)
    (frame,) = lab.frames()
    assert (frame.dst, frame[IPv6].hlim) == (THEIR_MAC, 63)


def test_a_machine_that_does_not_answer_is_unreachable() -> None:
    lab = Lab()
    lab.outside(IP(src=AWAY, dst=THEIRS) / UDP4, IPv6(src=AWAY6, dst=THEIRS6) / UDP4)
    lab.wait(10)
    asked = lab.frames()
    assert [ARP in frame for frame in asked].count(True) == neighbours.TRIES
    assert [ICMPv6ND_NS in frame for frame in asked].count(True) == neighbours.TRIES
    four, six = lab.packets()
    assert (four.src, four.dst, four[ICMP].type, four[ICMP].code) == (OURS, AWAY, 3, 1)
    assert six[ICMPv6DestUnreach].code == 3
    assert lab.drops["neighbour: no answer"] == 2


def test_only_so_many_packets_wait() -> None:
    lab = Lab()
    lab.outside(*(IP(src=AWAY, dst=THEIRS, id=number) / UDP4 for number in range(neighbours.WAITING + 3)))
    assert lab.drops["neighbour: queue full"] == 3
    lab.frames()
    lab.inside(ARP(op=2, psrc=THEIRS, hwsrc=THEIR_MAC, pdst=OURS, hwdst=MAC))
    assert [frame[IP].id for frame in lab.frames()] == list(range(3, neighbours.WAITING + 3))


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=AWAY, dst="192.0.2.10") / UDP4,
        IP(src=AWAY, dst="10.38.2.255") / UDP4,
        IP(src=AWAY, dst="224.0.0.1") / UDP4,
        IP(src=THEIRS, dst="10.38.2.3") / UDP4,
        IP(src=OURS, dst=THEIRS) / UDP4,
        IPv6(src=AWAY6, dst="2001:db8::10") / UDP4,
        IPv6(src=AWAY6, dst="fe80::2") / UDP4,
        IPv6(src=THEIRS6, dst="fd38::3") / UDP4,
        Raw(b"\x00"),
        Raw(b""),
    ],
    ids=repr,
)
def test_what_is_for_nobody_inside_is_dropped(packet: Packet) -> None:
    lab = Lab()
    lab.outside(packet)
    assert lab.frames() == lab.packets() == []
    assert sum(lab.router.tunnel.drops.values()) == 1


# Super-frames


def super_frame(version: int, ethernet: bool, size: int = 1000) -> tuple[bytes, Gso]:
    network = IP(src=THEIRS, dst=AWAY, flags="DF") if version == 4 else IPv6(src=THEIRS6, dst=AWAY6)
    if not ethernet:
        network.src, network.dst = network.dst, network.src
    packet = network / TCP(sport=1, dport=2, flags="PA", seq=99) / DATA
    raw = bytes(Ether(src=THEIR_MAC, dst=MAC) / packet if ethernet else packet)
    head = (14 if ethernet else 0) + (20 if version == 4 else 40)
    return raw, Gso(virtio.TCP4 if version == 4 else virtio.TCP6, size, head + 20, head, 16)


@pytest.mark.parametrize("version", [4, 6])
def test_a_super_frame_passes_whole(version: int) -> None:
    lab = Lab()
    lab.meet()
    raw, label = super_frame(version, True)
    lab.router.from_ethernet(Burst([raw], [label]), lab.now)
    burst = lab.router.take_packets()
    assert burst is not None
    assert burst.gso is not None
    (gso,) = burst.gso
    assert gso == label._replace(header=label.header - 14, checksum_start=label.checksum_start - 14)
    pieces = [_ip(bytes(p)) for p in segmented(burst, Counters(), ip=True).frames]
    assert b"".join(bytes(piece[TCP].payload) for piece in pieces) == DATA
    assert all(right(piece) for piece in pieces)
    raw, label = super_frame(version, False)
    lab.router.from_tunnel(Burst([raw], [label]), lab.now)
    burst = lab.router.take_frames()
    assert burst is not None
    assert burst.gso is not None
    assert len(burst.frames) == 1
    frames = [Ether(bytes(f)) for f in segmented(burst, Counters()).frames]
    assert b"".join(bytes(frame[TCP].payload) for frame in frames) == DATA
    assert all(right(frame[IP if version == 4 else IPv6]) for frame in frames)
    assert frames[0].payload.fields.get("ttl", frames[0].payload.fields.get("hlim")) == 63


def test_a_super_frame_of_too_big_pieces_is_refused_and_one_to_be_found_waits_in_pieces() -> None:
    lab = Lab(tunnel_mtu=1300)
    lab.router.from_tunnel(Burst([super_frame(4, False)[0]], [super_frame(4, False)[1]]), lab.now)
    lab.frames()
    lab.inside(ARP(op=2, psrc=THEIRS, hwsrc=THEIR_MAC, pdst=OURS, hwdst=MAC))
    assert b"".join(bytes(frame[TCP].payload) for frame in lab.frames()) == DATA
    raw, label = super_frame(4, True, 1400)
    lab.router.from_ethernet(Burst([raw], [label]), lab.now)
    assert {error[ICMP].nexthopmtu for error in lab.frames()} == {1300}


@given(st.binary(max_size=120), st.booleans(), st.integers(0, 5))
@examples(400)
def test_nothing_that_comes_from_either_side_raises(junk: bytes, outside: bool, shape: int) -> None:
    lab = Lab()
    heads = [
        b"",
        bytes(IP(src=AWAY, dst=THEIRS))[:16],
        bytes(IP(src=AWAY, dst=OURS) / UDP(dport=7)),
        bytes(IPv6(src=AWAY6, dst=THEIRS6)),
        bytes(IPv6(src=AWAY6, dst=OURS6, nh=58)),
        b"\x45",
    ]
    data = heads[shape] + junk
    label = Gso(junk[0] % 6, junk[1], junk[2], junk[3], junk[4]) if len(junk) > 5 else None
    if outside:
        lab.router.from_tunnel(Burst([data], [label]), lab.now)
    else:
        kind = b"\x08\x00" if shape < 3 else b"\x86\xdd"
        head = bytes.fromhex(MAC.replace(":", "") + THEIR_MAC.replace(":", "")) + kind
        lab.router.from_ethernet(Burst([head + data], [label]), lab.now)
    lab.wait(60)
    lab.frames()
    lab.packets()
