"""Writes key files: readable by their owner alone, and never over another one by accident."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tmelink.errors import TmelinkError

PRIVATE = 0o600
PUBLIC = 0o644


def declare(parser: argparse.ArgumentParser) -> None:
    """Add --force, which every command that writes a key takes."""
    parser.add_argument("--force", action="store_true", help="write over a file that is there already")


def write(path: str, content: bytes, *, force: bool, mode: int = PRIVATE) -> None:
    """Write a new file that no other user can read at any moment; raises `TmelinkError`.

    Without `force`, an existing file stays as it is.
    """
    try:
        if force:
            Path(path).unlink(missing_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
    except FileExistsError:
        raise TmelinkError(f"{path} exists already; --force writes over it, and its key is lost") from None
    except OSError as error:
        raise TmelinkError(f"{path}: {error.strerror}") from error
