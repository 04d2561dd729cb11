"""The types of the data path: Frame, Run, Gso, SuperFrame, Burst, and Counters.

No I/O and no elements. Frames move many at a time; a call or an object for each single frame costs more than
the frame's own work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Frame = bytes | bytearray | memoryview
"""Ethernet II without its frame check sequence, or one IP packet on an "ip" port."""

Kind = Literal["ethernet", "ip"]

MIN_FRAME = 14
"""The bytes of an Ethernet header; anything shorter is not a frame."""


class Run(NamedTuple):
    """Pieces of `size` bytes end to end in one buffer; only the last may be shorter.

    UDP_SEGMENT sends and UDP_GRO receives one in a call, and segmenting a super-frame makes one.
    """

    data: memoryview
    size: int

    def pieces(self) -> list[memoryview]:
        """The pieces, each a view into `data`."""
        data, size = self.data, self.size
        return [data[at : at + size] for at in range(0, len(data), size)]


class Gso(NamedTuple):
    """A decoded virtio_net_hdr (virtio 1.2, section 5.1.6): how to segment a super-frame.

    `kind` is VIRTIO_NET_HDR_GSO_* without the ECN bit (0 none, 1 TCPv4, 3 UDP fragmentation, 4 TCPv6,
    5 UDP segmentation); `size` the payload bytes a segment; `header` the bytes before the payload, as the
    sender says (a hint); `checksum_start` and `checksum_offset` where a partial checksum is to be completed,
    both 0 if the checksum needs nothing.
    """

    kind: int
    size: int
    header: int
    checksum_start: int
    checksum_offset: int
    ecn: bool = False


class SuperFrame(NamedTuple):
    """A super-frame together with its label, where frames travel one by one."""

    frame: Frame
    gso: Gso


@dataclass(slots=True)
class Burst:
    """What moves between ports: frames in order and, where any is a super-frame, a label for each.

    The frames are only lent: they may be in buffers that the sender reuses once the call returns. To keep a
    frame longer, copy it; never write into one.
    """

    frames: list[Frame]
    gso: list[Gso | None] | None = None

    def part(self, indexes: Sequence[int]) -> Burst:
        """The frames at `indexes`, with their labels."""
        gso = self.gso
        labels = None if gso is None else [gso[index] for index in indexes]
        return Burst([self.frames[index] for index in indexes], labels)


@dataclass(slots=True)
class Counters:
    """Frames and bytes in one direction, and drops by reason."""

    frames: int = 0
    bytes: int = 0
    drops: Counter[str] = field(default_factory=Counter)


def count(items: Iterable[Frame | Run | SuperFrame]) -> int:
    """How many frames or datagrams the items are: a run is as many as it has pieces, any other item one."""
    return sum(-(-len(item.data) // item.size) if isinstance(item, Run) else 1 for item in items)


def size(items: Iterable[Frame | Run | SuperFrame]) -> int:
    """The bytes of all items."""
    total = 0
    for item in items:
        if isinstance(item, Run):
            total += len(item.data)
        elif isinstance(item, SuperFrame):
            total += len(item.frame)
        else:
            total += len(item)
    return total


def pieces(items: Sequence[Frame | Run]) -> list[Frame]:
    """The items one by one, runs taken apart."""
    single: list[Frame] = []
    for item in items:
        if isinstance(item, Run):
            single += item.pieces()
        else:
            single.append(item)
    return single


def one_by_one(items: Sequence[Frame | Run | SuperFrame]) -> Burst:
    """The items one by one, runs taken apart, super-frames with their labels."""
    frames: list[Frame] = []
    labels: dict[int, Gso] = {}
    for item in items:
        if isinstance(item, Run):
            frames += item.pieces()
        elif isinstance(item, SuperFrame):
            labels[len(frames)] = item.gso
            frames.append(item.frame)
        else:
            frames.append(item)
    return Burst(frames, [labels.get(index) for index in range(len(frames))] if labels else None)
