"""IPv4 (RFC 791), IPv6 with extension headers (RFC 8200) and UDP (RFC 768, RFC 8200 section 8.1).

Where fields stand, how packets are read and built, and the Internet checksum (RFC 1071). Pure: bytes in,
values out; addresses are 4 or 16 bytes, offsets and lengths bytes. What is malformed raises `ProtocolError`
whose text is one of a fixed few, so that it can name a counter.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from tmelink.errors import ProtocolError
from tmelink.frame import Frame

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
AUTHENTICATION = 51
NO_NEXT_HEADER = 59
DESTINATION_OPTIONS = 60

IPV4_HEADER = 20
IPV6_HEADER = 40
NEXT_HEADER = 6
"""Where an IPv6 header names what follows it."""
FRAGMENT_HEADER = 8
UDP_HEADER = 8

MIN_MTU_V6 = 1280
"""The smallest MTU of an IPv6 link (RFC 8200 section 5)."""

MAX_PACKET = 65535
"""What IPv4's total length, and IPv6's payload length without jumbograms, can say."""

DEFAULT_TTL = 64
"""RFC 1700's recommended TTL; IPv6 hosts use the same as hop limit."""

MAX_EXTENSIONS = 8
"""RFC 8200 section 4.1 names seven places for extension headers; a longer chain only costs time."""

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000

_V4 = Struct("!BBHHHBBH4s4s")
_V6 = Struct("!IHBB16s16s")
_FRAGMENT = Struct("!BBHI")
_UDP = Struct("!HHHH")


# Checksums


def total(data: Frame, start: int = 0) -> int:
    """The ones' complement sum of `data` as 16-bit big-endian words, added to `start`.

    65536 is 1 modulo 65535, so the sum of the words is the whole number modulo 65535.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return (number + start) % 0xFFFF


def checksum(data: Frame, start: int = 0) -> int:
    """The Internet checksum of `data`, ready to be stored; `start` is a sum to go on from, as `pseudo`'s.

    Over data that holds its own right checksum it is 0.
    """
    sum_ = total(data, start)
    # The words' true sum is 0 only for data that is zero throughout, else 0xFFFF stands for 0.
    if sum_ == 0 and (start or any(data)):
        return 0
    return 0xFFFF - sum_


def pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum of the pseudo-header of UDP, TCP and ICMPv6, for addresses of either family."""
    return total(source + destination) + protocol + (length >> 16) + (length & 0xFFFF)


# IPv4


class IPv4(NamedTuple):
    """An IPv4 packet; `offset` is its payload's place in the whole datagram, `header` its header's length."""

    source: bytes
    destination: bytes
    protocol: int
    ttl: int
    tos: int
    identification: int
    dont_fragment: bool
    more_fragments: bool
    offset: int
    header: int
    payload: memoryview

    @property
    def is_fragment(self) -> bool:
        """Whether it is only a piece of a datagram."""
        return self.more_fragments or self.offset > 0


def parse_ipv4(packet: Frame) -> IPv4:
    """The packet at the start of `packet`; bytes beyond its total length are padding and left out."""
    if len(packet) < IPV4_HEADER:
        raise ProtocolError("IPv4: short packet")
    first, tos, length, identification, flags, ttl, protocol, _, source, destination = _V4.unpack_from(packet)
    header = (first & 15) * 4
    if first >> 4 != 4:
        raise ProtocolError("IPv4: other version")
    if header < IPV4_HEADER or header > length or length > len(packet):
        raise ProtocolError("IPv4: bad length")
    view = memoryview(packet)
    if total(view[:header]) != 0:
        raise ProtocolError("IPv4: bad checksum")
    offset = (flags & 0x1FFF) * 8
    if offset + length - header > MAX_PACKET - IPV4_HEADER:
        raise ProtocolError("IPv4: fragment beyond the largest datagram")
    return IPv4(
        source,
        destination,
        protocol,
        ttl,
        tos,
        identification,
        bool(flags & DONT_FRAGMENT),
        bool(flags & MORE_FRAGMENTS),
        offset,
        header,
        view[header:length],
    )


def build_ipv4(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: Frame,
    *,
    ttl: int = DEFAULT_TTL,
    tos: int = 0,
    identification: int = 0,
    dont_fragment: bool = False,
    more_fragments: bool = False,
    offset: int = 0,
    options: Frame = b"",
) -> bytes:
    """A packet with its header checksum; `options` must be padded to a multiple of 4 bytes, at most 40."""
    length = IPV4_HEADER + len(options)
    first = 0x40 | length // 4
    flags = (DONT_FRAGMENT if dont_fragment else 0) | (MORE_FRAGMENTS if more_fragments else 0) | offset // 8
    fields = (first, tos, length + len(payload), identification, flags, ttl, protocol)
    header = _V4.pack(*fields, 0, source, destination) + options
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return header + payload


# IPv6


class IPv6(NamedTuple):
    """An IPv6 packet; `payload` begins with the header that `next_header` names."""

    source: bytes
    destination: bytes
    next_header: int
    hop_limit: int
    traffic_class: int
    flow: int
    payload: memoryview


def parse_ipv6(packet: Frame) -> IPv6:
    """The packet at the start of `packet`; bytes beyond its payload length are padding and left out."""
    if len(packet) < IPV6_HEADER:
        raise ProtocolError("IPv6: short packet")
    first, length, next_header, hop_limit, source, destination = _V6.unpack_from(packet)
    if first >> 28 != 6:
        raise ProtocolError("IPv6: other version")
    if IPV6_HEADER + length > len(packet):
        raise ProtocolError("IPv6: bad length")
    payload = memoryview(packet)[IPV6_HEADER : IPV6_HEADER + length]
    return IPv6(source, destination, next_header, hop_limit, (first >> 20) & 0xFF, first & 0xFFFFF, payload)


def build_ipv6(
    source: bytes,
    destination: bytes,
    next_header: int,
    payload: Frame,
    *,
    hop_limit: int = DEFAULT_TTL,
    traffic_class: int = 0,
    flow: int = 0,
) -> bytes:
    """A packet; `payload` begins with the header that `next_header` names."""
    first = 6 << 28 | traffic_class << 20 | flow
    return _V6.pack(first, len(payload), next_header, hop_limit, source, destination) + payload


class ParameterProblem(ProtocolError):
    """An IPv6 packet that its receiver must refuse aloud: ICMPv6 type 4 `code`, `pointer` into the packet."""

    def __init__(self, reason: str, code: int, pointer: int, *, even_multicast: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.pointer = pointer
        self.even_multicast = even_multicast


class Fragment(NamedTuple):
    """An IPv6 fragment header; `next_header` is that of what it is a piece of."""

    next_header: int
    offset: int
    more: bool
    identification: int


class Upper(NamedTuple):
    """What stands behind the extension headers, up to the first fragment header where there is one.

    `at` is its offset in the packet, `named` the offset of the byte that names its protocol.
    """

    protocol: int
    at: int
    named: int
    payload: memoryview
    fragment: Fragment | None


def upper(packet: IPv6) -> Upper:
    """Walk the extension headers of a packet that is for this node.

    Raises `ProtocolError` for a broken chain, `ParameterProblem` for what must be answered.
    """
    payload, protocol = packet.payload, packet.next_header
    start = at = IPV6_HEADER
    named = NEXT_HEADER
    for _ in range(MAX_EXTENSIONS):
        rest = payload[at - start :]
        if protocol == FRAGMENT:
            if len(rest) < FRAGMENT_HEADER:
                raise ProtocolError("IPv6: short extension header")
            inner, _, bits, identification = _FRAGMENT.unpack_from(rest)
            fragment = Fragment(inner, bits & 0xFFF8, bool(bits & 1), identification)
            return Upper(protocol, at, named, rest[FRAGMENT_HEADER:], fragment)
        if protocol not in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, AUTHENTICATION):
            return Upper(protocol, at, named, rest, None)
        if protocol == HOP_BY_HOP and named != NEXT_HEADER:
            raise ParameterProblem("IPv6: hop-by-hop options not first", 1, named)
        if len(rest) < 8:
            raise ProtocolError("IPv6: short extension header")
        size = (rest[1] + 2) * 4 if protocol == AUTHENTICATION else (rest[1] + 1) * 8
        if size > len(rest):
            raise ProtocolError("IPv6: short extension header")
        if protocol == ROUTING and rest[3]:
            # Segments left for a type that is not known here, or for the forbidden type 0 (RFC 5095).
            raise ParameterProblem("IPv6: routing header", 0, at + 2)
        if protocol in (HOP_BY_HOP, DESTINATION_OPTIONS):
            _options(rest[:size], at)
        protocol, named = rest[0], at
        at += size
    raise ProtocolError("IPv6: too many extension headers")


def _options(header: memoryview, at: int) -> None:
    """Refuse a header with an option that says what to do with packets by nodes that do not know it."""
    index = 2
    while index < len(header):
        kind = header[index]
        if kind == 0:
            index += 1
            continue
        if index + 2 > len(header) or index + 2 + header[index + 1] > len(header):
            raise ProtocolError("IPv6: bad option")
        # Router alert (RFC 2711) has action 00 and is skipped with the others of that kind.
        if kind >> 6 == 1:
            raise ProtocolError("IPv6: unknown option")
        if kind >> 6:
            raise ParameterProblem("IPv6: unknown option", 2, at + index, even_multicast=kind >> 6 == 2)
        index += 2 + header[index + 1]


def build_fragment_header(fragment: Fragment) -> bytes:
    """The eight bytes of an IPv6 fragment header."""
    bits = fragment.offset | fragment.more
    return _FRAGMENT.pack(fragment.next_header, 0, bits, fragment.identification)


# UDP


class UdpHeader(NamedTuple):
    """A UDP datagram."""

    source: int
    destination: int
    payload: memoryview


def parse_udp(data: memoryview, source: bytes, destination: bytes) -> UdpHeader:
    """The datagram in an IP packet's payload, its checksum verified with the packet's addresses."""
    if len(data) < UDP_HEADER:
        raise ProtocolError("UDP: short datagram")
    source_port, destination_port, length, check = _UDP.unpack_from(data)
    if not UDP_HEADER <= length <= len(data):
        raise ProtocolError("UDP: bad length")
    if check == 0 and len(source) == 16:
        raise ProtocolError("UDP: no checksum")
    if check and total(data[:length], pseudo(source, destination, UDP, length)):
        raise ProtocolError("UDP: bad checksum")
    return UdpHeader(source_port, destination_port, data[UDP_HEADER:length])


def build_udp(
    source: bytes, source_port: int, destination: bytes, destination_port: int, data: Frame
) -> bytes:
    """A datagram from port to port of two addresses of one family, with its checksum."""
    length = UDP_HEADER + len(data)
    start = pseudo(source, destination, UDP, length) + source_port + destination_port + length
    check = checksum(data, start) or 0xFFFF
    return _UDP.pack(source_port, destination_port, length, check) + data
