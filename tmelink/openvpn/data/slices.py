"""A record over UDP: one sealed super-frame cut into equal datagrams, its slices, and joined again.

The record's packet id and tag are those of one packet; each slice repeats what the record is known by::

    RECORD << 3 | key id (1) | peer id (3) | packet id (4, in the epoch format 8) | number of the slice (1)
    | slices of the record (1) | bytes of each but the last (2) | slice

All but the slice's number is authenticated, with the record. Nothing is believed before that: until its tag
has been verified, a record is bytes under way, of which there are never more than `MOST_OPEN` records. Knows
no key.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from tmelink.frame import Frame, Run

HEADER: Final = 4
"""Bytes between the packet id and the slice."""

MOST: Final = 64
"""Slices of one record: what one call with UDP_SEGMENT takes (UDP_MAX_SEGMENTS of Linux before 6.9)."""

MOST_BYTES: Final = 65_487
"""Of a record with the headers of its slices: what one call with UDP_SEGMENT takes, over IPv6 too."""

MOST_OPEN: Final = 8
"""Records of which some slices are missing; another one replaces the oldest."""

MOST_FINISHED: Final = 64
"""Records that are remembered once they are whole, so that a repeated slice begins none anew."""

SECONDS: Final = 1.0
"""How long a record waits for its slices, which left in one call: far longer than a path's delay varies."""

INCOMPLETE: Final = "incomplete record"
MALFORMED: Final = "malformed record"
REPEATED: Final = "repeated packet"

_HEADER: Final = struct.Struct(">BBH")
_TAIL: Final = struct.Struct(">BH")
_NUMBERS: Final = np.arange(MOST, dtype=np.uint8)


class Joined(NamedTuple):
    """A record whose slices are all there, in `slices` datagrams; `aad` is what is authenticated with it."""

    aad: bytes
    sealed: Frame
    slices: int


def count(size: int, room: int) -> int:
    """How many slices of `room` bytes a record of `size` bytes has."""
    return -(-size // room)


def aad(identity: bytes, size: int, room: int) -> bytes:
    """What is authenticated with a record: its identity (head and packet id), and how it is cut."""
    return identity + _TAIL.pack(count(size, room), room)


def cut(identity: bytes, sealed: Frame, room: int) -> Run:
    """The slices of a record of at least two, as one run of datagrams."""
    slices = count(len(sealed), room)
    begin = len(identity) + HEADER
    wide = begin + room
    full = slices - 1
    out = np.empty(slices * wide, np.uint8)
    rows = out.reshape(slices, wide)
    rows[:, :begin] = np.frombuffer(identity + _HEADER.pack(0, slices, room), np.uint8)
    rows[:, begin - HEADER] = _NUMBERS[:slices]
    source = np.frombuffer(sealed, np.uint8)
    rows[:full, begin:] = source[: full * room].reshape(full, room)
    rest = len(sealed) - full * room
    rows[full, begin : begin + rest] = source[full * room :]
    return Run(out.data[: full * wide + begin + rest], wide)


class _Open:
    """A record under way; `have` has a bit for each slice that has come."""

    __slots__ = ("begun", "buffer", "have", "size")

    def __init__(self, size: int, now: float) -> None:
        self.buffer = bytearray(size)
        self.begun = now
        self.have = 0
        self.size = 0
        """Of the whole record, once its last slice has come."""


class Slices:
    """The records of one peer that are under way. `drops` counts datagrams by reason."""

    def __init__(self, drops: Counter[str]) -> None:
        self._drops = drops
        self._open: dict[bytes, _Open] = {}
        self._finished: dict[bytes, None] = {}

    def join(self, packets: Run | Sequence[Frame], at: int, now: float) -> list[Joined]:
        """Take slices, whose identity has `at` bytes; the records that they complete."""
        joined: list[Joined] = []
        stretches = _stretches(packets, at) if isinstance(packets, Run) else ((p, len(p)) for p in packets)
        for data, size in stretches:
            record = self._add(data, size, at, now)
            if record is not None:
                joined.append(record)
        return joined

    def _add(self, data: Frame, size: int, at: int, now: float) -> Joined | None:
        """Take slices of one record in order, end to end, `size` bytes from one to the next."""
        here = -(-len(data) // size) if size else 1
        begin = at + HEADER
        if not _fits(data, size, at, here):
            self._drops[MALFORMED] += here
            return None
        number, slices, room = _HEADER.unpack_from(data, at)
        aad = bytes(data[:at]) + bytes(data[at + 1 : begin])
        if aad in self._finished:
            self._drops[REPEATED] += here
            return None
        if here == slices:
            self._open.pop(aad, None)
            return self._finish(aad, _bodies(data, size, begin), slices)
        record = self._open.get(aad)
        if record is None:
            record = self._begin(aad, slices * room, now)
        have = ((1 << here) - 1) << number
        if record.have & have:
            self._drops[REPEATED] += (record.have & have).bit_count()
        body = _bodies(data, size, begin)
        place = number * room
        record.buffer[place : place + len(body)] = body
        record.have |= have
        if number + here == slices:
            record.size = place + len(body)
        if record.have != (1 << slices) - 1:
            return None
        del self._open[aad]
        return self._finish(aad, memoryview(record.buffer)[: record.size], slices)

    def _begin(self, aad: bytes, size: int, now: float) -> _Open:
        """A record of which nothing has come before."""
        opened = self._open
        while opened:
            oldest = next(iter(opened))
            if len(opened) < MOST_OPEN and now < opened[oldest].begun + SECONDS:
                break
            self._drops[INCOMPLETE] += opened.pop(oldest).have.bit_count()
        opened[aad] = record = _Open(size, now)
        return record

    def _finish(self, aad: bytes, sealed: Frame, slices: int) -> Joined:
        finished = self._finished
        if len(finished) >= MOST_FINISHED:
            del finished[next(iter(finished))]
        finished[aad] = None
        return Joined(aad, sealed, slices)


def _fits(data: Frame, size: int, at: int, here: int) -> bool:
    """Whether what slices say of themselves is true of them."""
    begin = at + HEADER
    if len(data) - (here - 1) * size <= begin:
        return False
    number: int
    slices: int
    room: int
    number, slices, room = _HEADER.unpack_from(data, at)
    end = number + here
    if not 2 <= slices <= MOST or end > slices or (slices - 1) * (room + begin) >= MOST_BYTES:
        return False
    last = len(data) - (here - 1) * size - begin
    return (here == 1 or size - begin == room) and (last == room or (end == slices and last < room))


def _bodies(data: Frame, size: int, begin: int) -> Frame:
    """What follows the headers, which end at `begin`, end to end."""
    full = len(data) // size
    if full <= 1 and len(data) <= size:
        return data[begin:]
    room = size - begin
    rest = data[full * size + begin :]
    out = np.empty(full * room + len(rest), np.uint8)
    out[: full * room].reshape(full, room)[...] = np.ndarray((full, room), np.uint8, data, begin, (size, 1))
    if len(rest):
        out[full * room :] = np.frombuffer(rest, np.uint8)
    return out.data


def _stretches(run: Run, at: int) -> list[tuple[Frame, int]]:
    """A run, taken apart where another record begins or a slice is missing."""
    data, size = run
    pieces = -(-len(data) // size)
    width = at + HEADER
    if pieces == 1 or len(data) - (pieces - 1) * size < width:
        return [(piece, len(piece)) for piece in run.pieces()]
    heads = np.ndarray((pieces, width), np.uint8, data, 0, (size, 1))
    steps = heads[1:] - heads[:-1]
    steps[:, at] -= 1
    if not steps.any():
        return [(data, size)]
    cuts = [0, *(np.flatnonzero(steps.any(axis=1)) + 1).tolist(), pieces]
    return [
        (data[begin * size : end * size], size if end - begin > 1 else len(data[begin * size : end * size]))
        for begin, end in pairwise(cuts)
    ]
