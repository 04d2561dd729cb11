"""Two machines on one connection, and numbered frames."""

from __future__ import annotations

from tests.support.machines import Machine
from tmelink.element import connect

TWO = """
host0: tmelink/host inet 10.0.0.1/24
host1 at host0: tmelink/host inet 10.0.0.2/24
"""


def pair() -> tuple[Machine, Machine]:
    a, b = Machine(), Machine()
    connect(a.port(), b.port())
    return a, b


def frames(count: int) -> list[bytes]:
    return [b"\xff" * 12 + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(50) for number in range(count)]
