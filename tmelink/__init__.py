"""tmelink: one shared Ethernet for every emulator on every host, from one file.

::

    machine = tmelink.load("machine.conf")
    async with machine.run() as lab:
        nic = lab.nic("le0")
        nic.send(frame)
        reply = await nic.recv()

or, for a program with a loop of its own,

::

    with tmelink.start("machine.conf") as lab:
        nic = lab.nic("le0")
        nic.send(frame)
        reply = nic.recv(timeout=1)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tmelink.api import Machine, load, start
    from tmelink.element import Claim, Element, Port
    from tmelink.errors import (
        ClosedError,
        ElementError,
        MachineError,
        MissingCapability,
        PortError,
        TmelinkError,
        UnsupportedHere,
    )
    from tmelink.frame import Burst, Counters, Frame, Gso, Run
    from tmelink.runtime import Lab
    from tmelink.threads import ThreadedLab, ThreadedNic

__all__ = [
    "Burst",
    "Claim",
    "ClosedError",
    "Counters",
    "Element",
    "ElementError",
    "Frame",
    "Gso",
    "Lab",
    "Machine",
    "MachineError",
    "MissingCapability",
    "Port",
    "PortError",
    "Run",
    "ThreadedLab",
    "ThreadedNic",
    "TmelinkError",
    "UnsupportedHere",
    "load",
    "start",
]

_HOMES = {
    "api": ("Machine", "load", "start"),
    "element": ("Claim", "Element", "Port"),
    "errors": (
        "ClosedError",
        "ElementError",
        "MachineError",
        "MissingCapability",
        "PortError",
        "TmelinkError",
        "UnsupportedHere",
    ),
    "frame": ("Burst", "Counters", "Frame", "Gso", "Run"),
    "runtime": ("Lab",),
    "threads": ("ThreadedLab", "ThreadedNic"),
}
"""The module of each name. It is imported when the name is first used, so that a command that needs little
of the package starts fast."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"tmelink.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'tmelink' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
