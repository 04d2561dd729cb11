"""A capture of connections as pcapng: the stages that see the frames, and the blocks that are made of them.

A stage shows what arrives at the other end: behind filters and impairments. Where nobody captures there is no
stage and no cost. `seen` counts every frame that was captured, for a reader too slow to get them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from tmelink.element import Port
from tmelink.frame import Burst, Counters
from tmelink.inline import chain, pcapng
from tmelink.inline.pcap_filter import PcapFilter
from tmelink.offload import segmented

SNAPLEN = 262_144
"""Bytes of a frame that are kept unless asked otherwise: all of it, as tcpdump has it."""

BLOCK_BYTES = 64 << 10
"""Packets are handed on in pieces of about this size, so that a bound on pieces is a bound on memory."""


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """What is captured: the frames that `expression` selects (pcap-filter(7)), and `snaplen` bytes of each.

    With `super_frames` packets of up to 64 KiB are kept whole; without, they are cut as they would be sent.
    After `count` frames (0: any number) the capture ends.
    """

    expression: str = ""
    direction: Literal["in", "out", "both"] = "both"
    snaplen: int = SNAPLEN
    super_frames: bool = False
    count: int = 0


class Capture:
    """Captures connections, each given by the port of the element that they are seen from.

    `write` takes blocks of a pcapng file and how many frames of each interface are in them. `ended` is called
    when `count` frames have been captured. Raises `ValueError` for a wrong expression.
    """

    def __init__(
        self,
        ports: Sequence[Port],
        options: CaptureOptions,
        write: Callable[[bytes, Sequence[int]], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.ports = list(ports)
        self.options = options
        self.seen = [0] * len(self.ports)
        self._write = write
        self._ended = ended
        self._left = options.count or -1
        self._stages: list[tuple[Port, _Stage]] = []
        kinds = {port.kind for port in self.ports} if options.expression else set()
        filters = {kind: PcapFilter(options.expression, kind) for kind in kinds}
        for number, port in enumerate(self.ports):
            selected = filters.get(port.kind)
            if options.direction in ("out", "both"):
                self._stages.append((port, _Stage(self, number, port, "out", selected)))
            if options.direction in ("in", "both") and port.peer is not None and port.peer is not port:
                self._stages.append((port.peer, _Stage(self, number, port.peer, "in", selected)))

    def open(self) -> None:
        """Write the headers, and see frames from now on."""
        options = self.options
        blocks = [pcapng.section(f"tmelink {version('tmelink')}")]
        blocks += [
            pcapng.interface(port.kind, *_names(port), options.snaplen, options.expression, _comment(port))
            for port in self.ports
        ]
        self._write(b"".join(blocks), [0] * len(self.ports))
        for port, stage in self._stages:
            chain.insert(port, stage)

    def close(self) -> None:
        """See no more frames; a second call does nothing."""
        for port, stage in self._stages:
            chain.remove(port, stage)
        self._stages.clear()

    def take(self, number: int, direction: pcapng.PacketDirection, burst: Burst) -> None:
        """Frames of an interface, chosen already; called by its stages."""
        now = time.time_ns()
        frames = burst.frames
        if self._left >= 0:
            frames = frames[: self._left]
            self._left -= len(frames)
        snaplen = self.options.snaplen
        blocks: list[bytes] = []
        size = count = 0
        for frame in frames:
            block = pcapng.packet(number, now, frame, snaplen, direction)
            blocks.append(block)
            size, count = size + len(block), count + 1
            if size >= BLOCK_BYTES:
                self._flush(number, blocks, count)
                blocks, size, count = [], 0, 0
        if blocks:
            self._flush(number, blocks, count)
        if self._left == 0:
            self.close()
            self._ended()

    def _flush(self, number: int, blocks: list[bytes], count: int) -> None:
        self.seen[number] += count
        frames = [0] * len(self.ports)
        frames[number] = count
        self._write(b"".join(blocks), frames)


class _Stage:
    """Sees what one port sends."""

    rank = chain.CAPTURE

    def __init__(
        self,
        capture: Capture,
        number: int,
        port: Port,
        direction: pcapng.PacketDirection,
        selected: PcapFilter | None,
    ) -> None:
        self._capture = capture
        self._number = number
        self._port = port
        self._direction = direction
        self._filter = selected

    def take(self, burst: Burst, onward: chain.BurstSink) -> None:
        shown = burst
        if burst.gso is not None and not self._capture.options.super_frames:
            # What cannot be cut is dropped at the other end, and counted there.
            shown = segmented(burst, Counters(), ip=self._port.kind == "ip")
        if self._filter is not None:
            chosen = self._filter.matching(shown.frames)
            shown = shown.part([index for index, match in enumerate(chosen) if match])
        if shown.frames:
            self._capture.take(self._number, self._direction, shown)
        onward(burst)

    def close(self) -> None:
        """Keeps nothing."""


def connection_name(port: Port) -> str:
    """What a connection is called, seen from one of its elements: `le0:link0`."""
    return f"{port.element.name}:{port.peer.element.name}" if port.peer is not None else port.element.name


def _names(port: Port) -> tuple[str, str]:
    """The name and the description of a connection's interface."""
    name = connection_name(port)
    return name, name.replace(":", " at ")


def _comment(port: Port) -> str:
    """What the two elements say of themselves, such as a link's peer; empty if that is nothing."""
    elements = dict.fromkeys(each.element for each in (port, port.peer) if each is not None)
    said = ((each.name, each.details()) for each in elements)
    return "; ".join(f"{name}: {details.summary}" for name, details in said if details and details.summary)
