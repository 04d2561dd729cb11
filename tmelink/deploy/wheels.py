"""A folder of wheels that hosts without internet install tmelink from."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from tmelink.errors import TmelinkError


def collect(folder: Path) -> None:
    """Fill `folder` with tmelink and all that it needs, for this computer's Python version and processor.

    pip is there too: it runs from its wheel, so that hosts need none.

    Wheels that are there already are kept. Raises `TmelinkError` with pip's words where one cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = _source()
    what = str(source) if source is not None else f"tmelink=={distribution('tmelink').version}"
    for old in folder.glob("tmelink-*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--find-links", str(folder), "--wheel-dir", str(folder), what, "pip"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        raise TmelinkError(f"cannot collect the wheels for the hosts: {lines[-1]}; --wheels DIR names some")


def _source() -> Path | None:
    """The folder that tmelink was installed from, where pip was given one (PEP 610)."""
    text = distribution("tmelink").read_text("direct_url.json")
    if text is None:
        return None
    found = json.loads(text)
    if "dir_info" not in found:
        return None
    return Path(url2pathname(urlparse(found["url"]).path))
