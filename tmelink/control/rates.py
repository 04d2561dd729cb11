"""How fast counters grow: samples taken every few seconds, and rates against the last but one."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from tmelink.frame import Counters
from tmelink.runtime import Lab

PERIOD = 5.0
"""Seconds between two samples; a rate is over one to two of these."""

ELEMENTS_A_TURN = 32
"""Elements sampled before the loop returns to traffic."""

Key = tuple[str, int | str]
"""An element's name, and the index of a port or the name of counters."""


class TrafficRate(NamedTuple):
    """Over the last seconds."""

    frames: float
    bits: float


class _Sample(NamedTuple):
    time: float
    frames: int
    bytes: int


class Rates:
    """Samples of all counters of a lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._older: dict[Key, _Sample] = {}
        self._newer: dict[Key, _Sample] = {}

    async def run(self) -> None:
        """Take samples forever."""
        while True:
            await self.sample()
            await asyncio.sleep(PERIOD)

    async def sample(self) -> None:
        """Take one sample."""
        loop = asyncio.get_running_loop()
        taken: dict[Key, _Sample] = {}
        for number, element in enumerate(list(self._lab.machine.elements.values()), 1):
            now = loop.time()
            for port in element.ports:
                taken[element.name, port.index] = _Sample(now, port.sent.frames, port.sent.bytes)
            for name, counters in element.counters().items():
                taken[element.name, name] = _Sample(now, counters.frames, counters.bytes)
            if number % ELEMENTS_A_TURN == 0:
                await asyncio.sleep(0)
        self._older, self._newer = self._newer or taken, taken

    def rate(self, key: Key, counters: Counters, now: float) -> TrafficRate | None:
        """How much counters have grown per second; None before there are two samples."""
        sample = self._older.get(key)
        if sample is None or now <= sample.time or counters.frames < sample.frames:
            return None
        seconds = now - sample.time
        return TrafficRate(
            (counters.frames - sample.frames) / seconds, 8 * (counters.bytes - sample.bytes) / seconds
        )
