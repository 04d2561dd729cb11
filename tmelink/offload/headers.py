"""Where the headers of a frame lie: Ethernet with up to two VLAN tags, IPv4 or IPv6, then TCP or UDP.

Believes no length that the bytes at hand do not bear out. What headers mean is `tmelink.ethernet`'s and
`tmelink.ip`'s: this is the quick look that the data path takes at a frame, without an object for each header.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tmelink import ethernet
from tmelink.frame import Frame
from tmelink.ip import DESTINATION_OPTIONS, HOP_BY_HOP, IPV6_HEADER, MAX_EXTENSIONS, ROUTING, TCP, UDP

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
"""TCP flags, RFC 9293 section 3.1."""

_WORD = struct.Struct("!H")
_LAST_TAG = ethernet.HEADER + ethernet.MAX_TAGS * ethernet.VLAN_TAG
_TAGS = (ethernet.VLAN, ethernet.SERVICE_VLAN)
_EXTENSIONS = (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS)
"""What stands before TCP and UDP as clear text; a fragment header makes it no whole packet."""


class Headers(NamedTuple):
    """Offsets, in bytes from the frame's first, of one unfragmented TCP or UDP packet.

    `version` is 4 or 6 and `protocol` TCP or UDP; the IP header is at `network`, the TCP or UDP header at
    `transport`, its payload at `payload`, and the IP packet ends before `end`, which is in the frame.
    """

    version: int
    protocol: int
    network: int
    transport: int
    payload: int
    end: int


def locate(frame: Frame, ip: bool = False) -> Headers | None:
    """The headers of `frame` (with `ip`, one that begins with its IP header).

    None for everything else: other protocols, fragments, truncated frames, frames with a wrong length, and
    IPv6 packets that have not reached a routing header's last address, which their checksum covers.
    """
    length = len(frame)
    network = 0
    if not ip:
        if length < 34:
            return None
        network = 14
        ethertype = frame[12] << 8 | frame[13]
        while ethertype in _TAGS and network < _LAST_TAG:
            ethertype = frame[network + 2] << 8 | frame[network + 3]
            network += 4
        if ethertype == ethernet.IPV4:
            version = 4
        elif ethertype == ethernet.IPV6:
            version = 6
        else:
            return None
    if length < network + 20:
        return None
    first = frame[network]
    if ip:
        version = first >> 4
    elif first >> 4 != version:
        return None
    if version == 4:
        transport = network + ((first & 15) << 2)
        if transport < network + 20 or frame[network + 6] & 0x3F or frame[network + 7]:
            return None
        end = network + (frame[network + 2] << 8 | frame[network + 3])
        protocol = frame[network + 9]
    elif version == 6:
        transport = network + 40
        if length < transport:
            return None
        end = transport + (frame[network + 4] << 8 | frame[network + 5])
        protocol = frame[network + 6]
        if protocol in _EXTENSIONS:
            behind = _behind_extensions(frame, protocol, transport)
            if behind is None:
                return None
            protocol, transport = behind
    else:
        return None
    if end > length:
        return None
    if protocol == TCP:
        if transport + 20 > end:
            return None
        size = frame[transport + 12] >> 4 << 2
        if size < 20:
            return None
    elif protocol == UDP:
        size = 8
    else:
        return None
    payload = transport + size
    if payload > end:
        return None
    return Headers(version, protocol, network, transport, payload, end)


def set_lengths(buffer: bytearray, base: int, size: int, at: Headers) -> None:
    """Write the IP length, and the UDP length, of the frame of `size` bytes that begins at `base`."""
    if at.version == 4:
        _WORD.pack_into(buffer, base + at.network + 2, size - at.network)
    else:
        _WORD.pack_into(buffer, base + at.network + 4, size - at.network - IPV6_HEADER)
    if at.protocol == UDP:
        _WORD.pack_into(buffer, base + at.transport + 4, size - at.transport)


def _behind_extensions(frame: Frame, protocol: int, at: int) -> tuple[int, int] | None:
    for _ in range(MAX_EXTENSIONS + 1):
        if protocol not in _EXTENSIONS:
            return protocol, at
        if at + 8 > len(frame) or (protocol == ROUTING and frame[at + 3]):
            return None
        protocol, at = frame[at], at + (frame[at + 1] + 1 << 3)
    return None
