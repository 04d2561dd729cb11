"""Hosts and routers report multicast groups: IGMP (RFC 2236, RFC 3376) and MLD (RFC 2710, RFC 3810).

For a switch that listens in: groups are MAC addresses, as frames have them. Builds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from tmelink import ethernet, ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame

IGMP: Final = 2
"""IGMP's number as an IP protocol."""

_QUERY4, _REPORT4, _REPORT4_V2, _LEAVE4, _REPORT4_V3 = 0x11, 0x12, 0x16, 0x17, 0x22
_QUERY6, _REPORT6, _DONE6, _REPORT6_V2 = 130, 131, 132, 143
_MOST_RECORDS: Final = 128
"""Groups of one report that are read; more fit into no Ethernet frame with IPv4, and 72 with IPv6."""

_LEAVES: Final = frozenset((1, 3))
"""MODE_IS_INCLUDE and CHANGE_TO_INCLUDE: without sources nobody listens any more (RFC 3376, 4.2.12)."""
_BLOCKS: Final = 6
"""BLOCK_OLD_SOURCES: fewer sources, and the group is still wanted."""

_RECORD: Final = Struct("!BBH")


class GroupMessage(NamedTuple):
    """A query, with who may have sent it (`router` where its source is an address), or what a host wants."""

    version: int
    query: bool
    router: bool = False
    joined: tuple[bytes, ...] = ()
    left: tuple[bytes, ...] = ()


def parse(frame: Frame) -> GroupMessage | None:
    """The message in a frame, tagged or not; None for any other frame, and for a broken message."""
    try:
        header = ethernet.parse(frame)
        payload = memoryview(frame)[header.payload :]
        if header.ethertype == ethernet.IPV4:
            return _igmp(payload)
        if header.ethertype == ethernet.IPV6:
            return _mld(payload)
    except ProtocolError:
        pass
    return None


def _igmp(payload: memoryview) -> GroupMessage | None:
    if len(payload) < ip.IPV4_HEADER or payload[9] != IGMP:
        return None
    packet = ip.parse_ipv4(payload)
    message = packet.payload
    if packet.is_fragment or len(message) < 8 or ip.total(message):
        return None
    kind, group = message[0], ethernet.multicast_ipv4(bytes(message[4:8]))
    if kind == _QUERY4:
        return GroupMessage(4, True, router=any(packet.source))
    if kind in (_REPORT4, _REPORT4_V2):
        return GroupMessage(4, False, joined=(group,))
    if kind == _LEAVE4:
        return GroupMessage(4, False, left=(group,))
    return _wants(4, message) if kind == _REPORT4_V3 else None


def _mld(payload: memoryview) -> GroupMessage | None:
    if len(payload) < ip.IPV6_HEADER or payload[ip.NEXT_HEADER] != ip.HOP_BY_HOP:
        return None
    packet = ip.parse_ipv6(payload)
    found = ip.upper(packet)
    message = found.payload
    if found.protocol != ip.ICMPV6 or found.fragment is not None or len(message) < 8 or packet.hop_limit != 1:
        return None
    if ip.total(message, ip.pseudo(packet.source, packet.destination, ip.ICMPV6, len(message))):
        return None
    kind = message[0]
    if kind == _REPORT6_V2:
        return _wants(6, message)
    if kind not in (_QUERY6, _REPORT6, _DONE6) or len(message) < 24:
        return None
    group = ethernet.multicast_ipv6(bytes(message[8:24]))
    if kind == _QUERY6:
        return GroupMessage(6, True, router=any(packet.source))
    return (
        GroupMessage(6, False, joined=(group,)) if kind == _REPORT6 else GroupMessage(6, False, left=(group,))
    )


def _wants(version: int, message: memoryview) -> GroupMessage:
    """A report of IGMPv3 or MLDv2."""
    joined: list[bytes] = []
    left: list[bytes] = []
    for kind, sources, group in _records(message, 4 if version == 4 else 16):
        mac = ethernet.multicast_ipv4(group) if version == 4 else ethernet.multicast_ipv6(group)
        if kind in _LEAVES and not sources:
            left.append(mac)
        elif kind != _BLOCKS:
            joined.append(mac)
    return GroupMessage(version, False, joined=tuple(joined), left=tuple(left))


def _records(message: memoryview, size: int) -> Iterator[tuple[int, int, bytes]]:
    at, count = 8, min(int.from_bytes(message[6:8], "big"), _MOST_RECORDS)
    for _ in range(count):
        if at + _RECORD.size + size > len(message):
            return  # The rest is cut off.
        kind, extra, sources = _RECORD.unpack_from(message, at)
        yield kind, sources, bytes(message[at + _RECORD.size : at + _RECORD.size + size])
        at += _RECORD.size + size * (1 + sources) + 4 * extra
