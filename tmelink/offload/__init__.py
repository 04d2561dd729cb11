"""Super-frames: packets of up to 64 KiB that travel whole, with a label that says how to cut them.

What a network card does for an operating system, in numpy: cutting (`segment`), joining (`coalesce`),
completing checksums, lowering a SYN's MSS, judging a label (`checked`), and the header that stands before a
frame on a TAP (`virtio`).
"""

from tmelink.offload.check import checked
from tmelink.offload.checksum import complete_checksum
from tmelink.offload.coalesce import coalesce, coalesce_between
from tmelink.offload.mss import LONGEST_SYN, clamp_mss, clamp_mss_to, may_be_syn
from tmelink.offload.segment import completed, cut, segment, segmented
from tmelink.offload.virtio import decode_header, encode_header

__all__ = [
    "LONGEST_SYN",
    "checked",
    "clamp_mss",
    "clamp_mss_to",
    "coalesce",
    "coalesce_between",
    "complete_checksum",
    "completed",
    "cut",
    "decode_header",
    "encode_header",
    "may_be_syn",
    "segment",
    "segmented",
]
