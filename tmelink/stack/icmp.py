"""ICMP (RFC 792) and ICMPv6 (RFC 4443): echo and errors, read and built, and how often errors may be sent.

Pure. The two protocols share their layout: type, code, checksum, four bytes whose meaning the type gives,
then data; they differ in numbers and in that ICMPv6's checksum covers a pseudo-header.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from tmelink import ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame

HEADER = 8

ECHO_REPLY = 0
UNREACHABLE = 3
ECHO = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12

NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4

ERROR_TYPES = frozenset((UNREACHABLE, 4, 5, TIME_EXCEEDED, PARAMETER_PROBLEM))
"""Error types, with source quench and redirect among them (RFC 1122 section 3.2.2)."""

TTL_EXCEEDED = 0
REASSEMBLY_EXCEEDED = 1

UNREACHABLE_V6 = 1
TOO_BIG_V6 = 2
TIME_EXCEEDED_V6 = 3
PARAMETER_PROBLEM_V6 = 4
ECHO_V6 = 128
ECHO_REPLY_V6 = 129

NO_ROUTE_V6 = 0
ADDRESS_UNREACHABLE_V6 = 3
PORT_UNREACHABLE_V6 = 4

QUOTE_V4 = 576 - ip.IPV4_HEADER - HEADER
"""Bytes of the offending packet in an error: the whole error fits into 576 bytes (RFC 1812, 4.3.2.3)."""

QUOTE_V6 = 1280 - ip.IPV6_HEADER - HEADER
"""The whole error fits into IPv6's smallest MTU (RFC 4443 section 3)."""

ERROR_BURST = 20
ERROR_RATE = 10.0
"""Errors sent at once, and then per second (RFC 4443 section 2.4 f): enough for traceroute, no amplifier."""

_ICMP = Struct("!BBHHH")

ERRORS_V4 = {
    (UNREACHABLE, NET_UNREACHABLE): "network unreachable",
    (UNREACHABLE, HOST_UNREACHABLE): "host unreachable",
    (UNREACHABLE, PROTOCOL_UNREACHABLE): "protocol unreachable",
    (UNREACHABLE, PORT_UNREACHABLE): "port unreachable",
    (UNREACHABLE, FRAGMENTATION_NEEDED): "fragmentation needed",
    (UNREACHABLE, 9): "network prohibited",
    (UNREACHABLE, 10): "host prohibited",
    (UNREACHABLE, 13): "communication prohibited",
    (TIME_EXCEEDED, TTL_EXCEEDED): "time to live exceeded",
    (TIME_EXCEEDED, REASSEMBLY_EXCEEDED): "reassembly time exceeded",
}
ERRORS_V6 = {
    (UNREACHABLE_V6, NO_ROUTE_V6): "no route",
    (UNREACHABLE_V6, 1): "communication prohibited",
    (UNREACHABLE_V6, 2): "beyond scope of source address",
    (UNREACHABLE_V6, ADDRESS_UNREACHABLE_V6): "address unreachable",
    (UNREACHABLE_V6, PORT_UNREACHABLE_V6): "port unreachable",
    (TOO_BIG_V6, 0): "packet too big",
    (TIME_EXCEEDED_V6, 0): "hop limit exceeded",
    (TIME_EXCEEDED_V6, 1): "reassembly time exceeded",
    (PARAMETER_PROBLEM_V6, 0): "parameter problem",
    (PARAMETER_PROBLEM_V6, 1): "unknown next header",
    (PARAMETER_PROBLEM_V6, 2): "unknown option",
}
"""The meaning of an error's (type, code) in words."""


class Icmp(NamedTuple):
    """A message; `first` and `second` are the 16-bit halves of its second word, `data` all after it."""

    type: int
    code: int
    first: int
    second: int
    data: memoryview


class Echo(NamedTuple):
    """An echo request or reply; `data` its payload."""

    identifier: int
    sequence: int
    data: Frame


def parse(message: memoryview, start: int = 0) -> Icmp:
    """A message whose checksum is right; `start` is the pseudo-header's sum for ICMPv6, 0 for ICMP."""
    name = "ICMPv6" if start else "ICMP"
    if len(message) < HEADER:
        raise ProtocolError(f"{name}: short message")
    if ip.total(message, start) != 0:
        raise ProtocolError(f"{name}: bad checksum")
    kind, code, _, first, second = _ICMP.unpack_from(message)
    return Icmp(kind, code, first, second, message[HEADER:])


def build(kind: int, code: int, first: int, second: int, data: Frame, start: int = 0) -> bytes:
    """A message with its checksum; `start` as in `parse`."""
    check = ip.checksum(data, start + (kind << 8 | code) + first + second)
    return _ICMP.pack(kind, code, check, first, second) + data


def pseudo_v6(source: bytes, destination: bytes, length: int) -> int:
    """The sum of the pseudo-header of an ICMPv6 message of `length` bytes."""
    return ip.pseudo(source, destination, ip.ICMPV6, length)


def build_v6(
    source: bytes, destination: bytes, kind: int, code: int, first: int, second: int, data: Frame
) -> bytes:
    """An ICMPv6 message between two addresses, with its checksum."""
    start = pseudo_v6(source, destination, HEADER + len(data))
    return build(kind, code, first, second, data, start)


class Quoted(NamedTuple):
    """The echo request that an ICMP error is about."""

    source: bytes
    destination: bytes
    identifier: int
    sequence: int


def quoted_v4(packet: Frame) -> Quoted | None:
    """The echo request at the start of an ICMP error's data, which may end after its first 8 bytes."""
    if len(packet) < ip.IPV4_HEADER + HEADER or packet[0] >> 4 != 4:
        return None
    header = (packet[0] & 15) * 4
    if packet[9] != ip.ICMP or len(packet) < header + HEADER or packet[header] != ECHO:
        return None
    if int.from_bytes(packet[6:8], "big") & 0x1FFF:
        return None
    _, _, _, identifier, sequence = _ICMP.unpack_from(packet, header)
    return Quoted(bytes(packet[12:16]), bytes(packet[16:20]), identifier, sequence)


def quoted_v6(packet: Frame) -> Quoted | None:
    """The echo request at the start of an ICMPv6 error's data, behind a first fragment's header too."""
    if len(packet) < ip.IPV6_HEADER + HEADER or packet[0] >> 4 != 6:
        return None
    at, protocol = ip.IPV6_HEADER, packet[6]
    if protocol == ip.FRAGMENT:
        if int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF8:
            return None
        protocol = packet[at]
        at += ip.FRAGMENT_HEADER
    if protocol != ip.ICMPV6 or len(packet) < at + HEADER or packet[at] != ECHO_V6:
        return None
    _, _, _, identifier, sequence = _ICMP.unpack_from(packet, at)
    return Quoted(bytes(packet[8:24]), bytes(packet[24:40]), identifier, sequence)


class Allowance:
    """A token bucket: `burst` at once, then `rate` per second."""

    def __init__(self, burst: int = ERROR_BURST, rate: float = ERROR_RATE) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Whether another one is allowed at `now`; if so, it is counted."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
