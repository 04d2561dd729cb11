"""IPX packets, and the four forms in which an Ethernet carries them.

A packet (Novell's IPX Router Specification, section 1) begins with 30 bytes: checksum ff ff, length, hops,
type, then network, node and socket of the destination and of the source. Believes no length that the bytes at
hand do not bear out.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple

from tmelink import ethernet
from tmelink.errors import ProtocolError
from tmelink.frame import Frame

ETHERTYPE: Final = 0x8137
HEADER: Final = 30
BROADCAST: Final = b"\xff" * 6
NOBODY: Final = bytes(6)
NO_CHECKSUM: Final = 0xFFFF
LONGEST_LENGTH: Final = 1500
"""A type field up to this is a length (IEEE 802.3, 3.2.6)."""

_HEADER: Final = Struct("!HHBBI6sHI6sH")
_LLC: Final = b"\xe0\xe0\x03"
_SNAP: Final = b"\xaa\xaa\x03\0\0\0\x81\x37"

FORMS: Final[Mapping[str, bytes]] = {"ethernet-ii": b"", "802.3": b"", "802.2": _LLC, "snap": _SNAP}
"""What stands between the frame's header and the packet; with "ethernet-ii" the type field is 0x8137."""


class IpxAddresses(NamedTuple):
    """Where a packet goes and comes from: nodes are MAC addresses, sockets the numbers of programs."""

    length: int
    to_network: int
    to_node: bytes
    to_socket: int
    from_network: int
    from_node: bytes
    from_socket: int


def parse_ipx(packet: Frame) -> IpxAddresses:
    """The header of a packet; `ProtocolError` for what is not one."""
    if len(packet) < HEADER:
        raise ProtocolError("IPX: short packet")
    checksum, length, _hops, _kind, *addresses = _HEADER.unpack_from(packet)
    if checksum != NO_CHECKSUM or not HEADER <= length <= len(packet):
        raise ProtocolError("IPX: not a packet")
    return IpxAddresses(length, *addresses)


def build_ipx(addresses: IpxAddresses, data: bytes = b"") -> bytes:
    """A packet; `length` is made."""
    return _HEADER.pack(NO_CHECKSUM, HEADER + len(data), 0, 0, *addresses[1:]) + data


def in_frame(packet: Frame, to: bytes, source: bytes, form: str) -> bytes:
    """A packet in a frame of one of `FORMS`."""
    payload = FORMS[form] + bytes(packet)
    return ethernet.build(to, source, ETHERTYPE if form == "ethernet-ii" else len(payload), payload)


def from_frame(frame: Frame) -> Frame | None:
    """The packet in a frame of any of `FORMS`, with padding perhaps; None in any other frame."""
    kind = frame[12] << 8 | frame[13]
    if kind == ETHERTYPE:
        return frame[ethernet.HEADER :]
    if kind > LONGEST_LENGTH or kind > len(frame) - ethernet.HEADER:
        return None
    payload = frame[ethernet.HEADER : ethernet.HEADER + kind]
    for head in (_LLC, _SNAP):
        if payload[: len(head)] == head:
            return payload[len(head) :]
    return payload if payload[:2] == b"\xff\xff" else None
