"""Tunnels' headers against scapy, which decodes ours and builds what we decode; and against junk."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.etherip import EtherIP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.support.fuzzing import examples
from tmelink.encapsulation import vxlan
from tmelink.encapsulation.codec import TunnelCodec
from tmelink.encapsulation.etherip import EtherIpCodec
from tmelink.encapsulation.gre import GreCodec
from tmelink.encapsulation.ipip import IpipCodec
from tmelink.errors import ProtocolError
from tmelink.frame import Kind

FOUR = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / ICMP() / b"four")
SIX = bytes(IPv6(src="fd00::1", dst="fd00::2") / UDP() / b"six")
FRAME = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(FOUR))


def sealed(codec: TunnelCodec, frame: bytes) -> tuple[int, bytes]:
    protocol, header = codec.seal(frame)
    assert len(header) == codec.header
    assert protocol in codec.protocols
    return protocol, header + frame


def refusal(codec: TunnelCodec, packet: bytes, protocol: int | None = None) -> str:
    with pytest.raises(ProtocolError) as caught:
        codec.open(codec.protocols[0] if protocol is None else protocol, memoryview(packet))
    return str(caught.value)


def test_ip_in_ip_by_version() -> None:
    codec = IpipCodec()
    assert sealed(codec, FOUR) == (4, FOUR)
    assert sealed(codec, SIX) == (41, SIX)
    assert codec.open(4, memoryview(FOUR)) == FOUR
    assert codec.open(41, memoryview(SIX)) == SIX
    outer = IP(bytes(IP(src="1.1.1.1", dst="2.2.2.2", proto=4) / Raw(FOUR)))
    assert bytes(outer[IP].payload) == FOUR
    for protocol, wrong in ((4, SIX), (41, FOUR), (4, b""), (4, FOUR[:19]), (41, SIX[:39])):
        assert refusal(codec, wrong, protocol) == "IP in IP: not the version that its protocol says"
    for wrong in (b"", b"\x00", b"\xff"):
        with pytest.raises(ProtocolError, match="not IP"):
            codec.seal(wrong)


def test_etherip() -> None:
    codec = EtherIpCodec()
    protocol, packet = sealed(codec, FRAME)
    assert protocol == 97
    read = EtherIP(packet)
    assert (read.version, read.reserved, bytes(read.payload)) == (3, 0, FRAME)
    assert codec.open(97, memoryview(bytes(EtherIP() / Ether(FRAME)))) == FRAME
    assert refusal(codec, bytes(EtherIP(version=4) / Ether(FRAME))) == (
        "EtherIP: other version, or reserved bits"
    )
    assert refusal(codec, bytes(EtherIP(reserved=1) / Ether(FRAME))) == (
        "EtherIP: other version, or reserved bits"
    )
    assert refusal(codec, packet[:15]) == "EtherIP: short packet"


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("key", [None, 0, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", ["ip", "ethernet"])
def test_gre(kind: Kind, key: int | None, sequence: bool, checksum: bool) -> None:
    ours = GreCodec(kind, key=key, sequence=sequence, checksum=checksum)
    theirs = GreCodec(kind, key=key, sequence=sequence, checksum=checksum)
    for number, frame in enumerate([FRAME, FRAME + b"odd"] if kind == "ethernet" else [FOUR, SIX]):
        protocol, packet = sealed(ours, frame)
        assert protocol == 47
        read = GRE(packet)
        assert bytes(read.payload) == frame
        assert read.proto == (0x6558 if kind == "ethernet" else {4: 0x0800, 6: 0x86DD}[frame[0] >> 4])
        assert (read.key_present, read.key) == ((1, key) if key is not None else (0, None))
        assert (read.seqnum_present, read.sequence_number) == ((1, number) if sequence else (0, None))
        built = GRE(
            proto=read.proto,
            chksum_present=int(checksum),
            key_present=int(key is not None),
            key=key,
            seqnum_present=int(sequence),
            sequence_number=number if sequence else None,
        )
        assert bytes(built / Raw(frame)) == packet
        assert theirs.open(47, memoryview(packet)) == frame


def gre(**fields: Any) -> bytes:
    return bytes(GRE(proto=0x0800, **fields) / Raw(FOUR))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (gre(version=1), "GRE: other version"),
        (gre(routing_present=1), "GRE: routing or reserved bits"),
        (gre(strict_route_source=1), "GRE: routing or reserved bits"),
        (gre(key_present=1, key=8), "GRE: other key"),
        (gre(), "GRE: other key"),
        (gre(key_present=1, key=7, chksum_present=1, chksum=1), "GRE: bad checksum"),
        (gre(key_present=1, key=7)[:6], "GRE: short packet"),
        (gre()[:3], "GRE: short packet"),
        (bytes(GRE(proto=0x6558, key_present=1, key=7) / Raw(FRAME)), "GRE: not IP"),
        (bytes(GRE(proto=0x0800, key_present=1, key=7) / Raw(SIX)), "GRE: not IP"),
        (bytes(GRE(proto=0x0800, key_present=1, key=7)), "GRE: not IP"),
    ],
)
def test_what_gre_refuses(packet: bytes, reason: str) -> None:
    assert refusal(GreCodec("ip", key=7), packet) == reason


def test_gre_takes_a_number_or_a_checksum_that_it_did_not_ask_for() -> None:
    packet = gre(seqnum_present=1, sequence_number=9, chksum_present=1)
    assert GreCodec("ip").open(47, memoryview(packet)) == FOUR


def test_gre_drops_what_comes_after_a_later_one() -> None:
    codec = GreCodec("ip", sequence=True)

    def takes(number: int) -> bool:
        packet = gre(seqnum_present=1, sequence_number=number & 0xFFFFFFFF)
        try:
            return codec.open(47, memoryview(packet)) == FOUR
        except ProtocolError:
            return False

    numbers = [-3, -2, -2, -4, 0, -1, 1, 5, 4, 1 << 31, 5, -1, 2]
    assert [takes(number) for number in numbers] == [
        True, True, False, False, True, False, True, True, False, True, False, True, True,
    ]  # fmt: skip
    assert refusal(codec, gre()) == "GRE: no sequence number"


def test_gre_numbers_go_around() -> None:
    codec = GreCodec("ip", sequence=True)
    codec._sent = 0xFFFFFFFF
    assert [GRE(codec.seal(FOUR)[1] + FOUR).sequence_number for _ in range(2)] == [0xFFFFFFFF, 0]


def test_vxlan() -> None:
    datagram = vxlan.header(0xABCDEF) + FRAME
    read = VXLAN(datagram)
    assert (read.vni, int(read.flags), bytes(read.payload)) == (0xABCDEF, 8, FRAME)
    assert bytes(VXLAN(vni=0xABCDEF, flags=8) / Ether(FRAME)) == datagram
    assert vxlan.open_frame(memoryview(datagram), 0xABCDEF) == FRAME
    reserved = b"\xff\xff\xff\xff\x00\x00\x05\xff" + FRAME
    assert vxlan.open_frame(memoryview(reserved), 5) == FRAME
    for wrong, reason in (
        (datagram[:21], "VXLAN: short datagram"),
        (b"\x00" + datagram[1:], "VXLAN: no network number"),
        (vxlan.header(5) + FRAME, "VXLAN: other network"),
    ):
        with pytest.raises(ProtocolError, match=reason):
            vxlan.open_frame(memoryview(wrong), 0xABCDEF)


CODECS: list[TunnelCodec] = [
    IpipCodec(),
    EtherIpCodec(),
    GreCodec("ip"),
    GreCodec("ethernet", key=1, checksum=True, sequence=True),
]


@given(st.sampled_from(CODECS), st.binary(max_size=60), st.integers(0, 3))
@examples(500)
def test_junk_is_refused_with_one_of_a_few_reasons(codec: TunnelCodec, junk: bytes, like: int) -> None:
    heads: list[bytes | Packet] = [b"", b"\x30\x00", b"\x00\x00\x08\x00E", b"\xb0\x00\x65\x58"]
    for protocol in codec.protocols:
        try:
            opened = codec.open(protocol, memoryview(bytes(heads[like]) + junk))
        except ProtocolError as reason:
            said = str(reason)
        else:
            said = f"GRE: {len(opened)} bytes" if len(opened) <= len(junk) + 5 else "more than there was"
        assert said.split(":")[0] in ("IP in IP", "EtherIP", "GRE")


@given(st.sampled_from(CODECS), st.binary(min_size=14, max_size=200))
@examples()
def test_what_is_sealed_opens(codec: TunnelCodec, data: bytes) -> None:
    frame = data if codec.kind == "ethernet" else FOUR + data
    protocol, packet = sealed(codec, frame)
    assert codec.open(protocol, memoryview(packet)) == frame
