"""Joining frames into super-frames: what a network card's receive offload does, for a TAP that takes them.

Pieces of equal size that lie end to end are compared all at once: each one's header is turned back into what
the first one's would have to be, and then all must be the same. Knows nothing of where pieces come from.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmelink.frame import Burst, Frame, Gso, Run, SuperFrame
from tmelink.ip import MAX_PACKET, TCP
from tmelink.offload.checksum import TCP_FIELD, UDP_FIELD, pseudo_header, total
from tmelink.offload.headers import ACK, CWR, FIN, PSH, RST, SYN, URG, Headers, locate, set_lengths
from tmelink.offload.rows import MOST_LAYOUTS, column, multiples, row_sums, rows
from tmelink.offload.virtio import TCP4, TCP6, UDP_SEGMENTS

FEWEST = 4
"""Pieces that are worth a look: joining costs about as much as writing a dozen more to a TAP, but also
spares the receiving host's TCP as many packets, and the peer as many acknowledgements."""

LEAST_PIECE = 256
"""Bytes of the smallest piece that is worth a look: acknowledgements and small talk are not bulk data."""

MOST_JOINED = 80_000
"""Bytes that are looked at together: a whole super-frame with its headers repeated."""

MOST_PIECE = MOST_JOINED // FEWEST
"""Bytes of the largest piece that is worth a look: so few of them make no super-frame."""

MOST_MISSES = 3
"""Comparisons that join fewer than FEWEST until the rest of a stretch passes as it is: flows that alternate
piece by piece are not worth one for every piece."""

_ENDS = bytes(1 if flags & (PSH | FIN) else 0 for flags in range(256))
_BEGINS = bytes(1 if flags & CWR else 0 for flags in range(256))
_WORD = struct.Struct("!H")
_LONG = struct.Struct("=I")
_LONGS = struct.Struct("=II")


def coalesce(
    items: Sequence[Frame | Run], *, ip: bool = False, udp: bool = False, limit: int = MAX_PACKET
) -> Burst:
    """The frames of `items` in their order, consecutive segments of one TCP flow joined.

    Segments are joined as Linux's receive offload does it: equal but for what segmentation changes, in
    sequence, of one size but for the last, with right checksums. A super-frame has a label and a partial
    checksum; its IP packet has at most `limit` bytes. With `ip`, items are IP packets; with `udp`,
    equal-sized datagrams of one flow are joined too. Frames that pass as they came may be views into `items`.
    """
    joined = _Joined(ip, udp, limit)
    frames = joined.frames
    at = 0
    while at < len(items):
        item = items[at]
        data, size = item if isinstance(item, Run) else (item, len(item))
        end, length = at + 1, len(data)
        if LEAST_PIECE <= size <= MOST_PIECE:
            if end < len(items) and length % size == 0:
                end, length = _stretch(items, end, size, length)
            if length > (FEWEST - 1) * size:
                if end > at + 1:
                    data = b"".join([one.data if isinstance(one, Run) else one for one in items[at:end]])
                view, most = memoryview(data), MOST_JOINED // size * size
                for begin in range(0, length, most):
                    joined.add(view[begin : begin + most], size)
                at = end
                continue
        for one in items[at:end]:
            if isinstance(one, Run):
                frames += one.pieces()
            else:
                frames.append(one)
        at = end
    if not joined.labels:
        return Burst(frames)
    return Burst(frames, [joined.labels.get(index) for index in range(len(frames))])


def coalesce_between(items: Sequence[Frame | Run | SuperFrame], *, ip: bool = False) -> Burst:
    """The same for what lies between super-frames, which pass with their labels."""
    frames: list[Frame] = []
    labels: list[Gso | None] = []
    between: list[Frame | Run] = []

    def join() -> None:
        burst = coalesce(between, ip=ip)
        frames.extend(burst.frames)
        labels.extend(burst.gso or [None] * len(burst.frames))
        between.clear()

    for item in items:
        if not isinstance(item, SuperFrame):
            between.append(item)
            continue
        if between:
            join()
        frames.append(item.frame)
        labels.append(item.gso)
    if between:
        join()
    return Burst(frames, labels if any(labels) else None)


def _stretch(items: Sequence[Frame | Run], at: int, size: int, length: int) -> tuple[int, int]:
    """Where the items end that go on with pieces of `size` bytes, and their and the former ones' length."""
    while at < len(items):
        item = items[at]
        more = len(item.data) if isinstance(item, Run) else len(item)
        if more > size and not (isinstance(item, Run) and item.size == size):
            break
        if not more or length + more > MOST_JOINED:
            break
        at += 1
        length += more
        if more % size:
            break
    return at, length


@dataclass(slots=True)
class _Joined:
    """The frames that come out of `coalesce`, and the labels of those that are super-frames, by index."""

    ip: bool
    udp: bool
    limit: int
    frames: list[Frame] = field(default_factory=list)
    labels: dict[int, Gso] = field(default_factory=dict)

    def add(self, view: memoryview, size: int) -> None:
        """Add the pieces of `size` bytes, the last maybe shorter, that lie end to end in `view`."""
        count = -(-len(view) // size)
        missing = count * size - len(view)
        whole: Frame | None = None if missing else view
        at = misses = 0
        while count - at >= FEWEST and misses < MOST_MISSES:
            flow = self._flow(view[at * size : (at + 1) * size])
            if flow is None:
                # Another protocol takes its likes with it: one look at the column where IPv4 has it.
                protocols = bytes(view[at * size + (9 if self.ip else 23) :: size])
                alike = len(protocols) - len(protocols.lstrip(protocols[:1]))
                passed = 1 if protocols[0] == TCP else alike
                self._pass(view, size, at, at + passed)
                at += passed
                misses += 1
                continue
            if whole is None:
                whole = bytearray(count * size)
                whole[: len(view)] = view
            passed = self._add_flow(_Pieces(whole, at, count - at, size, missing, flow), view)
            if passed < FEWEST:
                misses += 1
            if not passed:
                passed = 1
                self._pass(view, size, at, at + 1)
            at += passed
        self._pass(view, size, at, count)

    def _pass(self, view: memoryview, size: int, begin: int, end: int) -> None:
        self.frames += [view[at : at + size] for at in range(begin * size, end * size, size)]

    def _flow(self, piece: memoryview) -> Headers | None:
        """The headers of a piece that others may be joined to."""
        at = locate(piece, self.ip)
        if at is None or at.end != len(piece) or at.payload == at.end:
            return None
        if at.version == 4 and at.transport != at.network + 20:
            # Options may be for one packet only.
            return None
        if at.protocol == TCP:
            return at if piece[at.transport + 13] & (ACK | SYN | RST | URG) == ACK else None
        if not self.udp or not (piece[at.transport + 6] or piece[at.transport + 7]):
            return None
        return at if _WORD.unpack_from(piece, at.transport + 4)[0] == at.end - at.transport else None

    def _add_flow(self, pieces: _Pieces, view: memoryview) -> int:
        """Add those of the pieces that continue the first, joined; returns how many."""
        size, flow = pieces.size, pieces.flow
        same, flags = pieces.compare()
        count = same.find(0)
        if count < 0:
            count = pieces.count
        ends, begins = flags.translate(_ENDS), flags.translate(_BEGINS)
        most = max(1, (self.limit - flow.payload + flow.network) // (size - flow.payload))
        begin = 0
        while begin < count:
            end = min(count, begin + most)
            stop = ends.find(1, begin, end)
            if stop >= 0:
                end = stop + 1
            stop = begins.find(1, begin + 1, end)
            if stop >= 0:
                end = stop
            if end - begin == 1:
                self._pass(view, size, pieces.at + begin, pieces.at + end)
            else:
                frame, gso = pieces.super_frame(begin, end)
                if flags:
                    frame[flow.transport + 13] |= flags[end - 1] & (PSH | FIN)
                self.labels[len(self.frames)] = gso
                self.frames.append(frame)
            begin = end
        return count


@dataclass(slots=True)
class _Pieces:
    """`count` pieces from number `at` on in `data`, the first of `flow`, the last `missing` bytes short."""

    data: Frame
    at: int
    count: int
    size: int
    missing: int
    flow: Headers

    def compare(self) -> tuple[bytes, bytes]:
        """Which pieces continue the first, a byte for each, and each one's TCP flags, nothing for UDP.

        1 is for a piece that is what the flow's next segments would be, and for the first itself where its
        checksums are right.
        """
        count, size, begin = self.count, self.size, self.at * self.size
        version, protocol, network, transport, header, _ = self.flow
        heads = rows(self.data, begin, size, count)[:, :header] & _lasting(self.flow)
        if self.missing:
            self._lengthen(heads)

        # Right checksums leave nothing of the IP header's sum, and the pseudo-header's negative of the rest.
        # Row sums have their bytes swapped, which is 256 times modulo 65535.
        pseudo = pseudo_header(self.data[begin : begin + header], self.flow, size - transport)
        left = (-pseudo << 8) % 0xFFFF
        if version == 4:
            sums = row_sums(self.data, begin, size, count, network, transport)
            right = _LONGS.pack(0, left)
        else:
            sums = row_sums(self.data, begin, size, count, transport)
            right = _LONG.pack(left)
        if self.missing:
            sums[-1, -1] += (-self.missing << 8) % 0xFFFF

        same: list[tuple[NDArray[Any], bytes]] = [
            (heads, heads[0].tobytes()),
            (sums % 0xFFFF, right),
        ]
        flags = b""
        if protocol == TCP:
            sequence = column(self.data, ">u4", begin + transport + 4, size, count)
            start = sequence - multiples(size - header)[:count]
            same.append((start, start[:1].tobytes()))
            flags = column(self.data, "u1", begin + transport + 13, size, count).tobytes()
        if version == 4 and not self.data[begin + network + 6] & 0x40:
            # Only a packet that may be fragmented needs its identification (RFC 6864 section 4.1).
            identification = column(self.data, ">u2", begin + network + 4, size, count)
            zeroth = (identification - multiples(1)[:count]).astype(np.uint16)
            same.append((zeroth, zeroth[:1].tobytes()))
        if all(array.tobytes() == first * count for array, first in same):
            return b"\1" * count, flags
        each = [
            (array.reshape(count, -1) == np.frombuffer(first, array.dtype)).all(axis=1)
            for array, first in same
        ]
        return np.logical_and.reduce(each).tobytes(), flags

    def _lengthen(self, heads: NDArray[np.uint8]) -> None:
        """Give the short last piece's header a full one's lengths, unless its own are wrong.

        One without payload stays what it is, and so is not joined.
        """
        length = self.size - self.missing
        if length <= self.flow.payload:
            return
        own = heads[-1].tobytes()
        header = bytearray(own)
        set_lengths(header, 0, length, self.flow)
        if header == own:
            set_lengths(header, 0, self.size, self.flow)
            heads[-1] = np.frombuffer(header, np.uint8)

    def super_frame(self, begin: int, end: int) -> tuple[bytearray, Gso]:
        """One frame of the pieces from `begin` to before `end`, with the first one's TCP flags."""
        size, count, first = self.size, end - begin, (self.at + begin) * self.size
        version, protocol, network, transport, header, _ = self.flow
        step = size - header
        frame = bytearray(header + count * step)
        frame[:header] = self.data[first : first + header]
        rows(frame, header, step, count)[...] = rows(self.data, first, size, count)[:, header:]
        if self.missing and end == self.count:
            del frame[-self.missing :]
        set_lengths(frame, 0, len(frame), self.flow)
        if version == 4:
            _WORD.pack_into(frame, network + 10, 0)
            _WORD.pack_into(frame, network + 10, -total(frame[network:transport]) % 0xFFFF)
        checksum = TCP_FIELD if protocol == TCP else UDP_FIELD
        pseudo = pseudo_header(frame, self.flow, len(frame) - transport)
        _WORD.pack_into(frame, transport + checksum, pseudo)
        if protocol != TCP:
            return frame, Gso(UDP_SEGMENTS, step, header, transport, checksum)
        kind = TCP4 if version == 4 else TCP6
        ecn = bool(frame[transport + 13] & CWR)
        return frame, Gso(kind, step, header, transport, checksum, ecn)


@lru_cache(MOST_LAYOUTS)
def _lasting(flow: Headers) -> NDArray[np.uint8]:
    """The bits of a header that are the same in all segments, or that are not compared bit by bit."""
    version, protocol, network, transport, header, _ = flow
    mask = bytearray(b"\xff" * header)
    if version == 4:
        mask[network + 4 : network + 6] = mask[network + 10 : network + 12] = bytes(2)
    if protocol == TCP:
        mask[transport + 4 : transport + 8] = bytes(4)
        mask[transport + 13] = ~(CWR | FIN | PSH) & 0xFF
    field = transport + (TCP_FIELD if protocol == TCP else UDP_FIELD)
    mask[field : field + 2] = bytes(2)
    return np.frombuffer(bytes(mask), np.uint8)
