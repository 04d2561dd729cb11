"""A lab whose traffic is numbered frame by frame, so that a test knows of each whether it has arrived."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.sockets import free_port
from tmelink import machine
from tmelink.control.control import Control
from tmelink.elements.builtin.nic import Nic
from tmelink.runtime import Lab

FRAMES = 400
"""Frames that cross at least, while something is done."""


def traffic_lab() -> str:
    """Two cards, `out` and `in`, joined by a link of two ends over the loopback."""
    a, b = free_port(), free_port()
    link = "tme/host/openvpn/socket/link --dev tap --local 127.0.0.1"
    return (
        "out: tmelink/nic\nin: tmelink/nic\n"
        f"link_a at out: {link} --lport {a} --remote 127.0.0.1 {b}\n"
        f"link_b at in: {link} --lport {b} --remote 127.0.0.1 {a}\n"
    )


@contextlib.asynccontextmanager
async def running(text: str, folder: Path) -> AsyncIterator[Control]:
    file = folder / "lab.conf"
    file.write_text(text)
    lab = Lab(machine.load(file))
    control = Control(lab, "lab", str(file), None, lambda: machine.load(file))
    async with lab:
        yield control


class Traffic:
    """Numbered frames through the link that nobody touches."""

    def __init__(self, lab: Lab) -> None:
        self.out, self.into = lab["out"], lab["in"]
        assert isinstance(self.out, Nic)
        assert isinstance(self.into, Nic)
        self.sent = 0
        self.got: list[int] = []

    async def up(self) -> None:
        """Until the first frame has crossed."""
        async with asyncio.timeout(20):
            while not self.got:
                self.send()
                await asyncio.sleep(0.01)
                self.take()
        await asyncio.sleep(0.05)
        self.take()
        self.sent, self.got = 0, []

    def send(self) -> None:
        assert isinstance(self.out, Nic)
        self.sent += 1
        self.out.send(
            b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + self.sent.to_bytes(4, "big") + bytes(46)
        )

    def take(self) -> None:
        assert isinstance(self.into, Nic)
        while self.into.waiting:
            self.got.append(int.from_bytes(self.into.waiting.popleft()[14:18], "big"))

    async def run(self, work: asyncio.Task[Any]) -> None:
        """Send while something is done, `FRAMES` at least, and wait until all have arrived."""
        while self.sent < FRAMES or not work.done():
            self.send()
            await asyncio.sleep(0.001)
            self.take()
        async with asyncio.timeout(20):
            while len(self.got) < self.sent:
                await asyncio.sleep(0.01)
                self.take()
