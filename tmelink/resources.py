"""Finds the files that come with tmelink: the grammar and the sample machines.

In an installed wheel they are in the package, in a checkout beside it.
"""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """The folder `name` ("grammar" or "machines") of this installation."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
