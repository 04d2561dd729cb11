"""The base of tunnel elements: one side for what they carry, one for the outer packets that carry it.

The inner side is a connection. The outer side is a socket of the host or a connection too, so that tunnels
may be nested in user space. What a tunnel puts before a packet, and to whom it sends it, is for the
elements built on this.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from tmelink.element import Element, OuterMtu, Port, mtu_beyond
from tmelink.encapsulation.outer import Arrived, Outer
from tmelink.errors import PortError, ProtocolError
from tmelink.frame import Burst, Counters, Frame
from tmelink.ip import MIN_MTU_V6
from tmelink.offload import clamp_mss_to, coalesce
from tmelink.source import Word
from tmelink.system.monitor import Monitor

MAX_DEPTH = 16
"""How often a packet may come by before the first time is over: everything in a process is handed on by
synchronous calls, so a tunnel routed into itself would never return. Answers of built-in machines come
by too, and need a few."""

ETHERNET = 1500
"""The MTU that is assumed for an outer side that does not give its own."""


class TunnelElement(Element, ABC):
    """A tunnel with an outer IPv4 header from `local`, where a connection carries its packets.

    `capacity` is 2: the inner side and, named `outer` before `at`, the one that carries the outer packets.
    """

    capacity = 2
    rewires = False

    def __init__(self, name: str, arguments: Any, local: IPv4Address | None) -> None:
        super().__init__(name, arguments)
        self.outer: Port | None = None
        self.inner: Port | None = None
        self.sent = Counters()
        self.received = Counters()
        self._end = None if local is None else Outer(local.packed, arguments.ttl, self.received.drops)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._depth = 0
        self._told: int | None = None
        self._monitor: Monitor | None = None

    # Its two sides

    def port(self, words: Sequence[Word] = ()) -> Port:
        """The inner side; with the word `outer`, the side that carries the outer packets."""
        if words and words[0].text != "outer":
            raise PortError(f"{self.name} takes the connection argument 'outer', but got '{words[0]}'")
        if (self.outer if words else self.inner) is not None:
            raise PortError(f"{self.name} has its {'outer' if words else 'inner'} side connected already")
        if words and self._end is None:
            raise PortError(f"{self.name} needs 'local ADDR', an IPv4 address, to use a connection")
        port = super().port(words[1:])
        if words:
            self.outer = self.carried_by = port
            port.kind, port.offload = "ip", False
            port.sent.drops = self.sent.drops
        else:
            self.inner = port
        return port

    # Sizes

    @property
    @abstractmethod
    def overhead(self) -> int:
        """Bytes that an inner IP packet gains: the outer headers, and an inner Ethernet header."""

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        """The largest inner IP packet that crosses unfragmented; None for the outer side.

        A machine always has the 1280 bytes that IPv6 needs: if fewer fit, they travel in fragments.
        """
        if port is self.outer:
            return None
        inner = self.inner_mtu(outer)
        nested = port.peer is not None and port.peer is port.peer.element.carried_by
        return inner if nested or self.arguments.mtu is not None else max(inner, MIN_MTU_V6)

    def inner_mtu(self, outer: OuterMtu | None = None) -> int:
        """The MTU given, else what the outer path leaves."""
        given: int | None = self.arguments.mtu
        return given if given is not None else self.path_mtu(outer) - self.overhead

    def path_mtu(self, outer: OuterMtu | None = None) -> int:
        """The largest outer packet, of the connection that carries it or else of the host's path."""
        if self.outer is not None and self.outer.peer is not None:
            return mtu_beyond(self.outer, outer) or ETHERNET
        return self.host_path_mtu() if outer is None else outer(self)

    @abstractmethod
    def host_path_mtu(self) -> int:
        """The largest outer packet on the host's path to the other ends, as far as it is known."""

    @property
    def whole_mtu(self) -> int:
        """The largest inner IP packet that crosses in one outer packet, whatever MTU is given."""
        fits = self.path_mtu() - self.overhead
        given: int | None = self.arguments.mtu
        return fits if given is None else min(given, fits)

    def mtu_changed(self, port: Port) -> None:
        """What carries the outer packets takes larger or smaller ones than before."""
        if port is self.outer:
            self.path_changed()

    def path_changed(self) -> None:
        """Tell the inner side where another size fits than before."""
        if self.inner is not None and (fits := self.inner_mtu()) != self._told:
            self._told = fits
            self.tell_mtu(self.inner)

    async def watch_path(self) -> None:
        """Follow the host's path from now on, by the kernel's announcements."""
        if sys.platform == "linux":
            self._monitor = Monitor(self.path_changed)
            await self._monitor.open(None)
        self.path_changed()

    # Running

    async def open(self) -> None:
        """Take frames from now on."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Take no more frames."""
        self._loop = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def now(self) -> float:
        """The event loop's clock, in seconds."""
        return 0.0 if self._loop is None else self._loop.time()

    def counters(self) -> dict[str, Counters]:
        """The outer packets, and what was dropped of them."""
        return {"outer sent": self.sent, "outer received": self.received}

    def hold(self, port: Port, held: bool) -> None:
        """The carrier of the outer packets is full, or has room again: the inner side stops, or continues."""
        if port is self.outer:
            self.hold_inner(held)

    def hold_inner(self, held: bool) -> None:
        """Ask what is connected to the inner side to stop sending, or to continue."""
        if self.inner is not None:
            self.inner.hold(held)

    def receive(self, port: Port, burst: Burst) -> None:
        """Send inner packets with the tunnel's headers; remove the headers of outer packets."""
        if self._loop is None:
            port.drop("not open", len(burst.frames))
        elif port is self.outer:
            self.received.frames += len(burst.frames)
            self.received.bytes += sum(map(len, burst.frames))
            self.unwrap(burst.frames)
        elif self._depth >= MAX_DEPTH:
            port.drop("routed into itself", len(burst.frames))
        else:
            self._depth += 1
            try:
                self.wrap(port, burst)
            finally:
                self._depth -= 1

    # To the other end

    @abstractmethod
    def wrap(self, port: Port, burst: Burst) -> None:
        """Send a burst from the inner side with the tunnel's headers."""

    def send_by_connection(self, packets: list[Frame]) -> None:
        """Hand outer packets to the connection that carries them."""
        assert self.outer is not None, "a socket would have taken them"
        if not packets:
            return
        self.outer.send(Burst(packets))
        self.sent.frames, self.sent.bytes = self.outer.sent.frames, self.outer.sent.bytes

    # From the other end

    def unwrap(self, packets: Sequence[Frame]) -> None:
        """Remove the headers of outer packets, and hand on what they carried."""
        assert self._end is not None, "what unwraps packets has wrapped some"
        now, frames = self.now(), list[Frame]()
        for packet in packets:
            try:
                arrived = self._end.unwrap(packet, now)
                frame = None if arrived is None else self.open_arrived(arrived, now)
            except ProtocolError as reason:
                self.received.drops[str(reason)] += 1
                continue
            if frame is not None:
                frames.append(frame)
        self.deliver(frames)

    @abstractmethod
    def open_arrived(self, arrived: Arrived, now: float) -> Frame | None:
        """What an outer packet carried, None if that is for the tunnel itself.

        Raises `ProtocolError` with the reason to drop it.
        """

    def deliver(self, frames: list[Frame]) -> None:
        """Hand frames to what is connected to the inner side, as super-frames if it takes them."""
        port = self.inner
        if not frames:
            return
        fits = self.whole_mtu
        frames = [clamp_mss_to(frame, fits, ip=port is not None and port.kind == "ip") for frame in frames]
        if port is None:
            self.received.drops["not connected"] += len(frames)
        elif port.peer is not None and port.peer.offload:
            port.send(coalesce(frames, ip=port.kind == "ip"))
        else:
            port.send(Burst(frames))
