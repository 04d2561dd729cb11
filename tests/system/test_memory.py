"""Freed memory is kept, so that super-frames cost no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tmelink.system import memory

CHURN = """
import resource, sys
from tmelink.system import memory
if sys.argv[1] == "keep":
    assert memory.keep_freed()
for _ in range(3):
    held = [bytearray(60_000) for _ in range(100)]
    del held
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    held = [bytearray(60_000) for _ in range(100)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_what_was_freed_is_not_faulted_in_again() -> None:
    pages = 10 * 100 * 60_000 // 4096
    assert faults("keep") < pages / 10


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep_freed()
