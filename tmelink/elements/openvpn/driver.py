"""Drives one session over one transport: feeds it, carries out its steps, wakes it at its deadlines.

The shell that `tmelink.openvpn.session` speaks of. Owns the clock and the timer; the transport and what
becomes of frames and events are its owner's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence

from tmelink.frame import Frame
from tmelink.openvpn.session import Carried, Item, Session, SessionEvent, Step
from tmelink.openvpn.tls.session import TlsSession
from tmelink.timers import DeadlineTimer

WireWatcher = Callable[[Sequence[Item], bool], None]
"""Is shown what crosses the wire: datagrams, and whether this end sent them."""


class SessionDriver:
    """A session with its timer. `transmit` sends to the peer, `deliver` takes frames, `event` events."""

    def __init__(
        self,
        session: Session,
        transmit: Callable[[Sequence[Item]], None],
        deliver: Callable[[Sequence[Carried]], None],
        event: Callable[[SessionEvent], None],
        answer: Callable[[Sequence[Item], Hashable], None] | None = None,
    ) -> None:
        self.session = session
        self._transmit = self._plain_transmit = transmit
        self._watchers: list[WireWatcher] = []
        self._deliver = deliver
        self._event = event
        self._answer = self._plain_answer = answer
        self._loop = asyncio.get_running_loop()
        self._timer = DeadlineTimer(self._tick)
        self._closed = False

    def start(self) -> None:
        """The transport can carry datagrams."""
        self.do(self.session.connected(self._loop.time()))

    def receive(self, datagrams: Sequence[Item], source: Hashable = None) -> Step:
        """Give the session what arrived; the caller may check `authentic`, then calls `do`."""
        return self.session.receive(datagrams, self._loop.time(), source)

    def send(self, frames: Sequence[Carried]) -> None:
        """Send frames from the machine."""
        self.do(self.session.send(frames, self._loop.time()))

    def send_one(self, frame: Frame) -> None:
        """Send a frame that comes alone, by the session's fast path if it has one."""
        wire = self.session.seal_one(frame, self._loop.time())
        if wire is None:
            self.send([frame])
        elif wire:
            self._transmit(wire)

    def receive_one(self, datagram: Frame, source: Hashable = None) -> Frame | Step:
        """The frame in a datagram that arrived alone, or a step as from `receive`."""
        return self.session.open_one(datagram, self._loop.time(), source)

    def probe(self, payloads: Sequence[int]) -> None:
        """Ask the peer what arrives of payloads of these lengths in bytes; the owner hears its answer."""
        self.do(self.session.probe(payloads, self._loop.time()))

    def watch(self, watcher: WireWatcher) -> None:
        """Show `watcher` all datagrams until `unwatch`."""
        self._watchers.append(watcher)
        if len(self._watchers) == 1:
            self._cover()

    def unwatch(self, watcher: WireWatcher) -> None:
        """Show it nothing any more."""
        self._watchers.remove(watcher)
        if not self._watchers:
            self._transmit, self._answer = self._plain_transmit, self._plain_answer
            del self.receive, self.receive_one

    def _cover(self) -> None:
        """Cover methods by others of this object: one that nobody watches pays nothing."""
        receive, receive_one = self.receive, self.receive_one

        def show(items: Sequence[Item], sent: bool) -> None:
            for watcher in self._watchers:
                watcher(items, sent)

        def watched_transmit(items: Sequence[Item]) -> None:
            show(items, True)
            self._plain_transmit(items)

        def watched_answer(items: Sequence[Item], address: Hashable) -> None:
            show(items, True)
            if self._plain_answer is not None:
                self._plain_answer(items, address)

        def watched_receive(datagrams: Sequence[Item], source: Hashable = None) -> Step:
            show(datagrams, False)
            return receive(datagrams, source)

        def watched_receive_one(datagram: Frame, source: Hashable = None) -> Frame | Step:
            show((datagram,), False)
            return receive_one(datagram, source)

        self._transmit = watched_transmit
        if self._plain_answer is not None:
            self._answer = watched_answer
        self.receive = watched_receive  # type: ignore[method-assign]
        self.receive_one = watched_receive_one  # type: ignore[method-assign]

    def do(self, step: Step) -> None:
        """Send, deliver and report what the step asks for, in that order, and set the timer."""
        if self._closed:
            return
        self._send(step)
        if step.frames:
            self._deliver(step.frames)
        for event in step.events:
            self._event(event)
        if not step.postpones and not self._closed:
            self._timer.arm(self.session.deadline())

    def respond(self, answer: str) -> None:
        """Answer the server's question; raises `ValueError` for an answer that is too long."""
        if isinstance(self.session, TlsSession):
            self.do(self.session.respond(answer, self._loop.time()))

    def renew(self) -> None:
        """Negotiate new keys of a session with TLS; those in use hold meanwhile."""
        if isinstance(self.session, TlsSession):
            self.do(self.session.renew(self._loop.time()))

    def close(self) -> None:
        """Notify the peer if the session wants to; afterwards nothing is sent, delivered or reported."""
        if not self._closed:
            self._send(self.session.close(self._loop.time()))
        self._closed = True
        self._timer.cancel()

    def _send(self, step: Step) -> None:
        if step.answers and self._answer is not None:
            for address, items in step.answers:
                self._answer(items, address)
        if step.wire:
            self._transmit(step.wire)

    def _tick(self) -> None:
        self.do(self.session.tick(self._loop.time()))
