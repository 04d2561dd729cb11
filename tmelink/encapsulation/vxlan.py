"""VXLAN (RFC 7348): an Ethernet frame after an eight-byte header with a network's number, in UDP."""

from __future__ import annotations

from tmelink.errors import ProtocolError
from tmelink.frame import MIN_FRAME

PORT = 4789
HEADER = 8
MAX_VNI = (1 << 24) - 1

_VALID = 0x08


def header(vni: int) -> bytes:
    """The header of network `vni`: a flag for a valid number, the number, reserved zeros."""
    return bytes((_VALID, 0, 0, 0)) + (vni << 8).to_bytes(4, "big")


def open_frame(datagram: memoryview, vni: int) -> memoryview:
    """The frame in a datagram of network `vni`; reserved bits are ignored (RFC 7348 section 5)."""
    if len(datagram) < HEADER + MIN_FRAME:
        raise ProtocolError("VXLAN: short datagram")
    if not datagram[0] & _VALID:
        raise ProtocolError("VXLAN: no network number")
    if int.from_bytes(datagram[4:7], "big") != vni:
        raise ProtocolError("VXLAN: other network")
    return datagram[HEADER:]
