"""New files that other users cannot read at any moment."""

from __future__ import annotations

import os
from pathlib import Path

MODE = 0o600


def write_new(path: Path, content: bytes, mode: int = MODE) -> None:
    """Write a file that does not exist yet; raises `OSError`, `FileExistsError` if it does."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
