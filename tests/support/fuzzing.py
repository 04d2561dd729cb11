"""Property tests and fuzzers: a few seeded examples in the suite, many random ones under `make fuzz`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T", bound=Callable[..., Any])

TIMES = int(os.environ.get("TMELINK_FUZZ", "1"))
"""How many times the usual examples are tried."""


def examples(count: int = 100) -> Callable[[T], T]:
    """Try so many, for as long as they take: a busy computer is no reason to fail."""
    chosen = settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )

    def decorated(test: T) -> T:
        fuzz: T = pytest.mark.fuzz(chosen(test))
        return fuzz

    return decorated
