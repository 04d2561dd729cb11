"""TCP's maximum segment size, lowered in the SYNs that pass so that segments fit a link's path.

OpenVPN's `--mssfix`. Knows one frame at a time; which size fits is the link's to say.
"""

from __future__ import annotations

import struct

from tmelink.frame import Frame
from tmelink.ip import TCP
from tmelink.offload.checksum import TCP_FIELD
from tmelink.offload.headers import SYN, locate

_WORD = struct.Struct("!H")


def clamp_mss(frame: Frame, mss4: int, mss6: int, *, ip: bool = False) -> Frame:
    """`frame`, with a TCP SYN's maximum segment size lowered to `mss4` over IPv4, `mss6` over IPv6.

    Payload bytes a segment, TCP options included (RFC 9293 section 3.7.1); with `ip`, `frame` begins with
    its IP header. Its checksum must be complete. The same object where nothing changes, else a copy.
    """
    if not may_be_syn(frame, ip=ip):
        return frame
    at = locate(frame, ip)
    if at is None or at.protocol != TCP:
        return frame
    transport = at.transport
    if not frame[transport + 13] & SYN:
        return frame
    field = _mss_field(frame, transport + 20, at.payload)
    most = mss4 if at.version == 4 else mss6
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


def may_be_syn(frame: Frame, *, ip: bool = False) -> bool:
    """A first look at what `clamp_mss` might change: most frames are no SYNs, and this is all they cost."""
    network = 0 if ip else 14
    if len(frame) < network + 40:
        return False
    first = frame[network]
    if first == 0x45 and (ip or (frame[12] == 8 and not frame[13])):
        return frame[network + 9] == TCP and bool(frame[network + 33] & SYN)
    if first >> 4 == 6 and (ip or frame[12] == 0x86) and frame[network + 6] == TCP:
        return len(frame) >= network + 60 and bool(frame[network + 53] & SYN)
    return True


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
