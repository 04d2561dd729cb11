"""An impairment on one direction of a running connection: the stage around `tmelink.inline.netem`.

Owns the clock and the timer. Nothing sleeps in the data path: a frame that waits lies in a heap until the
timer wakes, and the sender never notices.
"""

from __future__ import annotations

import asyncio
import random

from tmelink.element import Port
from tmelink.frame import Burst
from tmelink.inline import chain
from tmelink.inline.netem import Netem
from tmelink.inline.netem_words import Impairment, ImpairmentRequest
from tmelink.inline.pcap_filter import PcapFilter
from tmelink.offload import segmented
from tmelink.system.timers import PreciseTimer

EARLY = 50e-6
"""Seconds by which a frame may leave early: the kernel's timers are no more exact than that."""


class ImpairmentStage:
    """Holds back, drops and changes what `port` sends, as an `Impairment` says."""

    rank = chain.IMPAIRMENT

    def __init__(self, port: Port, impairment: Impairment) -> None:
        self._port = port
        self._clock = asyncio.get_running_loop().time
        self._timer = PreciseTimer(self._wake)
        self._wakes_at: float | None = None
        self._onward: chain.BurstSink = port.deliver
        self._netem = Netem(impairment, _seed(impairment))
        self._filter = _filter(impairment, port)

    @property
    def impairment(self) -> Impairment:
        """What holds now."""
        return self._netem.impairment

    @property
    def waiting(self) -> int:
        """Frames that wait."""
        return self._netem.waiting

    def change(self, impairment: Impairment) -> None:
        """Impair otherwise from now on; a new seed begins its numbers anew."""
        selected = _filter(impairment, self._port)
        if impairment.seed != self.impairment.seed and not self._netem.waiting:
            self._netem = Netem(impairment, _seed(impairment))
        else:
            self._netem.change(impairment)
        self._filter = selected

    def take(self, burst: Burst, onward: chain.BurstSink) -> None:
        """Take frames, and pass on what does not wait."""
        self._onward = onward
        if burst.gso is not None and not self._netem.whole:
            burst = segmented(burst, self._port.sent, ip=self._port.kind == "ip")
        if self._filter is not None:
            burst = self._selected(self._filter, burst, onward)
        now = self._clock()
        self._netem.offer(burst.frames, burst.gso, now)
        self._release(now)

    def close(self) -> None:
        """Drop what waits."""
        self._timer.close()
        if self._netem.waiting:
            self._port.drop("impairment: cleared", self._netem.waiting)

    def _selected(self, selected: PcapFilter, burst: Burst, onward: chain.BurstSink) -> Burst:
        """The frames that the filter chooses; the others pass at once."""
        chosen = selected.matching(burst.frames)
        rest = burst.part([index for index, match in enumerate(chosen) if not match])
        if rest.frames:
            onward(rest)
        return burst.part([index for index, match in enumerate(chosen) if match])

    def _wake(self) -> None:
        self._wakes_at = None
        self._release(self._clock())

    def _release(self, now: float) -> None:
        netem = self._netem
        leaving = netem.due(now + EARLY)
        if netem.drops:
            self._port.sent.drops.update(netem.drops)
            netem.drops.clear()
        if leaving:
            labels = [held.gso for held in leaving]
            self._onward(Burst([held.frame for held in leaving], labels if any(labels) else None))
        deadline = netem.deadline()
        if deadline is not None and (self._wakes_at is None or deadline < self._wakes_at):
            self._wakes_at = deadline
            self._timer.set(deadline)


def impair(a: Port, request: ImpairmentRequest) -> dict[str, Impairment]:
    """Change how a connection is impaired, seen from `a`: "out" is what `a` sends, "in" what it receives.

    What holds afterwards, by direction. Raises `ValueError` if the filter expression is wrong.
    """
    b = a.peer
    assert b is not None, "only a connection can be impaired"
    holds: dict[str, Impairment] = {}
    for direction, port in (("out", a), ("in", b)):
        stage = stage_of(port)
        before = Impairment() if stage is None else stage.impairment
        after = request.applied(before) if request.direction in (direction, "both") else before
        holds[direction] = after
        if after == before:
            continue
        if not after:
            if stage is not None:
                chain.remove(port, stage)
        elif stage is None:
            chain.insert(port, ImpairmentStage(port, after))
        else:
            stage.change(after)
    return holds


def stage_of(port: Port) -> ImpairmentStage | None:
    """The impairment on what `port` sends, or None."""
    return next((stage for stage in chain.stages(port) if isinstance(stage, ImpairmentStage)), None)


def _filter(impairment: Impairment, port: Port) -> PcapFilter | None:
    return PcapFilter(impairment.match, port.kind) if impairment.match else None


def _seed(impairment: Impairment) -> int:
    return random.SystemRandom().getrandbits(64) if impairment.seed is None else impairment.seed
