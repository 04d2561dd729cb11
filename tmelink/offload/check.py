"""Whether a label says of a super-frame what the frame itself bears out.

A label that a peer sent is believed in nothing that the kernel, or whoever cuts the frame, would act upon.
"""

from __future__ import annotations

import struct

from tmelink.frame import Frame, Gso
from tmelink.ip import TCP, UDP
from tmelink.offload.checksum import TCP_FIELD, UDP_FIELD
from tmelink.offload.headers import CWR, SYN, locate
from tmelink.offload.segment import MAX_OUTPUT
from tmelink.offload.virtio import TCP4, TCP6, UDP_SEGMENTS

_KINDS = {(4, TCP): TCP4, (6, TCP): TCP6, (4, UDP): UDP_SEGMENTS, (6, UDP): UDP_SEGMENTS}
_WORD = struct.Struct("!H")


def checked(frame: Frame, gso: Gso, longest: int, *, ip: bool = False) -> Gso | None:
    """The label of a super-frame that is cut into frames of at most `longest` bytes, or None.

    None for one whose label does not fit its headers, whose lengths lie, whose segments would be longer or
    too many, and for a TCP SYN, which nobody cuts and whose MSS would have to be looked at. What the label
    only repeats (where headers end, ECN) comes from the frame. With `ip`, it begins with its IP header.
    """
    at = locate(frame, ip)
    if at is None or at.end != len(frame) or at.payload == at.end:
        return None
    kind = _KINDS[at.version, at.protocol]
    field = TCP_FIELD if at.protocol == TCP else UDP_FIELD
    partial = (gso.checksum_start, gso.checksum_offset) == (at.transport, field)
    stride = at.payload + gso.size
    if gso.kind != kind or not partial or not gso.size or stride > longest:
        return None
    if -(-(at.end - at.payload) // gso.size) * stride > MAX_OUTPUT:
        return None
    if at.protocol == TCP:
        flags = frame[at.transport + 13]
        return (
            None if flags & SYN else Gso(kind, gso.size, at.payload, at.transport, field, bool(flags & CWR))
        )
    if _WORD.unpack_from(frame, at.transport + 4)[0] != at.end - at.transport:
        return None
    return Gso(kind, gso.size, at.payload, at.transport, field)
