"""Reads machine files from disk, and explains why one cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

from tmelink.source import Source, suggestion

MAX_BYTES = 64 << 20
"""Largest machine file read; a hundred times what a large lab needs, and no device file ends before it."""


def read(path: Path) -> Source:
    """A machine file; raises `OSError`."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(None, f"longer than {MAX_BYTES >> 20} MiB")
    return Source(str(path), decoded(data))


def decoded(data: bytes) -> str:
    """The text of a machine file; bytes that are not UTF-8 become U+FFFD, which only comments hold."""
    return data.decode("utf-8-sig", "replace")


def unreadable(path: Path, error: OSError) -> tuple[str, str | None]:
    """Why a file cannot be read, and a file that may have been meant."""
    reason = (error.strerror or str(error)).lower()
    try:
        near = (
            suggestion(path.name, os.listdir(path.parent)) if isinstance(error, FileNotFoundError) else None
        )
    except OSError:
        near = None
    return f"cannot read {path}: {reason}", near
