"""Writes key files: readable by their owner alone, and never over another one by accident."""

from __future__ import annotations

import argparse
from pathlib import Path

from tmelink.errors import TmelinkError
from tmelink.system import private_file

PRIVATE = private_file.MODE
PUBLIC = 0o644


def declare(parser: argparse.ArgumentParser) -> None:
    """Add --force, which every command that writes a key takes."""
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def write(path: str, content: bytes, *, force: bool, mode: int = PRIVATE) -> None:
    """Write a new file that no other user can read at any moment; raises `TmelinkError`.

    Without `force`, an existing file stays as it is.
    """
    try:
        if force:
            Path(path).unlink(missing_ok=True)
        private_file.write_new(Path(path), content, mode)
    except FileExistsError:
        raise TmelinkError(f"{path} already exists; --force overwrites it, and its key is lost") from None
    except OSError as error:
        raise TmelinkError(f"{path}: {error.strerror}") from error
