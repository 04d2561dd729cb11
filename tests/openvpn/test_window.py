"""The window over packet ids: exactly what was not seen and is not too old is taken."""

from __future__ import annotations

import itertools
import random

from tmelink.openvpn.data.window import Window


def test_every_order_around_the_edge() -> None:
    for order in itertools.permutations((1, 2, 63, 64, 65, 130)):
        window, seen, top = Window(64), set[int](), 0
        for number in order * 2:
            expected = number not in seen and number > top - 64
            assert window.accept(number) is expected
            if expected:
                seen.add(number)
                top = max(top, number)


def test_runs_and_single_ids_agree() -> None:
    chance = random.Random(7)
    for _ in range(200):
        one, other = Window(32), Window(32)
        for _ in range(40):
            first, count = chance.randint(-3, 300), chance.randint(1, 70)
            if one.accept_next(first, count):
                assert all(other.accept(number) for number in range(first, first + count))
            else:
                assert [one.accept(first)] == [other.accept(first)]
            assert one.top == other.top
        for number in range(one.top - 40, one.top + 1):
            assert one.accept(number) is other.accept(number)


def test_zero_is_no_id() -> None:
    assert not Window(64).accept(0)
    assert not Window(64).accept_next(0, 5)
