"""EtherIP (RFC 3378): an Ethernet frame behind two bytes of header, as IP protocol 97."""

from __future__ import annotations

from tmelink.errors import ProtocolError
from tmelink.frame import MIN_FRAME, Frame, Kind

PROTOCOL = 97
VERSION = 3

_HEADER = bytes((VERSION << 4, 0))


class EtherIpCodec:
    """EtherIP; it has no settings."""

    kind: Kind = "ethernet"
    protocols: tuple[int, ...] = (PROTOCOL,)
    header = len(_HEADER)

    def seal(self, frame: Frame) -> tuple[int, bytes]:
        """Version 3, and twelve reserved bits of zero."""
        return PROTOCOL, _HEADER

    def open(self, protocol: int, payload: memoryview) -> memoryview:
        """The frame; other versions and reserved bits are discarded (RFC 3378 section 3)."""
        if len(payload) < len(_HEADER) + MIN_FRAME:
            raise ProtocolError("EtherIP: short packet")
        if payload[: len(_HEADER)] != _HEADER:
            raise ProtocolError("EtherIP: other version, or reserved bits")
        return payload[len(_HEADER) :]
