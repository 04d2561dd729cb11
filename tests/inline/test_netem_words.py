"""The words of an impairment: read as tc-netem(8) reads them, changed one by one, and written back."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmelink.inline.netem_words import (
    KEYWORDS,
    Chance,
    Delay,
    Flap,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
    WordError,
    request,
    words_of,
)


def read(text: str, before: Impairment = Impairment()) -> Impairment:  # noqa: B008
    return request(shlex.split(text)).applied(before)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("delay 50ms", Impairment(delay=Delay(0.05))),
        ("delay 100", Impairment(delay=Delay(1e-4))),
        ("delay 50ms 10ms", Impairment(delay=Delay(0.05, 0.01))),
        ("delay 50ms 10ms 25%", Impairment(delay=Delay(0.05, 0.01, 0.25))),
        ("delay 50ms 10ms normal", Impairment(delay=Delay(0.05, 0.01, 0, "normal"))),
        ("delay 50ms 10ms distribution pareto", Impairment(delay=Delay(0.05, 0.01, 0, "pareto"))),
        ("loss 1%", Impairment(loss=Chance(0.01))),
        ("loss random 1% 25%", Impairment(loss=Chance(0.01, 0.25))),
        ("loss gemodel 1% 10% 70% 0.1%", Impairment(loss=GilbertElliott(0.01, 0.1, 0.7, 0.001))),
        ("loss gemodel 1%", Impairment(loss=GilbertElliott(0.01, 0.99))),
        ("rate 10mbit", Impairment(rate=Rate(1e7))),
        ("rate 5kbit 20", Impairment(rate=Rate(5e3, 20))),
        ("rate 1mbps -14", Impairment(rate=Rate(8e6, -14))),
        ("duplicate 0.1% corrupt 0.01%", Impairment(duplicate=Chance(0.001), corrupt=Chance(0.0001))),
        ("reorder 5% 50% gap 3", Impairment(reorder=Chance(0.05, 0.5), gap=3)),
        ("slot 1ms 5ms packets 3 bytes 4000", Impairment(slot=Slot(0.001, 0.005, 3, 4000))),
        ("limit 20 drop every 9 seed 3", Impairment(limit=20, drop_every=9, seed=3)),
        ("match 'udp port 53' down", Impairment(match="udp port 53", down=True)),
        ("flap 10s 2s", Impairment(flap=Flap(10, 2))),
    ],
)
def test_what_the_words_mean(text: str, expected: Impairment) -> None:
    got = read(text)
    assert got == expected


def test_a_loss_with_bursts_is_a_model_of_two_states() -> None:
    loss = read("loss 1% burst 4").loss
    assert isinstance(loss, GilbertElliott)
    assert loss.to_good == 0.25
    assert loss.loss == pytest.approx(0.01)


def test_what_is_not_named_stays_and_zero_takes_away() -> None:
    before = read("delay 50ms loss 1% rate 1mbit")
    after = read("loss 2%", before)
    assert (after.delay, after.loss, after.rate) == (before.delay, Chance(0.02), before.rate)
    assert read("loss 0% delay 0ms rate 0bit", before) == Impairment()
    assert read("clear", before) == Impairment()
    assert read("clear duplicate 1%", before) == Impairment(duplicate=Chance(0.01))
    assert read("up", read("down flap 1s 1s")) == Impairment()


def test_a_direction_may_stand_anywhere() -> None:
    for text in ("direction in loss 1%", "loss 1% direction in"):
        asked = request(text.split())
        assert (asked.direction, asked.words) == ("in", ("loss", "1%"))


@pytest.mark.parametrize(
    ("text", "index", "message"),
    [
        ("dealy 50ms", 0, "'dealy' is not a word of impair"),
        ("delay", 0, "'delay' needs a time"),
        ("delay fast", 1, "'fast' is not a time"),
        ("delay 50ms loss much", 3, "'much' is not a share"),
        ("loss 120%", 1, "between 0% and 100%"),
        ("loss 90% burst 2", 3, "cannot add up to so much"),
        ("loss 100% burst 2", 3, "has no bursts"),
        ("rate 10furlongs", 1, "'10furlongs' is not a rate"),
        ("limit 0", 1, "at least 1"),
        ("drop sometimes", 1, "'drop every 10'"),
        ("slot 5ms 1ms", 2, "below the shortest"),
        ("loss 1% direction sideways", 3, "direction is in, out or both"),
        ("delay 50ms 10ms distribution gauss", 4, "'gauss' is not a distribution"),
    ],
)
def test_a_mistake_names_its_word(text: str, index: int, message: str) -> None:
    with pytest.raises(WordError, match=message) as caught:
        request(text.split())
    assert caught.value.index == index


ANY = st.lists(
    st.sampled_from(
        [*KEYWORDS, "50ms", "1%", "10mbit", "4", "0", "burst", "gemodel", "normal", "every", "x"]
    ),
    max_size=10,
)


@given(ANY)
def test_any_words_are_read_or_refused_and_what_is_read_is_written_back(words: list[str]) -> None:
    wrong, got = -1, None
    try:
        got = request(words).applied(Impairment())
    except WordError as error:
        wrong = error.index
    if got is None:
        assert 0 <= wrong < max(len(words), 1)
        return
    again = request(list(words_of(got))).applied(Impairment())
    assert list(words_of(again)) == list(words_of(got))
