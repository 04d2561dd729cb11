"""The frame by which a switch looks for loops: what is in it, and how it is read and handed on.

A small multicast frame that any bridge floods and no machine understands. It says which switch sent it by
which of its connections. Each switch that hands it on adds itself, and whether the probe came and went by a
connection of a mesh. What follows from a probe is `tmelink.elements.builtin.loop_finder`'s.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from tmelink import ethernet
from tmelink.frame import Frame

GROUP: Final = b"\x03tmelp"
"""Where probes go: a locally administered multicast address (IEEE 802, 8.4), which no machine listens to."""

ETHERTYPE: Final = 0x88B6
"""Local experimental EtherType 2 (IEEE 802, 9.2.4)."""

MAGIC: Final = b"tmelink loop 2\0\0"

NUMBERS: Final = 1 << 32
"""Rounds of probes are counted up to here, and then from 0 again."""

MOST_HOPS: Final = 64
"""Switches that a probe may pass."""

NODE: Final = 8
"""Bytes of a switch's number."""

MIN_SIZE: Final = 60

_PROBE: Final = Struct("!16s8sHIBB")
_HOP: Final = Struct("!8sB")
_CHANGED, _CUT, _KEPT = 1, 2, 4
_CAME, _WENT = 1, 2


class ProbeHop(NamedTuple):
    """A switch that has handed a probe on; whether the connections by which it came and went are kept."""

    node: bytes
    came: bool
    went: bool


class Probe(NamedTuple):
    """Who sent it, by which of its connections, in which round, and the switches that have handed it on.

    `changed` says that its sender has cut a connection or made one whole lately: what a loop has taught of
    where stations are is to be forgotten, and what led another path. `cut` says that the connection carries
    nothing but probes, and `kept` that it is of a mesh.
    """

    node: bytes
    port: int
    number: int
    changed: bool = False
    cut: bool = False
    kept: bool = False
    passed: tuple[ProbeHop, ...] = ()


def build_probe(probe: Probe) -> bytes:
    """The frame of a probe. Each connection has a MAC address of its own, so that no bridge sees one move."""
    source = b"\x06" + probe.node[:3] + (probe.port & 0xFFFF).to_bytes(2, "big")
    return ethernet.build(GROUP, source, ETHERTYPE, _packed(probe)).ljust(MIN_SIZE, b"\0")


def _packed(probe: Probe) -> bytes:
    node, port, number, changed, cut, kept, passed = probe
    flags = _CHANGED * changed | _CUT * cut | _KEPT * kept
    head = _PROBE.pack(MAGIC, node, port, number, flags, len(passed))
    return head + b"".join(_HOP.pack(hop.node, _CAME * hop.came | _WENT * hop.went) for hop in passed)


def parse_probe(frame: Frame) -> Probe | None:
    """The probe in a frame to `GROUP`, with a VLAN's tag or without; None for anything else."""
    at = _payload(frame)
    if frame[at - 2 : at] != ETHERTYPE.to_bytes(2, "big") or len(frame) < at + _PROBE.size:
        return None
    magic, node, port, number, flags, count = _PROBE.unpack_from(frame, at)
    hops = bytes(frame[at + _PROBE.size : at + _PROBE.size + count * _HOP.size])
    if magic != MAGIC or len(hops) < count * _HOP.size:
        return None
    passed = tuple(
        ProbeHop(each, bool(how & _CAME), bool(how & _WENT)) for each, how in _HOP.iter_unpack(hops)
    )
    return Probe(node, port, number, bool(flags & _CHANGED), bool(flags & _CUT), bool(flags & _KEPT), passed)


def handed_on(frame: Frame, probe: Probe, hop: ProbeHop) -> bytes:
    """The frame of a probe, with one more switch."""
    passed = _packed(probe._replace(passed=(*probe.passed, hop)))
    return (bytes(frame[: _payload(frame)]) + passed).ljust(MIN_SIZE, b"\0")


def _payload(frame: Frame) -> int:
    return ethernet.HEADER + (ethernet.VLAN_TAG if frame[12:14] == b"\x81\x00" else 0)
