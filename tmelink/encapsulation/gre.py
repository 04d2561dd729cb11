"""GRE (RFC 2784) with key and sequence number (RFC 2890), for IP packets or for Ethernet frames."""

from __future__ import annotations

from struct import Struct

from tmelink import ethernet, ip
from tmelink.errors import ProtocolError
from tmelink.frame import MIN_FRAME, Frame, Kind

PROTOCOL = 47
BRIDGING = 0x6558
"""The protocol type of frames: transparent Ethernet bridging."""

CHECKSUM = 0x8000
KEY = 0x2000
SEQUENCE = 0x1000
ROUTING_OR_SOURCE_ROUTE = 0x4C00
"""RFC 1701's other flags and reserved bits, which must not be set (RFC 2784 section 2.3)."""
VERSION = 0x0007

_BASE = Struct("!HH")
_WORD = Struct("!I")
_TYPES = {4: ethernet.IPV4, 6: ethernet.IPV6}


class GreCodec:
    """GRE, optionally with a `key`, a `checksum` and `sequence` numbers.

    A packet with another key, or without one where one is set, is dropped. With `sequence`, a packet
    that is older than one that came before is dropped too (RFC 2890 section 2.2).
    """

    protocols: tuple[int, ...] = (PROTOCOL,)

    def __init__(
        self, kind: Kind, *, key: int | None = None, checksum: bool = False, sequence: bool = False
    ) -> None:
        self.kind = kind
        self._key = key
        self._checksum = checksum
        self._sequence = sequence
        self._sent = 0
        self._heard: int | None = None
        flags = (CHECKSUM if checksum else 0) | (KEY if key is not None else 0)
        self._flags = flags | (SEQUENCE if sequence else 0)

    @property
    def header(self) -> int:
        """Four bytes, and four for each of checksum, key and sequence number."""
        return 4 + 4 * (self._checksum + (self._key is not None) + self._sequence)

    def seal(self, frame: Frame) -> tuple[int, bytes]:
        """The header for `frame`; each call takes the next sequence number."""
        if self.kind == "ethernet":
            protocol_type = BRIDGING
        elif len(frame) and frame[0] >> 4 in _TYPES:
            protocol_type = _TYPES[frame[0] >> 4]
        else:
            raise ProtocolError("not IP")
        tail = b""
        if self._key is not None:
            tail = _WORD.pack(self._key)
        if self._sequence:
            tail += _WORD.pack(self._sent)
            self._sent = (self._sent + 1) & 0xFFFFFFFF
        base = _BASE.pack(self._flags, protocol_type)
        if not self._checksum:
            return PROTOCOL, base + tail
        check = ip.checksum(base + bytes(4) + tail + bytes(frame))
        return PROTOCOL, base + check.to_bytes(2, "big") + bytes(2) + tail

    def open(self, protocol: int, payload: memoryview) -> memoryview:
        """The packet or frame in the payload."""
        if len(payload) < _BASE.size:
            raise ProtocolError("GRE: short packet")
        flags, protocol_type = _BASE.unpack_from(payload)
        if flags & VERSION:
            raise ProtocolError("GRE: other version")
        if flags & ROUTING_OR_SOURCE_ROUTE:
            raise ProtocolError("GRE: routing or reserved bits")
        at = _BASE.size
        words: list[int] = []
        for bit in (CHECKSUM, KEY, SEQUENCE):
            if flags & bit:
                if len(payload) < at + 4:
                    raise ProtocolError("GRE: short packet")
                words.append(_WORD.unpack_from(payload, at)[0])
                at += 4
            else:
                words.append(-1)
        _check, key, sequence = words
        if flags & CHECKSUM and ip.checksum(payload) != 0:
            raise ProtocolError("GRE: bad checksum")
        if key != (-1 if self._key is None else self._key):
            raise ProtocolError("GRE: other key")
        inner = payload[at:]
        self._check_inner(protocol_type, inner)
        if self._sequence:
            self._follow(sequence)
        return inner

    def _check_inner(self, protocol_type: int, inner: memoryview) -> None:
        if self.kind == "ethernet":
            if protocol_type != BRIDGING:
                raise ProtocolError("GRE: carries no Ethernet")
            if len(inner) < MIN_FRAME:
                raise ProtocolError("GRE: short frame")
        elif not len(inner) or _TYPES.get(inner[0] >> 4) != protocol_type:
            raise ProtocolError("GRE: not IP")

    def _follow(self, sequence: int) -> None:
        if sequence < 0:
            raise ProtocolError("GRE: no sequence number")
        # Of all 32-bit numbers, half count as older and half as newer (RFC 2890 section 2.2).
        if self._heard is not None and not 0 < (sequence - self._heard) & 0xFFFFFFFF < 1 << 31:
            raise ProtocolError("GRE: out of sequence")
        self._heard = sequence
