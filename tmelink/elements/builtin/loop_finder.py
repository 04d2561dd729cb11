"""Finds loops by probes that come back, and says which connection to cut, until they come back no more.

A switch sends a probe (`tmelink.elements.builtin.loop_probe`) through every connection now and then. One that
comes back by another connection has found a loop, through whatever bridges, links and hosts. Nobody answers a
probe, so it needs nothing of what it passes. A switch hands each probe of another on once, so that probes
themselves do not circulate.

Between connections of a mesh nothing is handed on. So a cable beside a mesh may close a loop that no probe
goes round: it ends at a member of the mesh, which hears its own frames, and everybody's, twice. Such a loop
shows in another switch's probes of one round that arrive by two connections.

Of the switches in a loop one cuts: the lowest of those that have a connection in it which is not of a mesh. A
mesh that lacks a connection has stations that do not reach each other, so it is cut only if there is nothing
else. This module knows connections by number, and the time by being given it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tmelink.elements.builtin.loop_probe import MOST_HOPS, NUMBERS, Probe, ProbeHop, build_probe

INTERVAL: Final = 2.0
"""Seconds between two probes of a connection."""

HELD: Final = 4
"""Intervals without a sign of a loop until it may be over, and with twice as many it is; and how many rounds
say that something has changed."""

LEAST: Final = 0.75
"""Seconds that an interval counts at the least for what is cut. Others that are busy hand probes on late, and
a loop that is closed too early costs more than one that is open for some seconds."""

LATE: Final = 1.5
"""Intervals that one round counts at the most: whoever sends probes late has also looked for them late."""

SILENT: Final = 0.5
"""What a round counts in which a cut connection has heard nobody's probe. The others may be too busy, and
then the loop is still there; or they are gone or do not send any, and it may not stay cut for ever."""

MOST_OTHERS: Final = 1024
"""Other switches, and as many of their connections, whose probes are remembered."""


@dataclass
class _Cut:
    """A connection that is cut: the last sign of its loop, the seconds since then that count, and how many
    are needed."""

    sign: float
    needed: float
    quiet: float = 0.0


@dataclass
class _Round:
    """Another switch's probes of one round: whom the first one at each connection has passed."""

    number: int
    paths: dict[int, list[ProbeHop]] = field(default_factory=dict)


@dataclass
class LoopFinder:
    """What one switch knows of loops. `node` is its number; `interval` is between two of its probes."""

    node: bytes
    interval: float
    number: int = 0
    """Its own rounds."""
    cut: dict[int, _Cut] = field(default_factory=dict)
    """Connections that are cut."""
    jitter: Random = field(default_factory=Random)
    """Two switches that have cut one loop at the same time must not heal at the same time."""
    kept: set[int] = field(default_factory=set)
    """Connections of a mesh."""
    reflected: set[int] = field(default_factory=set)
    """Connections by which a probe came back that was sent there: the loop is behind them."""
    _since: dict[int, float] = field(default_factory=dict)
    _changed_until: int = -1
    _sent: float = 0.0
    """When the last round was sent."""
    _hearing: set[int] = field(default_factory=set)
    """Connections that have heard anybody's probe since then."""
    _others: dict[bytes, _Round] = field(default_factory=dict)
    _handed: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """The last round of which a probe of another switch's connection was handed on."""

    def came_up(self, port: int, now: float, *, kept: bool = False) -> None:
        """A connection leads somewhere since now; of two, the newer one is cut that is not kept."""
        self._since[port] = now
        if kept:
            self.kept.add(port)

    def went(self, port: int) -> None:
        """A connection is gone."""
        self._since.pop(port, None)
        self.cut.pop(port, None)
        self.kept.discard(port)
        self.reflected.discard(port)

    def probes(self, ports: Iterable[int], now: float) -> list[tuple[int, bytes]]:
        """A round: a probe for each connection, those that are cut too."""
        self.number += 1
        self._sent = now
        self._hearing.clear()
        number, changed = self.number % NUMBERS, self.changed
        return [
            (port, build_probe(Probe(self.node, port, number, changed, port in self.cut, port in self.kept)))
            for port in ports
        ]

    def is_new(self, probe: Probe) -> bool:
        """Whether another switch's probe is to be handed on: each is once, and none after a later one."""
        key = probe.node, probe.port
        last = self._handed.get(key)
        if len(probe.passed) >= MOST_HOPS or (last is not None and not _later(probe.number, last)):
            return False
        if last is None and len(self._handed) >= MOST_OTHERS:
            self._handed.clear()
        self._handed[key] = probe.number
        return True

    def heard(self, probe: Probe, port: int, now: float) -> tuple[int, int] | None:
        """Another switch's probe arrived: the connection that is cut now, and the other end of the loop."""
        self._hearing.add(port)
        found = self._others.get(probe.node)
        if found is None or _later(probe.number, found.number):
            if found is None and len(self._others) >= MOST_OTHERS:
                self._others.clear()
            found = self._others[probe.node] = _Round(probe.number)
        if probe.number != found.number or probe.cut or any(hop.node == self.node for hop in probe.passed):
            return None  # It is late; or nothing but probes comes that path; or it was here, as its own were.
        path = [ProbeHop(probe.node, came=False, went=probe.kept), *probe.passed]
        for other, earlier in found.paths.items():
            if other != port and (end := self._two_paths(path, port, earlier, other, now)) is not None:
                return end
        found.paths.setdefault(port, path)
        return None

    def came_back(self, probe: Probe, port: int, now: float) -> tuple[int, int] | None:
        """The switch's own probe arrived: the connection that is cut now, and the other end of the loop.

        None where it was known already, or where another switch of the loop is to cut.
        """
        if probe.port == port:
            self.reflected.add(port)
            return None
        return self._loop((probe.port, port), probe.passed, now)

    def _two_paths(
        self, path: Sequence[ProbeHop], port: int, earlier: Sequence[ProbeHop], other: int, now: float
    ) -> tuple[int, int] | None:
        """The same as `came_back`, for probes that parted at some switch and arrived by two connections."""
        shared = 0
        for one, two in zip(path, earlier, strict=False):
            if one.node != two.node:
                break
            shared += 1
        parting = ProbeHop(path[shared - 1].node, path[shared - 1].went, earlier[shared - 1].went)
        hops = [parting, *path[shared:], *earlier[shared:]]
        ends = port, other
        if not any(hop.came or hop.went for hop in hops) and self.kept.isdisjoint(ends):
            return None  # There is no mesh in it, so the probes of all its switches go round.
        return self._loop(ends, hops, now)

    def _loop(self, ends: tuple[int, int], others: Sequence[ProbeHop], now: float) -> tuple[int, int] | None:
        """A loop between two connections, through other switches."""
        known = [end for end in ends if end in self.cut]
        for end in known:
            self._cut(end, now)
        own = ProbeHop(self.node, ends[0] in self.kept, ends[1] in self.kept)
        hops = [own, *others]
        free = [hop.node for hop in hops if not (hop.came and hop.went)]
        if known or min(free or [hop.node for hop in hops]) != self.node:
            return None
        newest = max(ends, key=lambda end: (end not in self.kept, self._since.get(end, 0.0), end))
        self._cut(newest, now)
        self._changed_until = self.number + HELD
        return newest, ends[0] if newest == ends[1] else ends[1]

    def _cut(self, port: int, now: float) -> None:
        self.cut[port] = _Cut(now, self.jitter.uniform(HELD, 2 * HELD) * max(self.interval, LEAST))

    def healed(self, now: float) -> list[int]:
        """Before the next round: connections whose loop is over; they are whole again, and the newest."""
        for port, cut in self.cut.items():
            passed = min(now - max(self._sent, cut.sign), LATE * self.interval)
            cut.quiet += passed * (1.0 if port in self._hearing else SILENT)
        over = [port for port, cut in self.cut.items() if cut.quiet >= cut.needed]
        for port in over:
            self.heal(port, now)
        return over

    def heal(self, port: int, now: float) -> None:
        """A connection is whole again, and the newest one."""
        del self.cut[port]
        self._since[port] = now
        self._changed_until = self.number + HELD

    @property
    def changed(self) -> bool:
        """Whether a connection was cut or made whole lately."""
        return self.number <= self._changed_until


def _later(number: int, than: int) -> bool:
    """Whether a round is later than another, which were counted from 0 again meanwhile, maybe."""
    return 0 < (number - than) % NUMBERS < NUMBERS // 2
