"""The pace towards a peer with a small buffer, simulated: a queue that is served at a rate and overflows."""

from __future__ import annotations

from math import inf

import pytest

from tmelink.openvpn.data.pace import BURST, CUT, EVENT_SECONDS, LEAST, Pace

BUFFER = 92
"""Datagrams of 1500 bytes that fit in Linux's usual buffer."""

STEP = 0.0001


class Receiver:
    """Takes `rate` datagrams a second out of a buffer, and loses what finds it full."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.waiting = 0.0
        self.taken = 0.0
        self.lost = 0

    def pass_time(self, seconds: float) -> None:
        served = min(self.waiting, self.rate * seconds)
        self.waiting -= served
        self.taken += served

    def arrive(self, count: int) -> int:
        """How many of them are lost."""
        room = max(0, int(BUFFER - self.waiting))
        lost = max(0, count - room)
        self.waiting += count - lost
        self.lost += lost
        return lost


def flood(
    pace: Pace,
    receiver: Receiver,
    seconds: float,
    *,
    begin: float = 0.0,
    portion: int = 16,
    limit: float = 150_000,
) -> int:
    """Send as much as the pace and a fast sender allow, and tell the pace of losses 1 ms later; how many."""
    now, sent, told = begin, 0, inf
    budget = 0.0
    while now < begin + seconds:
        now += STEP
        receiver.pass_time(STEP)
        if now >= told:
            pace.lost(now)
            told = inf
        pace.sample(sent, now)
        budget = min(budget + limit * STEP, 64)
        while budget >= portion and not (pace.limited and pace.wait(now)):
            budget -= portion
            sent += portion
            if pace.limited:
                pace.sent(portion, now)
            if receiver.arrive(portion):
                told = min(told, now + 0.001)
    return sent


@pytest.mark.parametrize("rate", [20_000, 50_000, 80_000])
def test_a_small_buffer_is_not_overrun_and_goes_not_hungry(rate: int) -> None:
    unpaced, paced = Receiver(rate), Receiver(rate)
    pace = Pace()
    pace.lost = lambda now: None  # type: ignore[method-assign]
    sent = flood(pace, unpaced, 2)
    assert unpaced.lost > 0.4 * sent
    pace = Pace()
    flood(pace, paced, 1)
    paced.lost, paced.taken = 0, 0.0
    sent = flood(pace, paced, 20, begin=1.0)
    assert paced.lost < 0.005 * sent
    assert paced.taken > 0.85 * rate * 20


def test_nothing_is_limited_before_something_is_lost() -> None:
    pace = Pace()
    pace.sample(10_000, 0.1)
    assert not pace.limited
    assert pace.rate == inf
    pace.lost(0.1)
    assert pace.rate == pytest.approx((1 - CUT) * 100_000)


def test_losses_of_slow_traffic_are_not_the_paces_concern() -> None:
    pace = Pace()
    pace.sample(int(LEAST / 20), 0.1)
    pace.lost(0.1)
    assert not pace.limited


def test_losses_together_are_one_and_those_below_the_limit_none() -> None:
    pace = Pace()
    pace.sample(10_000, 0.1)
    pace.lost(0.1)
    first = pace.rate
    pace.sample(11_000, 0.12)
    pace.lost(0.1 + EVENT_SECONDS / 2)
    assert pace.rate == first
    # Half as fast as the limit allows: whatever was lost, the pace has not caused it.
    for at in range(1, 41):
        pace.sample(11_000 + at * 400, 0.12 + at * 0.01)
    pace.lost(0.6)
    assert pace.rate == first


def test_a_pause_saves_up_no_more_than_a_burst() -> None:
    pace = Pace()
    pace.sample(10_000, 0.1)
    pace.lost(0.1)
    count = 0
    while not pace.wait(5.0):
        pace.sent(1, 5.0)
        count += 1
    assert BURST <= count <= BURST + 1
