"""Super-frames: packets of up to 64 KiB that travel whole, with a label that says how to cut them.

What a network card does for an operating system, in numpy: cutting (`segment`), joining (`coalesce`),
completing checksums, lowering a SYN's MSS, and the header that stands before a frame on a TAP (`virtio`).
"""

from tmelink.offload.checksum import complete_checksum
from tmelink.offload.coalesce import coalesce
from tmelink.offload.mss import clamp_mss
from tmelink.offload.segment import cut, segment, segmented
from tmelink.offload.virtio import decode_header, encode_header

__all__ = [
    "clamp_mss",
    "coalesce",
    "complete_checksum",
    "cut",
    "decode_header",
    "encode_header",
    "segment",
    "segmented",
]
