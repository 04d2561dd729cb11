"""Where a connection of an element meets a socket that carries bare frames: Outlet, Cable.

Cuts super-frames on their way out and joins frames on their way in, as the link does; what is at the other
end, and how the socket was come by, is the elements' that are built on this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tmelink import frame
from tmelink.element import Element, Port
from tmelink.frame import MIN_FRAME, Burst, Counters, Frame, Run, pieces
from tmelink.offload import coalesce, cut


class Carrier(Protocol):
    """What carries an outlet's frames while there is a peer: a socket of any kind."""

    def send(self, items: Sequence[Frame | Run], /) -> None:
        """Send frames; what cannot be sent is dropped and counted."""

    def pause(self, paused: bool, /) -> None:
        """Read no more, where that makes the peer wait, or go on."""


class Endpoint:
    """One connection's way out: `way` is None while there is no peer.

    `sent` and `received` count what crossed the wire and what was dropped there.
    """

    def __init__(self) -> None:
        self.port: Port | None = None
        self.way: Carrier | None = None
        self.sent = Counters()
        self.received = Counters()

    def take(self, port: Port, burst: Burst) -> None:
        """Frames from the machine's side; super-frames are cut."""
        if self.way is None:
            port.drop("link down", len(burst.frames))
        else:
            self.way.send(cut(burst, port.sent))

    def deliver(self, items: Sequence[Frame | Run]) -> None:
        """Frames from the peer; they are joined where the machine's side takes super-frames."""
        items = self._whole(items)
        port = self.port
        if port is None or port.peer is None:
            self.received.drops["not connected"] += frame.count(items)
        elif port.peer.offload:
            port.send(coalesce(items))
        else:
            port.send(Burst(pieces(items)))

    def hold_machine(self, held: bool) -> None:
        """The way to the peer is full, or no longer: the machine's side stops reading, or goes on."""
        if self.port is not None:
            self.port.hold(held)

    def hold(self, held: bool) -> None:
        """The machine's side is full, or no longer: let the peer wait."""
        if self.way is not None:
            self.way.pause(held)

    def _whole(self, items: Sequence[Frame | Run]) -> Sequence[Frame | Run]:
        """The items without what is too short to be a frame; that is counted."""
        if min(map(_shortest, items), default=MIN_FRAME) >= MIN_FRAME:
            return items
        frames = pieces(items)
        kept: list[Frame | Run] = [frame for frame in frames if len(frame) >= MIN_FRAME]
        self.received.drops["short frame"] += len(frames) - len(kept)
        return kept


class Cable(Element):
    """An element with one connection and a peer that takes bare frames; it is `up` once there is one."""

    up = False

    def __init__(self, name: str, arguments: Any) -> None:
        super().__init__(name, arguments)
        self.endpoint = Endpoint()

    def make_port(self) -> Port:
        """A port that takes super-frames: they are cut straight into what the socket takes."""
        self.endpoint.port = Port(self, offload=True)
        return self.endpoint.port

    def counters(self) -> dict[str, Counters]:
        """What crossed the wire, and what was dropped there."""
        return {"wire sent": self.endpoint.sent, "wire received": self.endpoint.received}

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames from the machine, for the peer."""
        self.endpoint.take(port, burst)

    def hold(self, port: Port, held: bool) -> None:
        """The machine's side is full, or no longer."""
        self.endpoint.hold(held)


def _shortest(item: Frame | Run) -> int:
    if isinstance(item, Run):
        return min(len(item.data) % item.size or item.size, item.size)
    return len(item)
