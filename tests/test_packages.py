"""What is published: the sdist and the wheel pass the checks that PyPI's users would run on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("twine", reason="needs the extra 'lint'")

ROOT = Path(__file__).parent.parent
SECONDS = 120

pytestmark = pytest.mark.xdist_group("wheel")


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_is_built_passes_the_checks(tmp_path: Path) -> None:
    run("build", "--no-isolation", "--outdir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    said = run("twine", "check", "--strict", str(wheel), str(sdist))
    assert said.count("PASSED") == 2
    assert "OK" in run("check_wheel_contents", str(wheel))
