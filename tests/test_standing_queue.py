"""A queue that stands loses a piece now and then; a burst, a sleep and a short queue lose nothing."""

from __future__ import annotations

import random
from math import sqrt

from tmelink.standing_queue import INTERVAL, PAUSE, TARGET, StandingQueue


def reads(queue: StandingQueue, start: float, seconds: float, every: float) -> list[float]:
    """When a reader drops that needs all its time for what it reads `every` so many seconds."""
    drops = []
    for n in range(round(seconds / every)):
        now = start + n * every
        if queue.must_drop(now):
            drops.append(now - start)
        queue.handed_on(now + every)
    return drops


def test_the_first_drop_is_due_after_an_interval_and_the_next_come_ever_sooner() -> None:
    step = TARGET * 1.5
    drops = reads(StandingQueue(), 100.0, 1.0, step)
    assert INTERVAL <= drops[0] <= INTERVAL + 2 * step
    due = drops[0]
    for count, at in enumerate(drops[1:20], 1):
        due += INTERVAL / sqrt(count)
        assert due <= at + 1e-9, (count, at)
        assert at < due + step, (count, at)
    assert len(drops) > 100


def test_a_queue_that_is_read_quickly_loses_nothing() -> None:
    assert not reads(StandingQueue(), 0.0, 5.0, TARGET * 0.9)


def test_a_burst_shorter_than_an_interval_loses_nothing() -> None:
    queue = StandingQueue()
    for second in range(20):
        assert not reads(queue, float(second), INTERVAL * 0.8, TARGET * 2)


def test_what_comes_while_the_loop_sleeps_has_not_waited() -> None:
    queue, now = StandingQueue(), 0.0
    rng = random.Random(8289)
    for _ in range(5000):
        work = rng.uniform(0.0, PAUSE)
        assert not queue.must_drop(now)
        queue.handed_on(now + work)
        now += work + PAUSE * 1.01


def test_time_that_the_queue_was_held_counts_as_waiting() -> None:
    queue, drops = StandingQueue(), 0
    for n in range(100):
        drops += queue.must_drop(n * 0.02, held=True)
        queue.handed_on(n * 0.02 + 0.0001)
    assert drops > 10


def test_a_queue_that_stands_again_soon_is_dropped_from_as_often_as_before() -> None:
    step = TARGET * 2
    queue = StandingQueue()
    first = reads(queue, 0.0, 1.0, step)
    assert not reads(queue, 1.02, 0.01, TARGET / 2)
    again = reads(queue, 1.03, 0.2, step)
    fresh = reads(StandingQueue(), 1.03, 0.2, step)
    assert len(first) > 100
    assert len(again) > len(fresh)
