"""What a test needs is said in words when it is missing, and missing is failing where all must run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parent / "conftest.py"

TESTS = """
import pytest

@pytest.mark.needs("no-such-program")
def test_missing():
    raise AssertionError("run all the same")

@pytest.mark.needs("tar")
def test_present():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    raise AssertionError
"""


def run(directory: Path, full: bool) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, directory / "conftest.py")
    (directory / "test_it.py").write_text(TESTS)
    environment = {**os.environ, "TMELINK_FULL": "1" if full else ""}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "--rootdir", str(directory)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_program_skips_with_the_reason_in_words(tmp_path: Path) -> None:
    done = run(tmp_path, full=False)
    assert done.returncode == 0, done.stdout
    assert "needs no-such-program, which is not installed: apt-get install no-such-program" in done.stdout
    assert "1 passed, 1 skipped, 1 xfailed" in done.stdout
    assert "ran against 1 peer: tar 1." in done.stdout


def test_a_skip_is_a_failure_where_all_must_run(tmp_path: Path) -> None:
    done = run(tmp_path, full=True)
    assert done.returncode == 1, done.stdout
    assert "TMELINK_FULL=1 allows no skip" in done.stdout
    assert "1 passed, 1 xfailed, 1 error" in done.stdout
