"""TCP's maximum segment size, lowered in the SYNs that pass so that segments fit a link's path.

OpenVPN's `--mssfix`. Knows one frame at a time; which size fits is the link's to say.
"""

from __future__ import annotations

import struct

from tmelink import ethernet
from tmelink.frame import Frame
from tmelink.ip import TCP
from tmelink.offload.checksum import TCP_FIELD
from tmelink.offload.headers import SYN, locate

MAX_TAGS = 8
"""The most VLAN tags before a SYN: a provider's, a customer's and some of nested labs."""
LONGEST_SYN = 200
"""A TCP segment that opens a connection: headers of Ethernet, two tags, IPv6, TCP with all its options, and
some. Anything longer is not searched for an MSS."""

_WORD = struct.Struct("!H")
_TAGS = (ethernet.VLAN, ethernet.SERVICE_VLAN, 0x9100)
"""Those of IEEE 802.1Q, and the one that QinQ had before it."""

_PPPOE = struct.Struct("!HBBHHH")
"""Ethertype, version and type, code, session, length, PPP protocol (RFC 2516 section 4)."""
_PPPOE_SESSION = 0x8864
_PPPOE_BYTES = 8
_PPP_IP = (0x0021, 0x0057)
"""IPv4 and IPv6 (RFC 1332, RFC 5072)."""


def clamp_mss(frame: Frame, mss4: int, mss6: int, *, ip: bool = False) -> Frame:
    """`frame`, with a TCP SYN's maximum segment size lowered to `mss4` over IPv4, `mss6` over IPv6.

    Payload bytes a segment, TCP options included (RFC 9293 section 3.7.1); with `ip`, `frame` begins with
    its IP header. In PPPoE it is lowered by that's own 8 bytes besides. Its checksum must be complete. The
    same object where nothing changes, else a copy.
    """
    if not may_be_syn(frame, ip=ip):
        return frame
    at = locate(frame, ip)
    base = less = 0
    if at is None and not ip:
        base, less = _behind_layers(frame)
        at = locate(frame[base:], True) if base else None
    if at is None or at.protocol != TCP:
        return frame
    transport = base + at.transport
    if not frame[transport + 13] & SYN:
        return frame
    field = _mss_field(frame, transport + 20, base + at.payload)
    most = (mss4 if at.version == 4 else mss6) - less
    if field is None:
        return frame
    (mss,) = _WORD.unpack_from(frame, field)
    if mss <= most:
        return frame
    clamped = bytearray(frame)
    _WORD.pack_into(clamped, field, most)
    # RFC 1624: the checksum is the complement of a sum that falls by what the option does; in a word that
    # the option straddles, which is the sum's bytes swapped, 256 times that.
    difference = mss - most
    if field - transport & 1:
        difference <<= 8
    (check,) = _WORD.unpack_from(frame, transport + TCP_FIELD)
    _WORD.pack_into(clamped, transport + TCP_FIELD, (check + difference) % 0xFFFF)
    return clamped


def clamp_mss_to(frame: Frame, mtu: int, *, ip: bool = False) -> Frame:
    """The same for a path that carries IP packets of `mtu` bytes; headers without options are reckoned."""
    if len(frame) > LONGEST_SYN:
        return frame
    return clamp_mss(frame, mtu - 40, mtu - 60, ip=ip)


def may_be_syn(frame: Frame, *, ip: bool = False) -> bool:
    """A first look at what `clamp_mss` might change: most frames are not SYNs, and this is all they cost."""
    network = 0 if ip else 14
    if len(frame) < network + 40:
        return False
    if not ip and frame[12] == 0x81 and not frame[13]:
        network += ethernet.VLAN_TAG
        if len(frame) < network + 40:
            return False
    first = frame[network]
    if first == 0x45 and (ip or (frame[network - 2] == 8 and not frame[network - 1])):
        return frame[network + 9] == TCP and bool(frame[network + 33] & SYN)
    if first >> 4 == 6 and (ip or frame[network - 2] == 0x86) and frame[network + 6] == TCP:
        return len(frame) >= network + 60 and bool(frame[network + 53] & SYN)
    return True


def _behind_layers(frame: Frame) -> tuple[int, int]:
    """Where IP begins behind tags and PPPoE, and the bytes of the latter; 0 if it does not."""
    at = 12
    for _ in range(MAX_TAGS + 1):
        if at + 2 > len(frame):
            return 0, 0
        (ethertype,) = _WORD.unpack_from(frame, at)
        if ethertype not in _TAGS:
            break
        at += ethernet.VLAN_TAG
    if ethertype in (ethernet.IPV4, ethernet.IPV6):
        return at + 2, 0
    if ethertype != _PPPOE_SESSION or at + _PPPOE.size > len(frame):
        return 0, 0
    _, kind, code, _, _, protocol = _PPPOE.unpack_from(frame, at)
    if kind != 0x11 or code != 0 or protocol not in _PPP_IP:
        return 0, 0
    return at + _PPPOE.size, _PPPOE_BYTES


def _mss_field(frame: Frame, at: int, end: int) -> int | None:
    while at + 4 <= end:
        kind = frame[at]
        if kind == 0:
            return None
        if kind == 1:
            at += 1
            continue
        length = frame[at + 1]
        if kind == 2:
            return at + 2 if length == 4 else None
        if length < 2:
            return None
        at += length
    return None
