"""`tmelink/nic`: a network card for a program, which gives it to the machine that it emulates.

It filters by MAC address as a card does and keeps what arrived until the program takes it. Usable from the
event loop that runs the machine; `tmelink.threads` gives it to other threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tmelink import ethernet, values
from tmelink.arguments import flag, keyword
from tmelink.element import Element, Port
from tmelink.errors import ClosedError
from tmelink.frame import MIN_FRAME, Burst, Counters, Frame

QUEUE = 1024
"""Frames that wait for the program: 1.5 MB of full-sized ones, a tenth of a second at 120 Mbit/s."""

MAX_QUEUE = 1_000_000

DROP_OLDEST = "drop-oldest"
DROP_NEWEST = "drop-newest"
BLOCK = "block"


class Holder(Protocol):
    """A consumer of a card's frames other than `recv`; it is called on the event loop."""

    def arrived(self) -> None:
        """Frames wait in `waiting`."""

    def released(self) -> None:
        """The card is no longer `stopped`."""

    def closed(self) -> None:
        """The card was closed."""


class Nic(Element):
    """A network card for a program: `send(frame)`, `await recv()`, or `async for frame in nic`.

    With a MAC address, it takes frames for that address, broadcasts, and frames for the groups given to
    `join`. You may change `promiscuous` at any time. `received` counts the frames that passed the filter, and
    those that the queue dropped. `sent` counts the frames that the program sent. A full queue drops frames.
    With `block`, it first asks the other end to wait.
    """

    example = """\
card: tmelink/nic mac 02:00:00:00:00:01 queue 256 full block
peer at card: tmelink/host inet 10.0.77.2/24
"""

    @dataclass(frozen=True)
    class Arguments:
        """A card's arguments in a machine file."""

        mac: bytes | None = keyword(
            "MAC", values.unicast_mac, default=None, help="its MAC address; without one it takes every frame"
        )
        promiscuous: bool = flag(help="take frames for every station")
        queue: int = keyword(
            "FRAMES",
            values.integer(1, MAX_QUEUE, "queue length"),
            default=QUEUE,
            help="how many frames may wait in each direction",
        )
        full: str = keyword(
            "POLICY",
            values.choice(DROP_OLDEST, DROP_NEWEST, BLOCK),
            default=DROP_OLDEST,
            help="what a full queue does: drop-oldest, drop-newest, or block, which makes the sender wait",
        )

    arguments: Arguments
    is_station = True

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.mac = arguments.mac
        self.promiscuous = arguments.promiscuous or arguments.mac is None
        self.room = arguments.queue
        self.full = arguments.full
        self.received = Counters()
        self.waiting: deque[bytes] = deque()
        self.holder: Holder | None = None
        self.holding = False
        self.stopped = False
        self._unplugged = Counters()
        self._accepted = {ethernet.BROADCAST}
        if arguments.mac is not None:
            self._accepted.add(arguments.mac)
        self._takers: deque[asyncio.Future[None]] = deque()
        self._callbacks: list[Callable[[bool], object]] = []
        self._was_up = False
        self._closed = False

    def stations(self, port: Port) -> frozenset[bytes]:
        """The MAC address that the file gives it, if any."""
        return frozenset() if self.mac is None else frozenset({self.mac})

    async def open(self) -> None:
        """Make the card usable again after a `close`."""
        self._closed = False

    async def close(self) -> None:
        """Drop waiting frames; every use from now on, and every running one, raises `ClosedError`."""
        self._closed = True
        self.waiting.clear()
        self.taken()
        self._wake(len(self._takers))
        if self.holder is not None:
            self.holder.closed()

    @property
    def sent(self) -> Counters:
        """Counters of the frames that the program sent, and of those that could not be delivered."""
        return self.ports[0].sent if self.ports else self._unplugged

    def counters(self) -> dict[str, Counters]:
        """`received`: frames that passed the address filter, and those that a full queue dropped."""
        return {"received": self.received}

    # The address filter

    def join(self, group: bytes) -> None:
        """Take frames to a multicast MAC address too; `ValueError` for another address."""
        if len(group) != 6 or not ethernet.is_group(group):
            raise ValueError(f"{ethernet.text(group)} is not a group address")
        self._accepted.add(bytes(group))

    def leave(self, group: bytes) -> None:
        """Stop taking frames to a multicast MAC address; harmless for one that was not joined."""
        if group not in (self.mac, ethernet.BROADCAST):
            self._accepted.discard(bytes(group))

    # The program's side

    @property
    def link(self) -> bool:
        """Whether the card is connected and, where the connection leads to a remote peer, the peer is up."""
        return bool(self.ports) and self.ports[0].up

    def on_link(self, callback: Callable[[bool], object]) -> None:
        """Call `callback(up)` now and whenever `link` changes; what it raises is logged."""
        self._callbacks.append(callback)
        self._was_up = self.link
        self._report_room(callback)

    def send(self, frame: Frame) -> None:
        """Send an Ethernet frame of at least 14 bytes, without its check sequence; a shorter one is counted.

        Raises `ClosedError` after `close`. The frame may be reused when `send` returns.
        """
        self.send_many([frame])

    def send_many(self, frames: Sequence[Frame]) -> None:
        """Send several frames in one go, each as by `send`."""
        if self._closed:
            raise ClosedError(f"{self.name} is closed")
        whole = [frame for frame in frames if len(frame) >= MIN_FRAME]
        if len(whole) < len(frames):
            self.sent.drops["short frame"] += len(frames) - len(whole)
        if not self.ports:
            self._unplugged.drops["not connected"] += len(whole)
        elif whole:
            self.ports[0].send(Burst(whole))

    async def recv(self) -> bytes:
        """The next frame, in the order of arrival; raises `ClosedError` once the card is closed."""
        while True:
            if self._closed:
                raise ClosedError(f"{self.name} is closed")
            if self.waiting:
                frame = self.waiting.popleft()
                self.taken()
                return frame
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                # A waiter that was woken for a frame and is cancelled before taking it wakes the next.
                if taker.done() and not taker.cancelled():
                    self._wake(1)
                else:
                    self._takers.remove(taker)
                raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The frames as they arrive, until the card is closed."""
        while True:
            try:
                frame = await self.recv()
            except ClosedError:
                return
            yield frame

    def taken(self) -> None:
        """Frames were taken out of `waiting`: let a waiting other end continue if there is room."""
        if self.holding and len(self.waiting) <= self.room // 4:
            self.holding = False
            self.ports[0].hold(False)

    # The connection's side

    def receive(self, port: Port, burst: Burst) -> None:
        """Keep copies of the frames that pass the filter."""
        frames = burst.frames
        if self._closed:
            port.drop("not open", len(frames))
            return
        taken = [bytes(frame) for frame in frames if len(frame) >= MIN_FRAME]
        if len(taken) < len(frames):
            self.received.drops["short frame"] += len(frames) - len(taken)
        if not self.promiscuous:
            accepted = self._accepted
            taken = [frame for frame in taken if frame[:6] in accepted]
        received, waiting = self.received, self.waiting
        received.frames += len(taken)
        received.bytes += sum(map(len, taken))
        excess = len(waiting) + len(taken) - self.room
        if excess > 0:
            received.drops["queue full"] += excess
            if self.full == DROP_OLDEST:
                waiting.extend(taken)
                drop_oldest(waiting, excess)
            else:
                waiting.extend(taken[:-excess])
        else:
            waiting.extend(taken)
        # Half the queue is for frames in flight until the other end has stopped.
        if self.full == BLOCK and not self.holding and len(waiting) > self.room // 2:
            self.holding = True
            port.hold(True)
        if self.holder is not None:
            self.holder.arrived()
        else:
            self._wake(len(waiting))

    def hold(self, port: Port, held: bool) -> None:
        """The other end is full, or has room again: senders that can wait do so."""
        self.stopped = held
        if not held and self.holder is not None:
            self.holder.released()

    def carrier(self, port: Port) -> None:
        """The link came up or went down: call the callbacks."""
        up = self.link
        if port.peer is None:
            # A peer that held the other end can no longer release it.
            self.holding = False
            self.hold(port, False)
        if up != self._was_up:
            self._was_up = up
            for callback in list(self._callbacks):
                self._report_room(callback)

    def _report_room(self, callback: Callable[[bool], object]) -> None:
        try:
            callback(self._was_up)
        except Exception:  # a fault in the program must not end the connection
            self.log.exception("the program's link callback failed")

    def _wake(self, count: int) -> None:
        """Wake up to `count` waiters for a frame, the longest waiting first."""
        takers = self._takers
        while count > 0 and takers:
            taker = takers.popleft()
            if not taker.done():
                taker.set_result(None)
                count -= 1


def drop_oldest(queue: deque[bytes], count: int) -> None:
    """Drop up to `count` frames from a queue that other threads may be taking from."""
    for _ in range(count):
        try:
            queue.popleft()
        except IndexError:
            return
