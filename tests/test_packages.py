"""What is published: the sdist and the wheel pass the checks that PyPI's users would run on them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("twine", reason="needs the extra 'lint'")

ROOT = Path(__file__).parent.parent
SECONDS = 120

pytestmark = pytest.mark.xdist_group("wheel")


def run(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_is_built_passes_the_checks(tmp_path: Path) -> None:
    released = {
        "GITHUB_SERVER_URL": "https://git.example",
        "GITHUB_REPOSITORY": "me/tmelink",
        "GITHUB_REF_NAME": "v1",
    }
    run("build", "--no-isolation", "--outdir", str(tmp_path), **released)
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    said = run("twine", "check", "--strict", str(wheel), str(sdist))
    assert said.count("PASSED") == 2
    assert "OK" in run("check_wheel_contents", str(wheel))
    page = metadata(wheel)
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(links) > 30
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert "https://git.example/me/tmelink/raw/v1/docs/demo.svg" in links
    assert "https://git.example/me/tmelink/blob/v1/docs/quick-start.md" in links
    assert "https://git.example/me/tmelink/tree/v1/machines/" in links
    assert "Project-URL: Repository, https://git.example/me/tmelink" in page


def metadata(wheel: Path) -> str:
    """What PyPI shows of a wheel: its fields, and the page."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()
