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
