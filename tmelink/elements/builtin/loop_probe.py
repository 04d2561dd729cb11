"""Finds loops by frames that come back, and says which connection to cut, until they come back no more.

A switch sends a probe through every connection now and then: a small multicast frame that any bridge floods
and no machine understands. One that comes back by another connection has found a loop, through whatever
bridges, links and hosts. Nobody answers a probe, so it needs nothing of what it passes.

Each switch that hands a probe on adds its number to it. So a probe that comes back has the numbers of all
switches in the loop, of which the one with the lowest cuts. A switch hands each probe of another on once, so
that probes themselves do not circulate. This module knows connections by number, and has no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from struct import Struct
from typing import Final, NamedTuple

from tmelink import ethernet
from tmelink.frame import Frame

INTERVAL: Final = 2.0
"""Seconds between two probes of a connection."""

HELD: Final = 4
"""Probes in a row that do not come back until a loop may be over, and with twice as many it is."""

GROUP: Final = b"\x03tmelp"
"""Where probes go: a locally administered multicast address (IEEE 802, 8.4), which no machine listens to."""

ETHERTYPE: Final = 0x88B6
"""Local experimental EtherType 2 (IEEE 802, 9.2.4)."""

MAGIC: Final = b"tmelink loop 1\0\0"

MOST_OTHERS: Final = 1024
"""Other switches' connections whose probes are remembered."""

MOST_HOPS: Final = 64
"""Switches that a probe may pass."""

NODE: Final = 8
"""Bytes of a switch's number."""

MIN_SIZE: Final = 60

_PROBE: Final = Struct("!16s8sHI?B")


class Probe(NamedTuple):
    """Who sent it, by which of its connections, as which, and the switches that have handed it on.

    `changed` says that its sender has cut a connection or made one whole lately: what a loop has taught of
    where stations are is to be forgotten, and what led another path.
    """

    node: bytes
    port: int
    number: int
    changed: bool = False
    passed: tuple[bytes, ...] = ()


def build_probe(probe: Probe) -> bytes:
    """The frame of a probe. Each connection has a MAC address of its own, so that no bridge sees one move."""
    source = b"\x06" + probe.node[:3] + (probe.port & 0xFFFF).to_bytes(2, "big")
    return ethernet.build(GROUP, source, ETHERTYPE, _packed(probe)).ljust(MIN_SIZE, b"\0")


def _packed(probe: Probe) -> bytes:
    head = _PROBE.pack(MAGIC, *probe[:4], len(probe.passed))
    return head + b"".join(probe.passed)


def parse_probe(frame: Frame) -> Probe | None:
    """The probe in a frame to `GROUP`, with a VLAN's tag or without; None for anything else."""
    at = _payload(frame)
    if frame[at - 2 : at] != ETHERTYPE.to_bytes(2, "big") or len(frame) < at + _PROBE.size:
        return None
    magic, node, port, number, changed, hops = _PROBE.unpack_from(frame, at)
    numbers = bytes(frame[at + _PROBE.size : at + _PROBE.size + hops * NODE])
    if magic != MAGIC or len(numbers) < hops * NODE:
        return None
    passed = tuple(numbers[n : n + NODE] for n in range(0, len(numbers), NODE))
    return Probe(node, port, number, changed, passed)


def handed_on(frame: Frame, probe: Probe, node: bytes) -> bytes:
    """The frame of a probe, with the number of one more switch."""
    passed = _packed(probe._replace(passed=(*probe.passed, node)))
    return (bytes(frame[: _payload(frame)]) + passed).ljust(MIN_SIZE, b"\0")


def _payload(frame: Frame) -> int:
    return ethernet.HEADER + (ethernet.VLAN_TAG if frame[12:14] == b"\x81\x00" else 0)


@dataclass
class LoopFinder:
    """What one switch knows of loops. `node` is its number; `interval` is between two of its probes."""

    node: bytes
    interval: float
    number: int = 0
    cut: dict[int, int] = field(default_factory=dict)
    """Connections that are cut, and the number of the probe until which they stay so if none comes back.

    Probes are counted, and not seconds: a program that is late sends them late, too.
    """
    jitter: Random = field(default_factory=Random)
    """Two switches that have cut one loop at the same time must not heal at the same time."""
    kept: set[int] = field(default_factory=set)
    """Connections of a mesh: of a loop's two ends the other one is cut. A mesh that lacks a connection has
    stations that do not reach each other, since its members hand nothing on between them."""
    reflected: set[int] = field(default_factory=set)
    """Connections by which a probe came back that was sent there: the loop is behind them."""
    _since: dict[int, float] = field(default_factory=dict)
    _changed_until: int = -1
    _others: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """The last probe of each connection of other switches."""

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

    def probes(self, ports: Iterable[int]) -> list[tuple[int, bytes]]:
        """A probe for each connection, those that are cut too."""
        self.number += 1
        number = self.number & 0xFFFFFFFF
        return [(port, build_probe(Probe(self.node, port, number, self.changed))) for port in ports]

    def is_new(self, probe: Probe) -> bool:
        """Whether another switch's probe is to be handed on: it is the first of its number."""
        key = probe.node, probe.port
        if self._others.get(key) == probe.number or len(probe.passed) >= MOST_HOPS:
            return False
        if len(self._others) >= MOST_OTHERS:
            self._others.clear()
        self._others[key] = probe.number
        return True

    def came_back(self, probe: Probe, port: int) -> tuple[int, int] | None:
        """The switch's own probe arrived: the connection that is cut now, and the other end of the loop.

        None where it was known already, or where another switch of the loop is to cut.
        """
        if probe.port == port:
            self.reflected.add(port)
            return None
        ends = probe.port, port
        known = [end for end in ends if end in self.cut]
        for end in known:
            self.cut[end] = self._until()
        if known or min(probe.passed, default=self.node) < self.node:
            return None
        newest = max(ends, key=lambda end: (end not in self.kept, self._since.get(end, 0.0), end))
        self.cut[newest] = self._until()
        self._changed_until = self.number + HELD
        return newest, port if newest == probe.port else probe.port

    def healed(self, now: float) -> list[int]:
        """Connections whose loop is over; they are whole again, and the newest ones."""
        over = [port for port, until in self.cut.items() if self.number > until]
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

    def _until(self) -> int:
        return self.number + self.jitter.randint(HELD, 2 * HELD)
