"""What fuzzing has found worth keeping raises nothing that its parser does not declare."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.corpus import CORPUS, inputs
from tests.fuzz.targets import TARGETS

LONGEST = 60
"""Bytes of the longest input that is not of the corpus."""


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_corpus_and_any_bytes(name: str) -> None:
    chance = Random(name)
    for data in inputs(name) + [chance.randbytes(size) for size in range(LONGEST)]:
        TARGETS[name](data)


def test_every_corpus_has_its_target() -> None:
    assert {path.stem for path in CORPUS.iterdir()} <= set(TARGETS)
