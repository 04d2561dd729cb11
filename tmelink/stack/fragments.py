"""Cutting IP packets into fragments, and putting fragments together (RFC 791, RFC 815, RFC 8200 section 4.5).

Pure. Reassembly is bounded in datagrams, in pieces and in bytes, and does not take overlapping pieces
(RFC 5722): who sends such means to smuggle something past a filter.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from tmelink import ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame

DATAGRAMS = 64
"""The most incomplete datagrams at once; the oldest is dropped for a new one."""

MEMORY = 4 << 20
"""The most bytes of all pieces: 64 of the largest datagrams."""

PIECES = 2048
"""The most pieces of one datagram: the largest, over IPv4's smallest MTU (68 bytes), has 1366."""

TIMEOUT_V4 = 30.0
"""Seconds for all pieces to arrive: what Linux uses; RFC 1122 asks for a fixed value near it."""

TIMEOUT_V6 = 60.0
"""The same for IPv6 (RFC 8200 section 4.5)."""


@dataclass(slots=True)
class _Datagram:
    expires: float
    offsets: list[int] = field(default_factory=list)
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    total: int | None = None
    first: bytes | None = None


class Reassembly:
    """Pieces of datagrams by a key from the caller, until all have arrived or `timeout` seconds are over."""

    def __init__(self, timeout: float, drops: Counter[str]) -> None:
        self._timeout = timeout
        self._drops = drops
        self._datagrams: dict[Hashable, _Datagram] = {}
        self._memory = 0

    def add(
        self, key: Hashable, offset: int, piece: Frame, more: bool, packet: Frame, now: float
    ) -> bytes | None:
        """Take the piece at `offset`, `more` to follow; returns the whole payload once it is complete.

        `packet` is the packet it came in; the first piece's is kept for `expire`. Raises `ProtocolError`
        for a piece that cannot belong where it says; its datagram is then given up.
        """
        end = offset + len(piece)
        if (more and (len(piece) % 8 or not piece)) or end > ip.MAX_PACKET:
            self._forget(key)
            raise ProtocolError("fragment: bad length")
        datagram = self._datagrams.get(key)
        if datagram is None:
            if len(self._datagrams) >= DATAGRAMS:
                self._give_up(next(iter(self._datagrams)), "fragment: too many datagrams")
            datagram = self._datagrams[key] = _Datagram(now + self._timeout)
        if datagram.pieces.get(offset) == piece and (more or datagram.total == end):
            return None
        at = bisect(datagram.offsets, offset)
        before = datagram.offsets[at - 1] if at else None
        overlaps = (before is not None and before + len(datagram.pieces[before]) > offset) or (
            at < len(datagram.offsets) and datagram.offsets[at] < end
        )
        known_end = datagram.total
        last = datagram.offsets[-1] + len(datagram.pieces[datagram.offsets[-1]]) if datagram.offsets else 0
        beyond = (known_end is not None and (end > known_end or not more)) or (not more and last > end)
        if overlaps or beyond:
            self._forget(key)
            raise ProtocolError("fragment: overlap")
        if len(datagram.offsets) >= PIECES:
            self._forget(key)
            raise ProtocolError("fragment: too many pieces")
        datagram.offsets.insert(at, offset)
        datagram.pieces[offset] = bytes(piece)
        datagram.size += len(piece)
        self._memory += len(piece)
        if not more:
            datagram.total = end
        if offset == 0:
            datagram.first = bytes(packet)
        if datagram.size == datagram.total:
            self._forget(key)
            return b"".join(datagram.pieces[where] for where in datagram.offsets)
        while self._memory > MEMORY:
            self._give_up(next(iter(self._datagrams)), "fragment: memory full")
        return None

    def expire(self, now: float) -> Iterator[bytes | None]:
        """Give up overdue datagrams; yields the packet of each one's first piece, None if that is missing."""
        # All wait equally long, so the dict's order is the order in which they expire.
        while self._datagrams:
            key, datagram = next(iter(self._datagrams.items()))
            if datagram.expires > now:
                return
            self._give_up(key, "fragment: timeout")
            yield datagram.first

    def deadline(self) -> float | None:
        """The time at which `expire` is due, or None."""
        for datagram in self._datagrams.values():
            return datagram.expires
        return None

    def _give_up(self, key: Hashable, reason: str) -> None:
        self._drops[reason] += len(self._datagrams[key].pieces)
        self._forget(key)

    def _forget(self, key: Hashable) -> None:
        datagram = self._datagrams.pop(key, None)
        if datagram is not None:
            self._memory -= datagram.size


def fragments_v4(packet: bytes, mtu: int) -> Iterator[bytes]:
    """`packet` in pieces of at most `mtu` bytes; itself where it fits.

    A piece may be fragmented again. Options go into later pieces only if their copied bit is set (RFC 791).
    """
    if len(packet) <= mtu:
        yield packet
        return
    whole = ip.parse_ipv4(packet)
    options = packet[ip.IPV4_HEADER : whole.header]
    at = 0
    while at < len(whole.payload):
        room = (mtu - ip.IPV4_HEADER - len(options)) // 8 * 8
        piece = whole.payload[at : at + room]
        yield ip.build_ipv4(
            whole.source,
            whole.destination,
            whole.protocol,
            piece,
            ttl=whole.ttl,
            tos=whole.tos,
            identification=whole.identification,
            more_fragments=whole.more_fragments or at + len(piece) < len(whole.payload),
            offset=whole.offset + at,
            options=options,
        )
        if at == 0:
            options = _copied(options)
        at += len(piece)


def _copied(options: bytes) -> bytes:
    """The options that every fragment carries, padded with end-of-list bytes to whole words."""
    kept = b""
    at = 0
    while at < len(options) and options[at] != 0:
        size = 1 if options[at] == 1 else options[at + 1] if at + 1 < len(options) else 0
        if size == 0:
            break
        if options[at] & 0x80:
            kept += options[at : at + size]
        at += size
    return kept + bytes(-len(kept) % 4)


def fragments_v6(packet: bytes, mtu: int, identification: int) -> Iterator[bytes]:
    """A packet without extension headers in pieces of at most `mtu` bytes; only its source may do this."""
    if len(packet) <= mtu:
        yield packet
        return
    whole = ip.parse_ipv6(packet)
    room = (mtu - ip.IPV6_HEADER - ip.FRAGMENT_HEADER) // 8 * 8
    for at in range(0, len(whole.payload), room):
        piece = whole.payload[at : at + room]
        more = at + room < len(whole.payload)
        header = ip.build_fragment_header(ip.Fragment(whole.next_header, at, more, identification))
        yield ip.build_ipv6(
            whole.source,
            whole.destination,
            ip.FRAGMENT,
            header + piece,
            hop_limit=whole.hop_limit,
            traffic_class=whole.traffic_class,
            flow=whole.flow,
        )
