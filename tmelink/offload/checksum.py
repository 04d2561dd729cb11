"""Internet checksums (RFC 1071) that a sender left for later, and the sums they are made of.

Sums are of 16-bit big-endian words modulo 65535, of which 65536 is 1: words, their carries and whole numbers
are the same there.
"""

from __future__ import annotations

import struct

import numpy as np

from tmelink.frame import Frame, Gso
from tmelink.ip import total as short_total
from tmelink.offload.headers import Headers

TCP_FIELD = 16
UDP_FIELD = 6
"""Where the checksum stands in a TCP (RFC 9293) and in a UDP header (RFC 768)."""

LONG = 768
"""Bytes from which numpy's sum, with its fixed cost of a microsecond, is quicker than a long division."""

_WORD = struct.Struct("!H")


def total(data: Frame) -> int:
    """The sum of `data` modulo 65535; an odd last byte counts as if a zero followed."""
    length = len(data)
    if length < LONG:
        return short_total(data)
    view = memoryview(data)
    number = int(np.add.reduce(np.frombuffer(view[: length & ~1], ">u2"), dtype=np.uint64))
    if length & 1:
        number += view[-1] << 8
    return number % 0xFFFF


def pseudo_header(frame: Frame, at: Headers, length: int) -> int:
    """The sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) for `length` bytes.

    `length` counts the TCP or UDP header too. Stored as it is in the checksum field it is what a partial
    checksum starts from.
    """
    network = at.network
    addresses = frame[network + 12 : network + 20] if at.version == 4 else frame[network + 8 : network + 40]
    return (int.from_bytes(addresses, "big") + at.protocol + length) % 0xFFFF


def complete_checksum(frame: Frame, gso: Gso) -> Frame | None:
    """`frame` with the checksum that `gso` says is partial made whole.

    A copy, because others may hold the frame with its label; the frame itself where nothing is to be done,
    None if the label points outside it.
    """
    start, field = gso.checksum_start, gso.checksum_start + gso.checksum_offset
    if not field:
        return frame
    if field + 2 > len(frame):
        return None
    whole = bytearray(frame)
    # The field holds the pseudo-header's sum and is summed with the rest. UDP keeps 0 for "no checksum".
    check = -total(memoryview(whole)[start:]) % 0xFFFF
    if not check and gso.checksum_offset == UDP_FIELD:
        check = 0xFFFF
    _WORD.pack_into(whole, field, check)
    return whole
