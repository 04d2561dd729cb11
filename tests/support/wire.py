"""Two sessions joined in memory by a wire that may lose, repeat and reorder, with a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tmelink.frame import Gso, Run, SuperFrame
from tmelink.openvpn.session import Carried, SessionEvent, Step
from tmelink.openvpn.tls.session import TlsSession

E = TypeVar("E")

DELAY = 0.01
"""Seconds that a datagram takes, without reordering."""

START = 1_700_000_000.0
"""Seconds since 1970 at the wire's time 0."""


def wall(now: float) -> float:
    return START + now


def pieces(items: Sequence[Carried]) -> list[bytes]:
    """The datagrams or frames one by one, as copies; none of them is a super-frame."""
    found: list[bytes] = []
    for item in items:
        assert not isinstance(item, SuperFrame), "a session without --super-frames handed one over"
        found += map(bytes, item.pieces() if isinstance(item, Run) else [item])
    return found


def kept(items: Sequence[Carried]) -> list[tuple[bytes, Gso | None]]:
    """Super-frames with their labels, and everything else one by one without any, as copies."""
    found: list[tuple[bytes, Gso | None]] = []
    for item in items:
        if isinstance(item, SuperFrame):
            found.append((bytes(item.frame), item.gso))
        else:
            found += [(piece, None) for piece in pieces([item])]
    return found


class End:
    """One session, what it handed to its machine, and what it reported."""

    def __init__(self, session: TlsSession) -> None:
        self.session = session
        self.frames: list[bytes] = []
        self.events: list[SessionEvent] = []
        self.sent: list[bytes] = []
        self._due = math.inf

    def took(self, step: Step) -> None:
        """A step was carried out: one that says that it brings no deadline closer has not."""
        due = self.session.deadline()
        due = math.inf if due is None else due
        assert due >= self._due or not step.postpones, "a step that postpones has brought a deadline closer"
        self._due = due

    def receive(self, datagrams: Sequence[bytes], now: float, *source: str) -> Step:
        """Give the session datagrams that did not come from its peer."""
        step = self.session.receive(datagrams, now, *source)
        self.took(step)
        return step

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


class Wire:
    """Joins a client's and a server's session; `chance` decides what happens to each datagram."""

    def __init__(self, client: TlsSession, server: TlsSession, *, loss: float = 0, seed: int = 0) -> None:
        self.client, self.server = End(client), End(server)
        self.now = 0.0
        self.loss = loss
        self._chance = random.Random(seed)
        self._flying: list[tuple[float, int, End, bytes]] = []
        self._order = itertools.count()
        self.touch: Callable[[bytes], bytes] = lambda datagram: datagram

    def begin(self) -> None:
        for end in (self.server, self.client):
            self.do(end, end.session.connected(self.now))

    def other(self, end: End) -> End:
        return self.server if end is self.client else self.client

    def do(self, end: End, step: Step) -> None:
        for datagram in pieces(step.wire):
            end.sent.append(datagram)
            chance = self._chance
            copies = 1
            if self.loss:
                copies = 0 if chance.random() < self.loss else 2 if chance.random() < self.loss / 3 else 1
            for _ in range(copies):
                delay = DELAY * (1 + 20 * chance.random() if self.loss else 1)
                heapq.heappush(
                    self._flying, (self.now + delay, next(self._order), self.other(end), self.touch(datagram))
                )
        end.frames += pieces(step.frames)
        end.events += step.events
        end.took(step)

    def send(self, end: End, *frames: bytes) -> None:
        self.do(end, end.session.send(list(frames), self.now))

    def call(self, end: End, name: str, *arguments: Any) -> None:
        self.do(end, getattr(end.session, name)(*arguments, self.now))

    def run(self, until: float) -> None:
        """Let time pass, as fast as things happen."""
        while True:
            deadlines = [(end.session.deadline(), end) for end in (self.client, self.server)]
            next_tick = min((at for at, _ in deadlines if at is not None), default=until)
            next_arrival = self._flying[0][0] if self._flying else until
            at = min(next_tick, next_arrival)
            if at >= until:
                self.now = until
                return
            self.now = max(self.now, at)
            if next_arrival <= next_tick:
                _, _, end, datagram = heapq.heappop(self._flying)
                self.do(end, end.session.receive([datagram], self.now))
                continue
            for deadline, end in deadlines:
                if deadline is not None and deadline <= self.now:
                    self.do(end, end.session.tick(self.now))
                    after = end.session.deadline()
                    assert after is None or after > self.now, "tick at its deadline left it where it was"
