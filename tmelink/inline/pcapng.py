"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng): sections, interfaces, packets, statistics. No I/O.

Numbers are little-endian; the section header says so to whoever reads.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

from tmelink.frame import Frame, Kind

LINK_TYPES: dict[Kind, int] = {"ethernet": 1, "ip": 101}
"""LINKTYPE_ETHERNET and LINKTYPE_RAW (pcap-linktype(7))."""

PacketDirection = Literal["in", "out"]

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_COMMENT, _APPLICATION = 1, 4
_NAME, _DESCRIPTION, _RESOLUTION, _FILTER = 2, 3, 9, 11
_FLAGS = 2
_RECEIVED, _DROPPED = 4, 5
_FLAG_OF: dict[PacketDirection, int] = {"in": 1, "out": 2}
_NANOSECONDS = b"\x09"

Option = tuple[int, bytes]


def section(application: str) -> bytes:
    """The header that a file begins with."""
    body = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
    return _block(_SECTION, body, [(_APPLICATION, application.encode())])


def interface(
    kind: Kind, name: str, description: str, snaplen: int, expression: str = "", comment: str = ""
) -> bytes:
    """An interface; packets name it by its number, counted from 0 in the order of these blocks."""
    options = [(_NAME, name.encode()), (_DESCRIPTION, description.encode()), (_RESOLUTION, _NANOSECONDS)]
    if comment:
        options.append((_COMMENT, comment.encode()))
    if expression:
        options.append((_FILTER, b"\0" + expression.encode()))
    return _block(_INTERFACE, struct.pack("<HHI", LINK_TYPES[kind], 0, snaplen), options)


def packet(number: int, nanoseconds: int, frame: Frame, snaplen: int, direction: PacketDirection) -> bytes:
    """A frame of interface `number`, seen at a time since 1970, cut to `snaplen` bytes."""
    data = bytes(frame[:snaplen])
    high, low = divmod(nanoseconds, 1 << 32)
    body = struct.pack("<IIIII", number, high, low, len(data), len(frame)) + _padded(data)
    return _block(_PACKET, body, [(_FLAGS, struct.pack("<I", _FLAG_OF[direction]))])


def statistics(number: int, nanoseconds: int, received: int, dropped: int) -> bytes:
    """How many frames of an interface were seen, and how many of them are missing in the file."""
    high, low = divmod(nanoseconds, 1 << 32)
    options = [(_RECEIVED, struct.pack("<Q", received)), (_DROPPED, struct.pack("<Q", dropped))]
    return _block(_STATISTICS, struct.pack("<III", number, high, low), options)


def _block(kind: int, body: bytes, options: Sequence[Option]) -> bytes:
    parts = [body]
    for code, value in options:
        parts.append(struct.pack("<HH", code, len(value)) + _padded(value))
    if options:
        parts.append(b"\0\0\0\0")
    content = b"".join(parts)
    length = struct.pack("<I", len(content) + 12)
    return struct.pack("<I", kind) + length + content + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
