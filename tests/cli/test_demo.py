"""`tmelink demo`: several run at once, each on ports of its own."""

from __future__ import annotations

import subprocess
import sys

COMMAND = [sys.executable, "-m", "tmelink", "demo", "--count", "20", "--interval", "0.1"]


def test_two_demos_run_at_once() -> None:
    both = [subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    for demo in both:
        said, _ = demo.communicate(timeout=60)
        assert demo.returncode == 0, said.decode()
        assert b"in use" not in said
