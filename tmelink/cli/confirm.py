"""Asks a person before hosts are changed."""

from __future__ import annotations

import sys

from tmelink.errors import TmelinkError


def agreed(question: str, otherwise: str) -> bool:
    """Whether somebody at the terminal says yes; without one, `TmelinkError` says what to add `otherwise`."""
    if not sys.stdin.isatty():
        raise TmelinkError(f"nobody can be asked here: {otherwise}")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
