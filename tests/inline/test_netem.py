"""The impairment's arithmetic in its own time: what is asked for is what comes, within its statistics."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from statistics import fmean, pstdev

import pytest

from tmelink.inline.netem import Netem
from tmelink.inline.netem_words import Impairment, request

FRAME = bytes(range(100)) * 10
"""1000 bytes."""


def impairment(text: str) -> Impairment:
    return request(text.split()).applied(Impairment())


def passed(text: str, frames: int, interval: float, *, seed: int = 7) -> list[tuple[float, float, bytes]]:
    """(sent, left, frame) for frames that are sent at an interval, in the order in which they leave."""
    netem = Netem(impairment(text), seed)
    out: list[tuple[float, float, bytes]] = []
    sent: dict[bytes, float] = {}

    def collect(until: float) -> None:
        while (deadline := netem.deadline()) is not None and deadline <= until:
            for held in netem.due(deadline):
                frame = bytes(held.frame)
                out.append((sent.get(frame[:8], -1.0), deadline, frame))

    for number in range(frames):
        now = number * interval
        collect(now)
        frame = number.to_bytes(8, "big") + FRAME[8:]
        sent[frame[:8]] = now
        netem.offer([frame], None, now)
    collect(math.inf)
    return out


COUNT = 20_000

Table = Callable[[str, float, float, str, float], None]

PART = 1 if os.environ.get("TMELINK_FULL") == "1" else 0.1
"""Of the frames that make chance smaller than the 2% that are promised: all take some seconds a row."""

TOLERANCE = 0.02


@pytest.fixture
def table(record_property: Callable[[str, object], None]) -> Table:
    """Adds a row to the table in the suite's summary: what was asked for, what was measured, and chance."""

    def row(words: str, asked: float, measured: float, unit: str, chance: float) -> None:
        off = f"{measured / asked - 1:+8.2%} ± {chance:.2%}"
        record_property(
            "impairments, asked and measured, with the 95% interval of chance",
            f"{words:52} {asked:14,.3f} {measured:14,.3f} {unit:6} {off}",
        )

    return row


def dropped(words: str, frames: int) -> int:
    """How many of so many frames are taken away."""
    netem = Netem(impairment(words), 1)
    burst = [FRAME[:60]] * 1000
    for number in range(frames // len(burst)):
        netem.offer(burst, None, number * 1e-3)
        netem.due(number * 1e-3)
    assert not netem.waiting
    return sum(netem.drops.values())


@pytest.mark.parametrize(
    ("words", "share", "length"),
    [
        ("loss 1%", 0.01, 1),
        ("loss 10%", 0.10, 1),
        ("loss 5% burst 4", 0.05, 4),
        ("loss gemodel 1% 10% 70% 0.1%", 0.01 / 0.11 * 0.7 + 0.10 / 0.11 * 0.001, 7),
        ("drop every 10", 0.10, 0),
    ],
)
def test_as_much_is_lost_as_was_asked_for(words: str, share: float, length: int, table: Table) -> None:
    """Over so many frames that 95% of such runs lie within 2%; losses that come in rows need more of them."""
    variance = (1 - share) / share * max(2 * length - 1, 0)
    frames = max(math.ceil(PART * variance * (1.96 / TOLERANCE) ** 2 / 1000), 1) * 1000
    lost = dropped(words, frames) / frames
    chance = 1.96 * math.sqrt(variance / frames)
    table(f"{words}, {frames:,} frames", share * 100, lost * 100, "%", chance)
    assert lost == pytest.approx(share, rel=TOLERANCE if PART == 1 else max(chance, 1e-9))


def test_losses_come_in_bursts_of_the_length_asked_for() -> None:
    left = {int.from_bytes(frame[:8], "big") for _, _, frame in passed("loss 5% burst 4", COUNT, 1e-4)}
    bursts: list[int] = []
    run = 0
    for number in range(COUNT):
        if number not in left:
            run += 1
        elif run:
            bursts.append(run)
            run = 0
    assert fmean(bursts) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(
    ("words", "mean", "deviation"),
    [
        ("delay 50ms", 0.05, 0.0),
        ("delay 50ms 10ms reorder 0%", 0.05, 0.01 / math.sqrt(3)),
        ("delay 50ms 5ms distribution normal reorder 0.0001%", 0.05, 0.005),
        ("delay 100ms 10ms 25% reorder 0.0001%", 0.1, None),
        ("delay 50ms 5ms distribution pareto reorder 0.0001%", 0.05, None),
        ("delay 50ms 5ms distribution paretonormal reorder 0.0001%", 0.05, None),
    ],
)
def test_frames_wait_as_long_as_was_asked_for(
    words: str, mean: float, deviation: float | None, table: Table
) -> None:
    waits = [left - sent for sent, left, _ in passed(words, COUNT, 1.0)]
    chance = 1.96 * pstdev(waits) / math.sqrt(COUNT) / mean
    table(words, mean * 1e3, fmean(waits) * 1e3, "ms", chance)
    assert chance < TOLERANCE
    assert fmean(waits) == pytest.approx(mean, rel=TOLERANCE)
    if deviation is not None:
        got = math.sqrt(fmean((wait - mean) ** 2 for wait in waits))
        assert got == pytest.approx(deviation, rel=0.02, abs=1e-9)


def test_jitter_alone_keeps_the_order() -> None:
    order = [int.from_bytes(frame[:8], "big") for _, _, frame in passed("delay 50ms 20ms", 2000, 1e-3)]
    assert order == sorted(order)
    assert len(order) == 2000


def test_reordered_frames_overtake_those_that_wait() -> None:
    out = passed("delay 50ms reorder 25%", COUNT, 1e-3)
    early = sum(left == sent for sent, left, _ in out)
    assert early / COUNT == pytest.approx(0.25, rel=0.03)


def test_with_a_gap_every_so_manieth_frame_overtakes() -> None:
    out = passed("delay 10ms reorder 100% gap 5", 1000, 1e-3)
    early = sorted(int.from_bytes(frame[:8], "big") for sent, left, frame in out if left == sent)
    assert early == list(range(4, 1000, 5))


@pytest.mark.parametrize("words", ["rate 1mbit", "rate 10mbit", "rate 1mbit 38"])
def test_the_rate_is_what_was_asked_for(words: str, table: Table) -> None:
    length = 1000 + (38 if words.endswith("38") else 0)
    asked = impairment(words).rate
    assert asked is not None
    out = passed(f"{words} limit 1000", 1000, 1e-6)
    got = (len(out) - 1) * length * 8 / (out[-1][1] - out[0][1])
    table(words, asked.bits / 1e6, got / 1e6, "Mbit/s", 0.0)
    assert got == pytest.approx(asked.bits, rel=0.001)


def test_a_long_delay_keeps_a_gigabit_a_second_and_its_memory_is_bounded(table: Table) -> None:
    """100 ms at 1 Gbit/s are 8,333 frames of 1500 bytes: with room for them all pass, in the same time."""
    interval, frames = 1500 * 8 / 1e9, 25_000
    netem = Netem(impairment("delay 100ms limit 9000"), 7)
    most = left = 0
    last = 0.0
    for number in range(frames):
        now = number * interval
        while (deadline := netem.deadline()) is not None and deadline <= now:
            left, last = left + len(netem.due(deadline)), deadline
        netem.offer([FRAME + FRAME[:500]], None, now)
        most = max(most, netem.waiting)
    assert most == pytest.approx(0.1 / interval, abs=2)
    got = (left - 1) * 1500 * 8 / (last - 0.1)
    table("delay 100ms limit 9000, 1 Gbit/s offered", 1000, got / 1e6, "Mbit/s", 0.0)
    assert got == pytest.approx(1e9, rel=TOLERANCE)
    assert not netem.drops
    for _ in range(10_000):
        netem.offer([FRAME + FRAME[:500]], None, frames * interval)
    assert netem.waiting == 9000


def test_no_more_wait_than_the_limit_allows() -> None:
    netem = Netem(impairment("delay 1s limit 10"), 1)
    netem.offer([FRAME] * 15, None, 0.0)
    assert netem.waiting == 10
    assert netem.drops == {"impairment: limit": 5}


def test_frames_are_doubled_and_corrupted_by_one_bit() -> None:
    out = passed("duplicate 10%", COUNT, 1e-3)
    assert len(out) / COUNT == pytest.approx(1.1, rel=0.01)
    changed = [frame for _, _, frame in passed("corrupt 5%", COUNT, 1e-3)]
    original = [number.to_bytes(8, "big") + FRAME[8:] for number in range(COUNT)]
    bits = [
        (int.from_bytes(got, "big") ^ int.from_bytes(sent, "big")).bit_count()
        for got, sent in zip(changed, original, strict=True)
    ]
    assert set(bits) == {0, 1}
    assert sum(bits) / COUNT == pytest.approx(0.05, rel=0.06)


def test_slots_let_frames_out_together() -> None:
    out = passed("slot 10ms 10ms", 100, 1e-3)
    times = sorted({left for _, left, _ in out})
    assert len(out) == 100
    assert len(times) <= 11
    few = passed("slot 10ms 10ms packets 2", 20, 1e-3)
    assert max(sum(left == time for _, left, _ in few) for time in {left for _, left, _ in few}) == 2


def test_a_flapping_connection_is_up_and_down_in_turn() -> None:
    out = passed("flap 3s 1s", 4000, 1e-2)
    assert len(out) == pytest.approx(3000, abs=2)
    assert all(sent % 4 < 3 for sent, _, _ in out)


def test_the_same_seed_does_the_same_again_and_another_does_not() -> None:
    words = "delay 10ms 5ms loss 10% duplicate 5% corrupt 1% reorder 5%"
    first, again, other = (passed(words, 500, 1e-3, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_correlated_losses_follow_each_other() -> None:
    """netem's correlation draws each number towards the one before: fewer changes between lost and passed."""

    def changes(words: str) -> int:
        left = {int.from_bytes(frame[:8], "big") for _, _, frame in passed(words, COUNT, 1e-3)}
        return sum((number in left) != (number - 1 in left) for number in range(1, COUNT))

    alone, together = changes("loss 50%"), changes("loss 50% 50%")
    assert together < 0.8 * alone
