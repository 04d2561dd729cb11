"""Where the files that come with tmelink are: the grammar and the sample machines.

In an installed wheel they lie inside the package, in a checkout beside it.
"""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """The folder `name` ("grammar" or "machines") of this installation."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
