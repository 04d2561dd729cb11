"""The packet size on an Ethernet that several connections share; all of them learn of a change."""

from __future__ import annotations

import asyncio
from typing import Any

from tmelink.element import Element, OuterMtu, Port
from tmelink.elements.builtin.segment_mtu import SegmentMtu


class SharedSegment(Element):
    """An element whose connections are one Ethernet, each of which hears the sizes that the others take."""

    capacity = None
    takes_on_mtu = True

    def __init__(self, name: str, arguments: Any) -> None:
        super().__init__(name, arguments)
        self._running: asyncio.AbstractEventLoop | None = None
        self._asking = self._telling = False
        self._segment: SegmentMtu | None = None
        self._told: tuple[object, ...] | None = None

    def segment_opened(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """It runs in this loop since now; None when it is closed."""
        self._running = loop
        if loop is not None:
            self._segment = self._told = None

    def make_port(self) -> Port:
        """A port that takes super-frames; `Port.send` cuts them where the next one does not."""
        return Port(self, offload=True)

    def longest(self, port: Port) -> int | None:
        """The smallest size that the elements behind the other connections ask for."""
        if self._asking:
            return None
        self._asking = True
        try:
            peers = [other.peer for other in self.ports if other is not port and other.peer is not None]
            wishes = [wish for peer in peers if (wish := peer.element.longest(peer)) is not None]
        finally:
            self._asking = False
        return min(wishes, default=None)

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        """The smallest that the elements behind the other connections take; None if they take any."""
        if self._asking:
            return None  # switches in a loop
        segment = self._segment
        if segment is None or segment.outer != outer or (outer is None and self._running is None):
            segment = self._segment = SegmentMtu(outer)
        self._asking = True
        try:
            return segment.without(port, self.ports)
        finally:
            self._asking = False

    def mtu_changed(self, port: Port) -> None:
        """What one of the others takes has changed: soon all are told, once for all that changes now."""
        self._segment = None
        if self._running is not None and not self._telling:
            self._telling = True
            self._running.call_soon(self._tell_others)

    def carrier(self, port: Port) -> None:
        """A connection came, went, came up or went down: it may take other packets than before."""
        self.mtu_changed(port)

    def _tell_others(self) -> None:
        self._telling = False
        if self._running is None:
            return
        segment = self._segment = SegmentMtu(None)
        self._asking = True
        try:
            before, self._told = self._told, segment.summary(self.ports)
        finally:
            self._asking = False
        if before != self._told:
            self.tell_mtu(*self.ports)
