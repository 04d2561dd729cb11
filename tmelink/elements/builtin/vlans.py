"""Frames by VLAN, and their tags put on and taken off (IEEE 802.1Q, clause 6.9).

Pure: bursts in, bursts out. Only the outer tag of type 0x8100 counts; a service tag (0x88a8) and whatever is
behind the outer tag pass as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from tmelink import ethernet
from tmelink.element import Port
from tmelink.elements.builtin.port_rules import VlanMembers
from tmelink.frame import Burst, Frame, Gso

_TYPE_AND_CONTROL: Final = Struct("!12xHH")
_TAG: Final = Struct("!HH")
_NUMBER: Final = 0x0FFF

MOST_LABELS: Final = 512
"""Labels whose moved form is kept: one for each header length and segment size in use."""


class VlanBurst(NamedTuple):
    """Frames of one VLAN, either all with its tag or all without."""

    vlan: int
    tagged: bool
    burst: Burst


def by_vlan(port: Port, members: VlanMembers, burst: Burst) -> Iterator[VlanBurst]:
    """What came in at a connection with these VLANs, by VLAN; the rest is dropped, and counted at `port`."""
    frames = burst.frames
    try:
        heads = list(map(_TYPE_AND_CONTROL.unpack_from, frames))
    except error:
        heads = [_TYPE_AND_CONTROL.unpack_from(bytes(each[:16]).ljust(16, b"\0")) for each in frames]
    untagged, tagged = members.untagged, members.tagged
    distinct = set(heads)
    if untagged is not None and all(kind != ethernet.VLAN for kind, _ in distinct):
        # Most bursts have no tags at all.
        yield VlanBurst(untagged, False, burst)
        return
    kinds: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (kind, control) in enumerate(heads):
        kinds[(kind, control) if kind == ethernet.VLAN else (0, 0)].append(index)
    for (kind, control), indexes in kinds.items():
        number = control & _NUMBER
        if not kind:
            if untagged is None:
                port.drop("untagged on a trunk", len(indexes))
                continue
            yield VlanBurst(untagged, False, burst if len(indexes) == len(frames) else burst.part(indexes))
            continue
        if number == 0 and untagged is not None:
            # A tag for its priority alone: it has the VLAN of frames without one.
            priority = burst.part(indexes)
            tag = _TAG.pack(ethernet.VLAN, control | untagged)
            priority.frames[:] = [b"".join((each[:12], tag, each[16:])) for each in priority.frames]
            yield VlanBurst(untagged, True, priority)
        elif number in tagged or (tagged and number == untagged):
            yield VlanBurst(number, True, burst if len(indexes) == len(frames) else burst.part(indexes))
        else:
            port.drop("VLAN not at this connection", len(indexes))


class Tagger:
    """Frames of one VLAN, as each connection has them; what has been made for one is there for all."""

    def __init__(self, found: VlanBurst) -> None:
        self._vlan, self._tagged, _ = found
        self._made: tuple[Burst, Burst] | None = None

    def as_for(self, members: VlanMembers, burst: Burst) -> Burst:
        """The frames with their tag, or without it."""
        wants_tag = self._vlan != members.untagged
        if wants_tag == self._tagged:
            return burst
        if self._made is None or self._made[0] is not burst:
            self._made = burst, with_tag(burst, self._vlan) if wants_tag else without_tag(burst)
        return self._made[1]


def with_tag(burst: Burst, vlan: int) -> Burst:
    """The frames with a tag."""
    tag = _TAG.pack(ethernet.VLAN, vlan)
    return Burst(
        [b"".join((each[:12], tag, each[12:])) for each in burst.frames], _moved(burst, ethernet.VLAN_TAG)
    )


def without_tag(burst: Burst) -> Burst:
    """The frames without their outer tag."""
    return Burst([_untagged(each) for each in burst.frames], _moved(burst, -ethernet.VLAN_TAG))


def _untagged(each: Frame) -> Frame:
    return b"".join((each[:12], each[16:]))


def _moved(burst: Burst, by: int) -> list[Gso | None] | None:
    """The labels of frames whose headers lie elsewhere now."""
    if burst.gso is None:
        return None
    return [None if each is None else _moved_label(each, by) for each in burst.gso]


@lru_cache(MOST_LABELS)
def _moved_label(label: Gso, by: int) -> Gso:
    return label._replace(
        header=label.header + by if label.header else 0,
        checksum_start=label.checksum_start + by if label.checksum_start else 0,
    )
