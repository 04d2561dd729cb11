"""The rate limit holds back what exceeds it, and forgives what is too much."""

from __future__ import annotations

import pytest

from tmelink.openvpn.data.shaper import BURST_SECONDS, LONGEST_HOLD, Shaper


def test_an_idle_shaper_holds_nothing() -> None:
    assert Shaper(1000).hold(5.0) == 0


def test_a_second_of_traffic_is_held_for_a_second() -> None:
    shaper = Shaper(1000)
    shaper.sent(1000, 50.0)
    assert shaper.hold(50.0) == pytest.approx(1.0 - BURST_SECONDS)
    assert shaper.hold(50.5) == pytest.approx(0.5 - BURST_SECONDS)
    assert shaper.hold(51.0) == 0


def test_the_rate_is_kept_over_time() -> None:
    shaper = Shaper(10_000)
    now = sent = 0.0
    while sent < 100_000:
        now += shaper.hold(now)
        shaper.sent(1500, now)
        sent += 1500
    assert 9.5 < now < 10.5


def test_more_debt_than_a_while_is_forgiven() -> None:
    shaper = Shaper(100)
    shaper.sent(10**9, 0.0)
    assert shaper.hold(0.0) == LONGEST_HOLD


@pytest.mark.parametrize("rate", [0, 99, 100_000_001])
def test_rates_have_bounds(rate: int) -> None:
    with pytest.raises(ValueError, match="100 to 100000000"):
        Shaper(rate)
