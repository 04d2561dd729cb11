"""IPv4, IPv6 and UDP, against scapy and against a plain form of the checksum."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)

from tests.support.fuzzing import examples
from tmelink import ip
from tmelink.errors import ProtocolError

A4, B4 = ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed
A6, B6 = ip_address("fd00::1").packed, ip_address("fd00::2").packed


def plain_checksum(data: bytes) -> int:
    """RFC 1071 as it is written: words, carries folded back, complement."""
    data += bytes(len(data) % 2)
    words: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return 0xFFFF - words


@examples()
@given(
    st.one_of(st.binary(max_size=100), st.sampled_from([b"\xff\xff", b"\xff" * 9, bytes(8), b"\xff\xfe\0\1"]))
)
def test_checksum(data: bytes) -> None:
    assert ip.checksum(data) == plain_checksum(data)
    assert ip.checksum(memoryview(data)) == plain_checksum(data)


@examples()
@given(st.binary(max_size=40).filter(lambda data: len(data) % 2 == 0), st.binary(max_size=41))
def test_checksum_goes_on_from_a_sum(start: bytes, data: bytes) -> None:
    assert ip.checksum(data, sum(struct.unpack(f"!{len(start) // 2}H", start))) == plain_checksum(
        start + data
    )


@examples()
@given(st.binary(min_size=2, max_size=60).filter(lambda data: len(data) % 2 == 0 and any(data)))
def test_data_with_its_checksum_sums_to_nothing(data: bytes) -> None:
    assert ip.total(data + ip.checksum(data).to_bytes(2, "big")) == 0


def test_rfc1071_example() -> None:
    assert ip.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


# IPv4


def test_build_ipv4_is_what_scapy_builds() -> None:
    for length in (0, 1, 1000):
        theirs = IP(src="10.0.0.1", dst="10.0.0.2", proto=99, ttl=9, tos=3, id=77, flags="DF") / bytes(length)
        built = ip.build_ipv4(A4, B4, 99, bytes(length), ttl=9, tos=3, identification=77, dont_fragment=True)
        assert built == bytes(theirs)


def test_parse_ipv4_reads_scapy() -> None:
    packet = bytes(
        IP(src="10.0.0.1", dst="10.0.0.2", proto=99, ttl=9, tos=3, id=7, flags="MF", frag=4) / b"abc"
    )
    parsed = ip.parse_ipv4(packet + b"padding")
    assert parsed[:-1] == (A4, B4, 99, 9, 3, 7, False, True, 32, 20)
    assert bytes(parsed.payload) == b"abc"
    assert parsed.is_fragment
    for fields, expected in (({"more_fragments": True}, True), ({"offset": 8}, True), ({}, False)):
        assert ip.parse_ipv4(ip.build_ipv4(A4, B4, 99, b"", **fields)).is_fragment == expected


def test_parse_ipv4_skips_options() -> None:
    options = bytes.fromhex("94040000")
    parsed = ip.parse_ipv4(ip.build_ipv4(A4, B4, 1, b"data", options=options))
    assert parsed.header == 24
    assert bytes(parsed.payload) == b"data"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p[:19], "IPv4: short packet"),
        (lambda p: b"\x65" + p[1:], "IPv4: other version"),
        (lambda p: b"\x44" + p[1:], "IPv4: bad length"),
        (lambda p: b"\x4f" + p[1:], "IPv4: bad length"),
        (lambda p: p[:-1], "IPv4: bad length"),
        (lambda p: p[:8] + b"\x01" + p[9:], "IPv4: bad checksum"),
    ],
)
def test_parse_ipv4_refuses(change, reason) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProtocolError, match=reason):
        ip.parse_ipv4(change(ip.build_ipv4(A4, B4, 17, bytes(10))))


def test_parse_ipv4_refuses_a_piece_beyond_the_largest_datagram() -> None:
    with pytest.raises(ProtocolError, match="beyond"):
        ip.parse_ipv4(ip.build_ipv4(A4, B4, 1, bytes(4), offset=65512))
    assert ip.parse_ipv4(ip.build_ipv4(A4, B4, 1, bytes(3), offset=65512)).offset == 65512


# IPv6


def test_build_ipv6_is_what_scapy_builds() -> None:
    theirs = IPv6(src="fd00::1", dst="fd00::2", nh=99, hlim=9, tc=0xAB, fl=0x12345) / b"abc"
    assert ip.build_ipv6(A6, B6, 99, b"abc", hop_limit=9, traffic_class=0xAB, flow=0x12345) == bytes(theirs)


def test_parse_ipv6_reads_scapy() -> None:
    packet = bytes(IPv6(src="fd00::1", dst="fd00::2", nh=99, hlim=9, tc=0xAB, fl=0x12345) / b"abc")
    parsed = ip.parse_ipv6(packet + b"padding")
    assert parsed[:-1] == (A6, B6, 99, 9, 0xAB, 0x12345)
    assert bytes(parsed.payload) == b"abc"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (bytes(39), "IPv6: short packet"),
        (b"\x40" + bytes(39), "IPv6: other version"),
        (ip.build_ipv6(A6, B6, 17, bytes(10))[:-1], "IPv6: bad length"),
    ],
)
def test_parse_ipv6_refuses(packet: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        ip.parse_ipv6(packet)


def upper(packet) -> ip.Upper:  # type: ignore[no-untyped-def]
    return ip.upper(ip.parse_ipv6(bytes(packet)))


def test_upper_walks_the_chain_that_scapy_builds() -> None:
    chain = (
        IPv6(src="fd00::1", dst="fd00::2")
        / IPv6ExtHdrHopByHop(options=[RouterAlert()])
        / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")])
        / IPv6ExtHdrRouting(segleft=0, type=3)
        / UDP(sport=1, dport=2)
        / b"abc"
    )
    found = upper(chain)
    assert found.protocol == ip.UDP
    assert bytes(found.payload) == bytes(chain[UDP])
    assert bytes(chain)[found.at :] == bytes(chain[UDP])
    assert bytes(chain)[found.named] == ip.UDP
    assert found.fragment is None


def test_upper_stops_at_a_fragment() -> None:
    packet = IPv6() / IPv6ExtHdrFragment(nh=17, offset=185, m=1, id=0xDEADBEEF) / b"abc"
    found = upper(packet)
    assert found.protocol == ip.FRAGMENT
    assert found.fragment == ip.Fragment(17, 1480, True, 0xDEADBEEF)
    assert bytes(found.payload) == b"abc"
    assert ip.build_fragment_header(found.fragment) == bytes(packet)[40:48]


def test_upper_walks_an_authentication_header() -> None:
    # Its length counts words of four bytes beyond the first two (RFC 4302 section 2.2).
    authentication = bytes((ip.UDP, 4)) + bytes(22)
    found = upper(ip.build_ipv6(A6, B6, ip.AUTHENTICATION, authentication + b"abc"))
    assert (found.protocol, found.at, bytes(found.payload)) == (ip.UDP, 64, b"abc")


def header(next_header: int, *options: int) -> bytes:
    """An options header with as much zero padding as it needs."""
    body = bytes(options) + bytes(-(len(options) + 2) % 8)
    return bytes((next_header, (len(body) + 2) // 8 - 1)) + body


@pytest.mark.parametrize(
    ("first", "payload", "reason"),
    [
        (ip.FRAGMENT, bytes(7), "short extension"),
        (ip.ROUTING, bytes(7), "short extension"),
        (ip.DESTINATION_OPTIONS, b"\x3b\x02" + bytes(8), "short extension"),
        (ip.AUTHENTICATION, b"\x3b\x06" + bytes(20), "short extension"),
        (ip.DESTINATION_OPTIONS, header(59, 1, 5, 0), "bad option"),
        (ip.DESTINATION_OPTIONS, header(59, 1, 1, 0, 0, 0, 1), "bad option"),
        (ip.DESTINATION_OPTIONS, header(59, 0x40, 0), "unknown option"),
        (ip.DESTINATION_OPTIONS, header(60) * 9, "too many"),
    ],
)
def test_upper_refuses(first: int, payload: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        upper(ip.build_ipv6(A6, B6, first, payload))


@pytest.mark.parametrize(
    ("first", "payload", "code", "pointer", "even_multicast"),
    [
        (ip.DESTINATION_OPTIONS, header(59, 1, 0, 0x80, 0), 2, 44, True),
        (ip.DESTINATION_OPTIONS, header(59, 0xC0, 0), 2, 42, False),
        (ip.DESTINATION_OPTIONS, header(59, 0, 0, 0xC0, 0), 2, 44, False),
        (ip.DESTINATION_OPTIONS, header(ip.HOP_BY_HOP) + header(59), 1, 40, False),
        (ip.ROUTING, b"\x3b\x00\x00\x01" + bytes(4), 0, 42, False),
    ],
)
def test_upper_says_what_must_be_answered(
    first: int, payload: bytes, code: int, pointer: int, even_multicast: bool
) -> None:
    with pytest.raises(ip.ParameterProblem) as caught:
        upper(ip.build_ipv6(A6, B6, first, payload))
    problem = caught.value
    assert (problem.code, problem.pointer, problem.even_multicast) == (code, pointer, even_multicast)


# UDP


@pytest.mark.parametrize("data", [b"", b"x", b"abcdef" * 100])
def test_udp_is_what_scapy_builds(data: bytes) -> None:
    for theirs, a, b in (
        (IP(src="10.0.0.1", dst="10.0.0.2"), A4, B4),
        (IPv6(src="fd00::1", dst="fd00::2"), A6, B6),
    ):
        datagram = bytes((type(theirs)(bytes(theirs / UDP(sport=1000, dport=7) / data)))[UDP])
        assert ip.build_udp(a, 1000, b, 7, data) == datagram
        parsed = ip.parse_udp(memoryview(datagram + b"padding"), a, b)
        assert parsed[:2] == (1000, 7)
        assert bytes(parsed.payload) == data


def test_udp_checksum_zero_is_sent_as_ones() -> None:
    # The payload is chosen so that the sum is complete and the checksum would be 0, which means "none".
    plain = ip.build_udp(A4, 1, B4, 7, bytes(2))
    datagram = ip.build_udp(A4, 1, B4, 7, plain[6:8])
    assert datagram[6:8] == b"\xff\xff"
    assert ip.parse_udp(memoryview(datagram), A4, B4).destination == 7


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (bytes(7), "short datagram"),
        (b"\0\1\0\7\0\7\0\0", "bad length"),
        (b"\0\1\0\7\0\x09\0\0", "bad length"),
        (b"\0\1\0\7\0\x08\0\1", "bad checksum"),
    ],
)
def test_udp_refuses(datagram: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        ip.parse_udp(memoryview(datagram), A4, B4)


def test_udp_without_checksum_is_for_ipv4_only() -> None:
    datagram = memoryview(b"\0\1\0\7\0\x08\0\0")
    assert ip.parse_udp(datagram, A4, B4).source == 1
    with pytest.raises(ProtocolError, match="no checksum"):
        ip.parse_udp(datagram, A6, B6)


# Anything at all

SCRAPS = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [header(60), header(0), header(44), header(17, 1, 0), b"\x2c\0\0\1\0\0\0\0", b"\x33\4"]
        ),
    ),
    max_size=8,
).map(b"".join)


@examples(500)
@given(SCRAPS, st.integers(0, 255))
def test_any_chain_is_walked_or_refused(payload: bytes, first: int) -> None:
    try:
        found = upper(ip.build_ipv6(A6, B6, first, payload))
    except ProtocolError:
        return
    assert 40 <= found.at <= 40 + len(payload)


@examples(300)
@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    for attempt in (
        lambda: ip.parse_ipv4(data),
        lambda: ip.parse_ipv6(data),
        lambda: ip.parse_udp(memoryview(data), A4, B4),
        lambda: ip.parse_udp(memoryview(data), A6, B6),
    ):
        try:
            attempt()
        except ProtocolError:
            pass
