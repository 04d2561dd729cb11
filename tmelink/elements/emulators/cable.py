"""Joins a connection of an element and a socket that carries bare frames: `Endpoint`, `Cable`.

It cuts super-frames that leave and joins frames that arrive, as the link does. The elements built on this
know what is at the other end, and open the socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tmelink import frame
from tmelink.element import Element, Port
from tmelink.frame import MIN_FRAME, Burst, Counters, Frame, Run, pieces
from tmelink.offload import coalesce, cut

Items = Sequence[Frame | Run]


def as_it_is(items: Items) -> Items:
    """Each frame is one datagram."""
    return items


class Carrier(Protocol):
    """Carries an endpoint's frames while there is a peer: a socket of any kind."""

    def send(self, items: Sequence[Frame | Run], /) -> None:
        """Send frames; those that cannot be sent are dropped and counted."""

    def pause(self, paused: bool, /) -> None:
        """Stop reading, where that makes the peer wait, or continue."""


class Endpoint:
    """The socket side of one connection: `carrier` is None while there is no peer.

    `sent` and `received` count what crossed the wire and what was dropped there.
    """

    def __init__(self) -> None:
        self.port: Port | None = None
        self.carrier: Carrier | None = None
        self.sent = Counters()
        self.received = Counters()

    def take(self, port: Port, burst: Burst) -> None:
        """Frames from the machine's side; super-frames are cut."""
        if self.carrier is None:
            port.drop("link down", len(burst.frames))
        else:
            self.carrier.send(cut(burst, port.sent))

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
        """The carrier is full, or has room again: the machine's side stops reading, or continues."""
        if self.port is not None:
            self.port.hold(held)

    def hold(self, held: bool) -> None:
        """The machine's side is full, or has room again: let the peer wait, or continue."""
        if self.carrier is not None:
            self.carrier.pause(held)

    def _whole(self, items: Sequence[Frame | Run]) -> Sequence[Frame | Run]:
        """The items that are long enough for a frame; shorter ones are counted."""
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
        """A port that takes super-frames: they are cut directly into runs for the socket."""
        self.endpoint.port = Port(self, offload=True)
        return self.endpoint.port

    def counters(self) -> dict[str, Counters]:
        """Frames that crossed the wire, and those dropped there."""
        return {"wire sent": self.endpoint.sent, "wire received": self.endpoint.received}

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames from the machine, for the peer."""
        self.endpoint.take(port, burst)

    def hold(self, port: Port, held: bool) -> None:
        """The machine's side is full, or has room again."""
        self.endpoint.hold(held)


def _shortest(item: Frame | Run) -> int:
    if isinstance(item, Run):
        return min(len(item.data) % item.size or item.size, item.size)
    return len(item)
