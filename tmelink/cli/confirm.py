"""Asks a person before hosts are changed."""

from __future__ import annotations

import sys

from tmelink.errors import TmelinkError


def agreed(question: str, otherwise: str) -> bool:
    """Whether somebody at the terminal says yes; without one, `TmelinkError` with `otherwise`."""
    if not sys.stdin.isatty():
        raise TmelinkError(f"there is nobody to ask here: {otherwise}")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
