"""The container image: built by buildah as the Containerfile says, and a lab that runs in it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.debian import debian_root

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("buildah", "debootstrap", "git")]

ROOT = Path(__file__).parents[2]
SECONDS = 600
"""For the build, most of which is downloads."""

TRUST = ("/etc/ssl/certs", "/etc/pip.conf")
"""What a build reads of this computer's, so that its mirrors of packages serve it too."""


class Builder:
    """buildah with its own store, without a daemon and without cgroups."""

    def __init__(self, folder: Path) -> None:
        self._store = (
            "--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs",
        )  # fmt: skip

    def run(self, *words: str, cwd: Path | None = None) -> str:
        began = time.monotonic()
        done = subprocess.run(
            ["buildah", *self._store, *words], cwd=cwd, timeout=SECONDS, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"buildah {' '.join(words)}\n{done.stdout[-4000:]}"
        took = time.monotonic() - began
        print(f"\n$ buildah {' '.join(words)}    # {took:.1f} s\n{done.stdout[-600:].rstrip()}")
        return done.stdout

    def last(self, *words: str) -> str:
        """The last line, after any warnings."""
        return self.run(*words).splitlines()[-1].strip()


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def test_the_image_is_built_and_runs_the_demo(builder: Builder, tmp_path: Path) -> None:
    """On a base made of this computer's own Debian, so that no registry of images is asked."""
    archive = tmp_path / "base.tar"
    outside = [f"--exclude=./{name}" for name in ("proc", "sys", "dev")]
    subprocess.run(["tar", "-C", str(debian_root()), *outside, "-cf", str(archive), "."], check=True)
    base = builder.last("from", "scratch")
    builder.run("add", base, str(archive), "/")
    builder.run("commit", "--rm", base, "localhost/base")
    archive.unlink()

    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    mounts = [word for path in TRUST if Path(path).exists() for word in ("-v", f"{path}:{path}:ro")]
    pip = [word for name in os.environ if name.startswith("PIP_") for word in ("--env", name)]
    builder.run(
        "build", "--isolation", "chroot", "--network", "host", "--build-arg", "BASE=localhost/base",
        *mounts, *pip, "-t", "tmelink", ".", cwd=source,
    )  # fmt: skip

    container = builder.last("from", "--pull-never", "localhost/tmelink")
    inside = ("run", "--isolation", "chroot", container, "--")
    assert builder.last(*inside, "id", "-un") == "tmelink"
    assert builder.run(*inside, "tmelink", "--version").startswith("tmelink ")
    assert builder.run(*inside, "tmelink", "demo", "--count", "3").count(" 0% ") == 2
