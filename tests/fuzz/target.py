"""Fuzz targets by name, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {}
STATIC: Final = bytes(range(256))
MAC: Final = b"\x02\0\0\0\0\1"


def target(function: Target) -> Target:
    """Add one."""
    TARGETS[function.__name__] = function
    return function


def pieces(data: bytes) -> list[bytes]:
    """Datagrams, each after its length in one byte."""
    found = []
    while data:
        found.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return found
