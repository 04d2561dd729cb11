"""OpenVPN's own fragmentation (--fragment): payloads cut to fit a datagram, and put together again.

Knows the four-byte header that OpenVPN 2.6 sets before every payload once the option is on::

    bits 0-1 kind (0 whole, 1 not the last, 2 the last) | 2-9 sequence | 10-14 index |
    15-28 size of all pieces but the last, in units of 4 (in the last piece only)

Reassembly holds at most `PARTIALS` payloads, none longer than the limit it is given, none older than
`SECONDS`.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Final

from tmelink.errors import ProtocolError
from tmelink.frame import Frame

HEADER_BYTES: Final = 4
MAX_PIECES: Final = 32
PARTIALS: Final = 25
"""Payloads in reassembly at once: OpenVPN keeps as many, and sends no more out of order."""
SECONDS: Final = 10.0
"""Until a payload that lacks a piece is given up (as OpenVPN)."""

_WHOLE, _PIECE, _LAST = 0, 1, 2
_SEQUENCES: Final = 256
_UNIT: Final = 4
_HEADER: Final = struct.Struct(">I")
_WHOLE_HEADER: Final = _HEADER.pack(_WHOLE)


class _Partial:
    __slots__ = ("last", "pieces", "size", "touched")

    def __init__(self, size: int) -> None:
        self.size = size
        self.pieces: dict[int, bytes] = {}
        self.last: int | None = None
        self.touched = 0.0


class Fragments:
    """Both directions of one link.

    Payloads longer than `largest` bytes are cut; reassembly refuses what would be longer than `limit`.
    `sequence` is where the numbering of cut payloads begins, best at random.
    """

    def __init__(self, largest: int, limit: int, drops: Counter[str], sequence: int = 0) -> None:
        if largest < _UNIT:
            raise ValueError(f"--fragment leaves {largest} bytes for a payload")
        self.largest = largest
        self._limit = limit
        self._drops = drops
        self._sequence = sequence % _SEQUENCES
        self._newest = 0
        self._partials: dict[int, _Partial] = {}

    def __len__(self) -> int:
        """Payloads in reassembly."""
        return len(self._partials)

    def split(self, payload: Frame) -> list[bytes]:
        """The payload or its pieces, each with its header; none, and a count, if they were too many."""
        if len(payload) <= self.largest:
            return [_WHOLE_HEADER + payload]
        size = _piece_size(len(payload), self.largest)
        count = -(-len(payload) // size)
        if count > MAX_PIECES:
            self._drops["too many fragments"] += 1
            return []
        self._sequence = (self._sequence + 1) % _SEQUENCES
        flags = self._sequence << 2
        pieces = []
        for index in range(count):
            kind = _LAST | size // _UNIT << 15 if index == count - 1 else _PIECE
            header = _HEADER.pack(kind | flags | index << 10)
            pieces.append(header + payload[index * size : (index + 1) * size])
        return pieces

    def join(self, piece: Frame, now: float) -> Frame | None:
        """The payload that this piece is or completes, or None; raises `ProtocolError` for no piece."""
        if len(piece) < HEADER_BYTES:
            raise ProtocolError("bad fragment")
        (header,) = _HEADER.unpack_from(piece)
        body = memoryview(piece)[HEADER_BYTES:]
        kind = header & 3
        sequence, index = header >> 2 & 0xFF, header >> 10 & 0x1F
        if kind == _WHOLE:
            if sequence or index:
                raise ProtocolError("bad fragment")
            return body
        if kind == _PIECE:
            size = len(body)
        elif kind == _LAST:
            size = (header >> 15 & 0x3FFF) * _UNIT
        else:
            raise ProtocolError("bad fragment")
        if not size or size % _UNIT or not 0 < len(body) <= size or index * size + len(body) > self._limit:
            raise ProtocolError("bad fragment")
        return self._add(sequence, index, size, kind == _LAST, bytes(body), now)

    def _add(self, sequence: int, index: int, size: int, last: bool, body: bytes, now: float) -> bytes | None:
        self._advance(sequence)
        partial = self._partials.get(sequence)
        if partial is not None and (
            partial.size != size
            or index in partial.pieces
            or now > partial.touched + SECONDS
            or (last and max(partial.pieces) > index)
            or (partial.last is not None and index > partial.last)
        ):
            self._drops["lost fragment"] += len(partial.pieces)
            partial = None
        if partial is None:
            partial = self._partials[sequence] = _Partial(size)
        partial.pieces[index] = body
        partial.touched = now
        if last:
            partial.last = index
        if partial.last is None or len(partial.pieces) <= partial.last:
            return None
        del self._partials[sequence]
        return b"".join(partial.pieces[at] for at in range(partial.last + 1))

    def _advance(self, sequence: int) -> None:
        """Give up what is so far behind the newest sequence that its number will soon be used again."""
        ahead = (sequence - self._newest) % _SEQUENCES
        behind = (self._newest - sequence) % _SEQUENCES
        if min(ahead, behind) >= PARTIALS:
            stale = list(self._partials)
        elif 0 < ahead < PARTIALS:
            stale = [old for old in self._partials if (sequence - old) % _SEQUENCES >= PARTIALS]
        else:
            return
        self._newest = sequence
        for old in stale:
            self._drops["lost fragment"] += len(self._partials.pop(old).pieces)


def _piece_size(length: int, largest: int) -> int:
    """Equal pieces, as few as with the largest ones, in units of 4."""
    most = largest - largest % _UNIT
    count = -(-length // most)
    even = -(-length // count)
    return min(most, even + -even % _UNIT)
