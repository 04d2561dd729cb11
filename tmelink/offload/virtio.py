"""virtio_net_hdr as a TAP with IFF_VNET_HDR reads and writes it, and what its numbers mean.

The layout is that of virtio 1.2, section 5.1.6, in the host's byte order, which is what Linux's TAP uses
until TUNSETVNETLE or TUNSETVNETBE ask for another. Knows nothing of frames.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from tmelink.frame import Frame, Gso

NONE = 0
TCP4 = 1
UDP_FRAGMENTS = 3
TCP6 = 4
UDP_SEGMENTS = 5
"""`Gso.kind`: VIRTIO_NET_HDR_GSO_*."""

HEADER = 10
"""Bytes of the plain header, Linux's default."""

HEADER_WITH_BUFFERS = 12
"""With `num_buffers`, as VIRTIO_NET_F_MRG_RXBUF and virtio 1 have it."""

MOST_CACHED = 512
"""Labels kept encoded and decoded: one for each header length and segment size in use, about ten a flow."""

_ECN = 0x80
_NEEDS_CHECKSUM = 1
_LAYOUT = struct.Struct("=BBHHHH")
_PLAIN = {HEADER: bytes(HEADER), HEADER_WITH_BUFFERS: bytes(HEADER_WITH_BUFFERS)}


def decode_header(buffer: Frame) -> Gso | None:
    """What the virtio_net_hdr at the start of `buffer` asks for; None if the frame is as it should be.

    Both forms begin with the same ten bytes. A kind that has no name here is handed on as it stands.
    """
    if len(buffer) < HEADER or not (buffer[0] & _NEEDS_CHECKSUM or buffer[1]):
        return None
    return _decode(bytes(buffer[:HEADER]))


@lru_cache(MOST_CACHED)
def _decode(header: bytes) -> Gso:
    flags, kind, length, size, start, offset = _LAYOUT.unpack(header)
    if not flags & _NEEDS_CHECKSUM:
        start = offset = 0
    return Gso(kind & ~_ECN, size, length, start, offset, bool(kind & _ECN))


def encode_header(gso: Gso | None, length: int = HEADER) -> bytes:
    """The virtio_net_hdr, of `HEADER` or `HEADER_WITH_BUFFERS` bytes, that says what `gso` says."""
    if gso is None:
        return _PLAIN[length]
    return _encode(gso, length)


@lru_cache(MOST_CACHED)
def _encode(gso: Gso, length: int) -> bytes:
    flags = _NEEDS_CHECKSUM if gso.checksum_start or gso.checksum_offset else 0
    kind = gso.kind | _ECN if gso.ecn else gso.kind
    header = _LAYOUT.pack(flags, kind, gso.header, gso.size, gso.checksum_start, gso.checksum_offset)
    return header.ljust(length, b"\0")
