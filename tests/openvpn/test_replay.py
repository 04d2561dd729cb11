"""Which packet ids are new, by number, by time stamp and by the clock."""

from __future__ import annotations

from random import Random

from tmelink.openvpn.data.replay import OLD_SEQUENCE, REPLAYED, TOO_LATE, ReplayWindow


def test_each_id_is_taken_once() -> None:
    window = ReplayWindow()
    assert [window.refuse(number, 1, 0) for number in (1, 2, 3, 2, 5, 4, 4)] == [
        None,
        None,
        None,
        REPLAYED,
        None,
        None,
        REPLAYED,
    ]


def test_ids_further_back_than_the_window_are_too_late() -> None:
    window = ReplayWindow(8)
    assert window.refuse(100, 1, 0) is None
    assert window.refuse(93, 1, 0) is None
    assert window.refuse(92, 1, 0) == TOO_LATE
    assert window.refuse(0, 1, 0) == TOO_LATE


def test_id_zero_is_none() -> None:
    assert ReplayWindow().refuse(0, 1, 0) is not None


def test_a_later_time_begins_anew_and_an_earlier_one_is_refused() -> None:
    window = ReplayWindow()
    assert window.refuse(7, 10, 0) is None
    assert window.refuse(7, 11, 0) is None
    assert window.refuse(8, 10, 0) == OLD_SEQUENCE
    assert window.refuse(7, 11, 0) == REPLAYED


def test_what_is_behind_an_id_of_long_ago_is_too_late() -> None:
    window = ReplayWindow(64, 15)
    for number in (1, 3, 5):
        assert window.refuse(number, 1, float(number)) is None
    assert window.refuse(2, 1, 16.0) is None
    assert window.refuse(9, 1, 20.5) is None
    assert window.refuse(4, 1, 20.6) == TOO_LATE
    assert window.refuse(6, 1, 20.6) is None
    assert ReplayWindow(64, 0).refuse(3, 1, 0) is None


def test_without_a_time_nothing_expires() -> None:
    window = ReplayWindow(64, 0)
    assert window.refuse(9, 1, 0) is None
    assert window.refuse(4, 1, 1e9) is None


def test_a_window_of_one_wants_each_higher_than_the_last() -> None:
    window = ReplayWindow(1)
    assert [window.refuse(number, 1, 0) for number in (1, 2, 4, 3, 4)] == [
        None,
        None,
        None,
        TOO_LATE,
        REPLAYED,
    ]


def test_against_a_list_of_all_that_was_seen() -> None:
    random = Random(4)
    window = ReplayWindow(64, 0)
    seen: set[int] = set()
    top = 0
    for _ in range(20_000):
        number = max(0, top + random.randint(-80, 12) + random.choice((0, 0, 0, 200)))
        new = number > 0 and number not in seen and number > top - 64
        assert (window.refuse(number, 1, 0) is None) == new
        if new:
            seen.add(number)
            top = max(top, number)
