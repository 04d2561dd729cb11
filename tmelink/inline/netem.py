"""What an impairment does to the frames of one direction, as tc-netem(8) does it: loss, delay, rate, order.

A value with its own random numbers and without a clock: `offer` takes frames at a time, `due` gives back
those whose time has come. The correlation of random numbers and the distributions of delays are netem's
(net/sched/sch_netem.c, iproute2's netem tables).
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from itertools import count
from statistics import NormalDist
from typing import NamedTuple

from tmelink.frame import Frame, Gso
from tmelink.inline.netem_words import Chance, Delay, GilbertElliott, Impairment, Slot

DROPPED = "impairment: "
"""Begins every reason that an impairment drops a frame for."""

CORRELATED = ("delay", "loss", "duplicate", "corrupt", "reorder")
"""Decisions that may depend on the one of the same name before."""

_NORMAL = NormalDist()
_PARETO_SHAPE = 3.0
UNLIMITED = 1 << 62
_SMALLEST = 2**-16
"""netem's tables have this many steps: nothing rarer happens to a delay."""


class Held(NamedTuple):
    """A frame that waits until `due`; frames of one time keep their order by `number`."""

    due: float
    number: int
    frame: Frame
    gso: Gso | None


class _Random:
    """Random numbers of which each depends on the one before, by a share that the caller names."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._last = source.random()

    def next(self, correlation: float) -> float:
        value = self._source.random()
        if correlation:
            value = value * (1 - correlation) + self._last * correlation
            self._last = value
        return value


class Netem:
    """The state of one impaired direction. `drops` counts by reason what it took away.

    Frames that are kept are copied: what `offer` is given is lent.
    """

    def __init__(self, impairment: Impairment, seed: int) -> None:
        self.drops: Counter[str] = Counter()
        self._source = random.Random(seed)
        self._random = {
            name: _Random(self._source) for name in ("delay", "loss", "duplicate", "corrupt", "reorder")
        }
        self._held: list[Held] = []
        self._numbers = count()
        self._begun: float | None = None
        self._bad = False
        self._seen = 0
        self._since_reordered = 0
        self._free = 0.0
        self._latest = 0.0
        self._slot = 0.0
        self._slot_room = [UNLIMITED, UNLIMITED]
        self.impairment = impairment

    @property
    def whole(self) -> bool:
        """Whether a super-frame may pass as it is: nothing depends on single packets."""
        i = self.impairment
        per_packet = (i.loss, i.duplicate, i.corrupt, i.reorder, i.rate, i.slot)
        return not (any(per_packet) or i.drop_every or i.gap)

    @property
    def waiting(self) -> int:
        """Frames that wait."""
        return len(self._held)

    def change(self, impairment: Impairment) -> None:
        """Impair otherwise from now on; frames that wait leave when they would have."""
        self.impairment = impairment

    def offer(self, frames: Sequence[Frame], gso: Sequence[Gso | None] | None, now: float) -> None:
        """Take frames that arrive at `now`, in seconds of any clock; what passes comes back from `due`."""
        if self._begun is None:
            self._begun = now
        if self._is_down(now):
            self.drops[f"{DROPPED}down"] += len(frames)
            return
        for index, frame in enumerate(frames):
            self._offer(frame, gso[index] if gso is not None else None, now)

    def due(self, now: float) -> list[Held]:
        """The frames whose time has come, in the order in which they leave."""
        held, slot = self._held, self.impairment.slot
        out: list[Held] = []
        while held:
            if slot is not None and self._slot < held[0].due:
                self._open_slot(slot, now)
            if held[0].due > now or (slot is not None and self._slot > now):
                break
            out.append(heapq.heappop(held))
            if slot is not None:
                self._fill_slot(slot, len(out[-1].frame), now)
        return out

    def deadline(self) -> float | None:
        """When `due` is to be asked next; None while nothing waits."""
        if not self._held:
            return None
        first = self._held[0].due
        return first if self.impairment.slot is None else max(first, self._slot)

    # One frame

    def _offer(self, frame: Frame, gso: Gso | None, now: float) -> None:
        impairment = self.impairment
        self._seen += 1
        if impairment.drop_every and self._seen % impairment.drop_every == 0:
            self.drops[f"{DROPPED}every {impairment.drop_every}"] += 1
            return
        if impairment.loss is not None and self._is_lost(impairment.loss):
            self.drops[f"{DROPPED}loss"] += 1
            return
        copies = 1
        if impairment.duplicate is not None and self._happens("duplicate", impairment.duplicate):
            copies = 2
        for _ in range(copies):
            if len(self._held) >= impairment.limit:
                self.drops[f"{DROPPED}limit"] += 1
                continue
            kept = bytes(frame)
            if impairment.corrupt is not None and kept and self._happens("corrupt", impairment.corrupt):
                kept = self._corrupted(kept)
            heapq.heappush(self._held, Held(self._departure(len(kept), now), next(self._numbers), kept, gso))

    def _departure(self, length: int, now: float) -> float:
        impairment = self.impairment
        if impairment.reorder is not None and self._jumps(impairment.reorder):
            return now
        ready = now
        if impairment.rate is not None:
            rate = impairment.rate
            self._free = max(self._free, now) + max(length + rate.overhead, 0) * 8 / rate.bits
            ready = self._free
        if impairment.delay is not None:
            ready += self._wait(impairment.delay)
        if impairment.reorder is None:
            # Jitter alone keeps the order: whoever wants another one asks for it.
            ready = self._latest = max(ready, self._latest)
        return ready

    def _wait(self, delay: Delay) -> float:
        if not delay.jitter:
            return delay.time
        share = self._random["delay"].next(delay.correlation)
        if delay.distribution == "uniform":
            variation = 2 * share - 1
        else:
            share = min(max(share, _SMALLEST), 1 - _SMALLEST)
            normal = _NORMAL.inv_cdf(share)
            pareto = 4 / 3 * ((1 - share) ** (-1 / _PARETO_SHAPE) - 1.5)
            variation = {"normal": normal, "pareto": pareto, "paretonormal": 0.25 * normal + 0.75 * pareto}[
                delay.distribution
            ]
        return max(delay.time + delay.jitter * variation, 0.0)

    def _is_lost(self, loss: Chance | GilbertElliott) -> bool:
        if isinstance(loss, Chance):
            return self._happens("loss", loss)
        draw = self._source.random
        if self._bad:
            self._bad = draw() >= loss.to_good
        else:
            self._bad = draw() < loss.to_bad
        return draw() < (loss.lost_bad if self._bad else loss.lost_good)

    def _happens(self, what: str, chance: Chance) -> bool:
        return self._random[what].next(chance.correlation) < chance.probability

    def _jumps(self, reorder: Chance) -> bool:
        """Whether this frame overtakes those that wait; with a gap only every so-manieth may."""
        gap = self.impairment.gap
        self._since_reordered += 1
        if gap and self._since_reordered < gap:
            return False
        if self._happens("reorder", reorder):
            self._since_reordered = 0
            return True
        return False

    def _corrupted(self, frame: bytes) -> bytes:
        bit = self._source.randrange(len(frame) * 8)
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    # Time

    def _is_down(self, now: float) -> bool:
        if self.impairment.down:
            return True
        flap = self.impairment.flap
        if flap is None or self._begun is None:
            return False
        return (now - self._begun) % (flap.up + flap.down) >= flap.up

    def _open_slot(self, slot: Slot, now: float) -> None:
        self._slot = now + self._source.uniform(slot.minimum, slot.maximum)
        self._slot_room = [slot.packets or UNLIMITED, slot.bytes or UNLIMITED]

    def _fill_slot(self, slot: Slot, length: int, now: float) -> None:
        self._slot_room[0] -= 1
        self._slot_room[1] -= length
        if min(self._slot_room) <= 0:
            self._open_slot(slot, now)
