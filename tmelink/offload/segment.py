"""Cutting super-frames into frames as a network card would (TCP and UDP segmentation offload).

A super-frame is one packet of up to 64 KiB whose label, a `Gso`, says how to cut it. One is cut with a
handful of numpy calls, each of which costs as much as a kilobyte's work: every piece is written into one
buffer, all of their checksums come from one sum over its words. Joining frames is `coalesce`'s work.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tmelink.frame import Burst, Counters, Frame, Gso, Run, SuperFrame
from tmelink.ip import TCP, UDP
from tmelink.offload.checksum import TCP_FIELD, UDP_FIELD, complete_checksum, pseudo_header
from tmelink.offload.headers import CWR, FIN, PSH, Headers, locate, set_lengths
from tmelink.offload.rows import column, columns, multiples, row_sums, rows
from tmelink.offload.virtio import NONE, TCP4, TCP6, UDP_SEGMENTS

MAX_OUTPUT = 1 << 20
"""Bytes that one super-frame may become. Linux sends no TCP segment with less than 8 bytes of payload, for
which 64 KiB become 600 KB; a guest that asks for more wants to hurt."""

ALIKE = 6
"""Frames whose checksums are completed together: numpy's fixed cost is that of so many single ones."""

Whole = TypeVar("Whole", Run, SuperFrame)

_WORD = struct.Struct("!H")
_LONG = struct.Struct("!I")

_KINDS = {TCP4: (4, TCP), TCP6: (6, TCP)}


def segment(frame: Frame, gso: Gso, *, ip: bool = False) -> Run | None:
    """The frames that `frame` is cut into, end to end in one new buffer; with `ip`, IP packets.

    Each has its own lengths, IPv4 identification, TCP sequence number and flags, and whole checksums. A
    frame that only lacks its checksum is a run of one. None for what cannot be cut: a label that does not
    fit the packet, lengths that lie, fragments, UDP fragmentation (kind 3).
    """
    kind = gso.kind
    if kind == NONE:
        whole = complete_checksum(frame, gso)
        return None if whole is None else Run(memoryview(whole), len(whole))
    at = locate(frame, ip)
    size = gso.size
    if at is None or at.end != len(frame) or not size:
        return None
    version, protocol, network, transport, header, end = at
    if protocol != UDP if kind == UDP_SEGMENTS else (version, protocol) != _KINDS.get(kind):
        return None

    payload = end - header
    size = min(size, payload)
    count = -(-payload // size) if size else 1
    stride = header + size
    if count * stride > MAX_OUTPUT:
        return None
    missing = count * size - payload
    checksum = transport + (TCP_FIELD if protocol == TCP else UDP_FIELD)

    # A full piece's header, its checksum fields holding what the sums below do not cover.
    head = bytearray(frame[:header])
    set_lengths(head, 0, stride, at)
    _WORD.pack_into(head, checksum, pseudo_header(head, at, stride - transport))
    if version == 4:
        (identification,) = _WORD.unpack_from(head, network + 4)
        _WORD.pack_into(head, network + 10, 0)
    if protocol == TCP:
        (sequence,) = _LONG.unpack_from(head, transport + 4)
        flags = head[transport + 13]
        head[transport + 13] = flags & ~(CWR | FIN | PSH)

    # Whatever the last piece lacks stays zero behind it and adds nothing to its sum.
    out = bytearray(count * stride)
    pieces = rows(out, 0, stride, count)
    pieces[:, :header] = np.frombuffer(head, np.uint8)
    last = (count - 1) * stride
    full = count - 1 if missing else count
    pieces[:full, header:] = rows(frame, header, size, full)
    if missing:
        out[last + header : last + stride - missing] = memoryview(frame)[header + full * size :]
        set_lengths(out, last, stride - missing, at)
        _WORD.pack_into(out, last + checksum, pseudo_header(head, at, stride - missing - transport))
    if version == 4 and count > 1:
        column(out, ">u2", network + 4, stride, count)[...] = multiples(1)[:count] + identification
    if protocol == TCP:
        if count > 1:
            column(out, ">u4", transport + 4, stride, count)[...] = multiples(size)[:count] + sequence
        out[transport + 13] |= flags & CWR
        out[last + transport + 13] |= flags & (FIN | PSH)

    _fill_checksums(out, stride, count, at, checksum)
    return Run(memoryview(out)[: len(out) - missing], stride)


def cut(burst: Burst, sent: Counters, *, ip: bool = False) -> Sequence[Frame | Run]:
    """The burst's frames as a wire takes them, in order; what cannot be is counted in `sent.drops`.

    Super-frames become runs, partial checksums are completed, and frames that are alike, of one size and with
    one label, become a run together.
    """
    if burst.gso is None:
        return burst.frames
    return _items(burst.frames, burst.gso, sent, partial(segment, ip=ip))


def completed(burst: Burst, sent: Counters) -> Sequence[Frame | Run | SuperFrame]:
    """The same with super-frames left as they are, labels and all."""
    if burst.gso is None:
        return burst.frames
    return _items(burst.frames, burst.gso, sent, SuperFrame)


def _items(
    frames: list[Frame],
    labels: list[Gso | None],
    sent: Counters,
    made: Callable[[Frame, Gso], Whole | None],
) -> Sequence[Frame | Run | Whole]:
    """The frames in order, and what is `made` of every super-frame."""
    items: list[Frame | Run | Whole] = []
    at = 0
    while at < len(frames):
        gso, end = labels[at], at + 1
        item: Frame | Run | Whole | None
        if gso is None:
            item = frames[at]
        elif gso.kind != NONE:
            item = made(frames[at], gso)
        else:
            end = _alike(frames, labels, at)
            if end - at < ALIKE:
                item, end = complete_checksum(frames[at], gso), at + 1
            else:
                item = _completed(frames[at:end], len(frames[at]), gso)
        if item is None:
            sent.drops["malformed super-frame"] += end - at
        else:
            items.append(item)
        at = end
    return items


def segmented(burst: Burst, sent: Counters, *, ip: bool = False) -> Burst:
    """The same frames with every super-frame cut up; what cannot be cut is counted in `sent.drops`."""
    if burst.gso is None:
        return burst
    frames: list[Frame] = []
    for item in cut(burst, sent, ip=ip):
        if isinstance(item, Run):
            frames += item.pieces()
        else:
            frames.append(item)
    return Burst(frames)


def without_one_segment(burst: Burst, *, ip: bool = False) -> Burst | None:
    """The burst without the first segment of its longest TCP super-frame, which is cut up for it.

    A sender of TCP takes that for congestion, and finds out soon, by the segments that follow. None where
    no super-frame is TCP's.
    """
    frames, labels = burst.frames, burst.gso
    if labels is None:
        return None
    tcp = [index for index, label in enumerate(labels) if label is not None and label.kind in _KINDS]
    if not tcp:
        return None
    at = max(tcp, key=lambda index: len(frames[index]))
    label = labels[at]
    run = None if label is None else segment(frames[at], label, ip=ip)
    if run is None:
        return None
    rest = run.pieces()[1:]
    return Burst(
        [*frames[:at], *rest, *frames[at + 1 :]], [*labels[:at], *[None] * len(rest), *labels[at + 1 :]]
    )


def _fill_checksums(out: bytearray, stride: int, count: int, at: Headers, checksum: int) -> None:
    """Write the IPv4 header's checksum and the one at `checksum` into every row."""
    fields: NDArray[np.uint16]
    if at.version == 4:
        field = at.network + 10
        sums = row_sums(out, 0, stride, count, at.network, at.transport)
        fields = columns(out, field, checksum, stride, count)
        own = fields[:, 1]
    else:
        sums = row_sums(out, 0, stride, count, at.transport)[:, 0]
        fields = own = column(out, "<u2", checksum, stride, count)
    # All ones is 0 modulo 65535, so the bitwise complement is the negative.
    fields[...] = ~sums % 0xFFFF
    if at.protocol == UDP:
        # 0 would say that there is none.
        own[own == 0] = 0xFFFF


def _alike(frames: Sequence[Frame], labels: Sequence[Gso | None], at: int) -> int:
    """Where the frames end that have the size and the label of the one at `at`."""
    size, label = len(frames[at]), labels[at]
    end = at + 1
    # Words are summed from the frame's start on, so what begins at an odd byte stays alone.
    if label is None or label.checksum_start & 1 or not label.checksum_offset:
        return end
    while end < len(frames) and labels[end] == label and len(frames[end]) == size:
        end += 1
    return end


def _completed(frames: Sequence[Frame], size: int, gso: Gso) -> Run | None:
    """Frames of `size` bytes with the checksum that `gso` says is partial made whole in all of them."""
    start, field = gso.checksum_start, gso.checksum_start + gso.checksum_offset
    data = bytearray().join(frames)
    if field + 2 > size:
        return None
    sums = row_sums(data, 0, size, len(frames), start)[:, 0]
    checks = ~sums % 0xFFFF
    if gso.checksum_offset == UDP_FIELD:
        checks[checks == 0] = 0xFFFF
    column(data, "<u2", field, size, len(frames))[...] = checks
    return Run(memoryview(data), size)
