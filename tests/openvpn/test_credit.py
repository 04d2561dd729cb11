"""The credit towards a peer with a small buffer, simulated: a queue that is served and overflows."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count, pairwise
from random import Random

import pytest

from tmelink.openvpn.data.credit import (
    LEAST,
    LONG,
    LONGEST_PATIENCE,
    PATIENCE,
    QUESTION,
    ROOM,
    TRIES,
    Credit,
)

BUFFER = 92
"""Datagrams of 1500 bytes that fit in Linux's usual buffer."""

OVERHEAD = 49
"""Bytes by which this peer's answers are shorter than what they are asked for."""

PIECES = 36


class Path:
    """A peer that takes `rate` datagrams a second, `trip` seconds away there and back."""

    def __init__(self, rate: float, trip: float, loss: float = 0.0, seed: int = 1) -> None:
        self.credit = Credit()
        self.now = 0.0
        self.taken = self.overrun = 0
        self._service, self._way = 1 / rate, trip / 2
        self._loss, self._random = loss, Random(seed)
        self._order = count()
        self._events: list[tuple[float, int, str, int]] = []
        self._buffer: deque[int] = deque()
        self._serving = False
        self._due = self._next = 0.0

    def run(self, seconds: float) -> None:
        """Send all that the credit allows for so long."""
        until = self.now + seconds
        self._send()
        while self._events and self._events[0][0] <= until:
            self.now, _, what, length = heapq.heappop(self._events)
            getattr(self, f"_{what}")(length)
            self._send()
        self.now = until

    def _at(self, seconds: float, what: str, length: int = 0) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), what, length))

    def _send(self) -> None:
        credit = self.credit
        while credit.limits and credit.room >= PIECES:
            self._burst()
        if not credit.limits and self.now >= self._next:
            # As TCP begins: so many, and more after a round trip.
            self._burst(10)
            self._next = self.now + self._way * 2 + PIECES * self._service
            self._at(self._next - self.now, "wake")
        due = credit.deadline()
        if due is not None and due != self._due:
            self._due = due
            self._at(max(due - self.now, 0), "late")

    def _burst(self, size: int = PIECES) -> None:
        for _ in range(size):
            self._over(0)
        if self.credit.sent(size, self.now):
            self._over(self.credit.ask(self.now))

    def _over(self, length: int) -> None:
        if self._random.random() >= self._loss:
            self._at(self._way, "arrive", length)

    def _wake(self, length: int) -> None:
        pass

    def _late(self, length: int) -> None:
        due = self.credit.deadline()
        if due is not None and self.now >= due and self.credit.room < PIECES and self.credit.late():
            self._over(self.credit.ask(self.now))

    def _arrive(self, length: int) -> None:
        if len(self._buffer) >= BUFFER:
            self.overrun += 1
            return
        self._buffer.append(length)
        if not self._serving:
            self._serving = True
            self._at(self._service, "serve")

    def _serve(self, length: int) -> None:
        length = self._buffer.popleft()
        if not length:
            self.taken += 1
        elif self._random.random() >= self._loss:
            self._at(self._way, "answer", length - OVERHEAD)
        self._serving = bool(self._buffer)
        if self._serving:
            self._at(self._service, "serve")

    def _answer(self, length: int) -> None:
        self.credit.answered(length, self.now)


@pytest.mark.parametrize("rate", [5_000, 50_000, 90_000])
@pytest.mark.parametrize("trip", [50e-6, 300e-6])
def test_a_small_buffer_is_not_overrun_and_goes_not_hungry(rate: float, trip: float) -> None:
    path = Path(rate, trip)
    path.run(4_000 / rate + 20 * trip)
    path.taken = 0
    path.run(8_000 / rate)
    assert path.overrun == 0
    assert path.taken > 0.93 * 8_000


def test_a_long_path_is_not_limited() -> None:
    path = Path(20_000, 2 * LONG)
    path.run(0.2)
    assert not path.credit.limits


def test_a_slow_peer_is_not_taken_for_one_far_away() -> None:
    path = Path(5_000, 300e-6)
    path.run(5)
    assert path.credit.limits
    assert path.overrun == 0


@pytest.mark.parametrize("loss", [0.001, 0.01])
@pytest.mark.parametrize("trip", [50e-6, 300e-6])
def test_lost_questions_and_answers_hold_nothing_up_for_long(loss: float, trip: float) -> None:
    path = Path(20_000, trip, loss)
    path.run(1)
    assert path.overrun == 0
    assert path.taken > 0.8 * 20_000


def test_a_peer_that_never_answers_is_not_limited_and_asked_less_and_less() -> None:
    credit, asked, now = Credit(), [], 0.0
    while now < 300:
        if credit.sent(LEAST, now):
            asked.append(now)
            assert credit.ask(now) == QUESTION, "nobody could tell which of several was answered"
        assert not credit.limits
        now += 0.01
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses[0] == pytest.approx(PATIENCE, abs=0.02)
    assert all(later >= earlier - 0.02 for earlier, later in pairwise(pauses))
    assert pauses[-1] == pytest.approx(LONGEST_PATIENCE, abs=0.02)


def test_small_talk_is_not_worth_a_question() -> None:
    credit = Credit()
    assert not any(credit.sent(1, float(now)) for now in range(1000))


def test_a_peer_that_stops_answering_holds_nothing_for_ever() -> None:
    credit = Credit()
    assert credit.sent(LEAST, 0.0)
    credit.answered(credit.ask(0.0) - OVERHEAD, 0.001)
    assert credit.limits
    assert credit.room == ROOM
    credit.sent(ROOM, 0.002)
    credit.ask(0.002)
    assert credit.room == 0
    for _ in range(TRIES - 1):
        due = credit.deadline()
        assert due is not None
        assert credit.late()
        credit.ask(due)
    assert not credit.late()
    assert not credit.limits
    assert credit.room > 0


@pytest.mark.parametrize("length", [0, 16, 17, QUESTION + 1, 65535])
def test_messages_that_answer_nothing_are_passed_over(length: int) -> None:
    credit = Credit()
    credit.answered(length, 0.0)
    credit.sent(LEAST, 1.0)
    credit.ask(1.0)
    credit.answered(QUESTION + 1, 1.1)
    assert not credit.limits
