"""Property tests and fuzzers: seeded examples in the suite, many random ones under `make properties`.

While somebody works, a quarter of the examples is tried; TMELINK_FULL=1, as `.ci/run` has it, tries them all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T", bound=Callable[..., Any])

USUAL = "1" if os.environ.get("TMELINK_FULL") == "1" else "0.25"

TIMES = float(os.environ.get("TMELINK_FUZZ", USUAL))
"""How many times the examples that a test asks for are tried."""


def scaled(count: int) -> int:
    """So many repetitions as a test does of what it asks for; at least one."""
    return max(1, round(count * TIMES))


def mutated(chance: Random, good: Sequence[bytes]) -> bytearray:
    """One of the messages with up to eight bytes that are others, sometimes cut short."""
    data = bytearray(chance.choice(good))
    for _ in range(chance.choice((0, 1, 2, 8))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data) + 1) :]
    return data


def examples(count: int = 100) -> Callable[[T], T]:
    """Try so many, for as long as they take: a busy computer is no reason to fail."""
    chosen = settings(
        max_examples=scaled(count),
        derandomize=TIMES <= 1,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )

    def decorated(test: T) -> T:
        fuzz: T = pytest.mark.fuzz(chosen(test))
        return fuzz

    return decorated
