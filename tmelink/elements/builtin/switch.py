"""`tmelink/switch`: a learning bridge with any number of connections.

As IEEE 802.1D describes one: it learns behind which connection a station is from the frames the station
sends, forgets it after a while, sends frames for a known station there alone and all others everywhere but
back. Where no connection has words of its own it looks at MAC addresses only, and VLAN tags pass through.
What the words mean is `tmelink.elements.builtin.port_rules`'; what becomes of tags, of floods and of loops
is in modules of their own beside it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from functools import partial
from struct import Struct, error

from tmelink import ethernet
from tmelink.element import Port
from tmelink.elements.builtin import vlans
from tmelink.elements.builtin.group_snooping import GroupSnooper
from tmelink.elements.builtin.learning_segment import (
    MOST_PATHS,
    TABLE_SIZE,
    FramePath,
    LearningSegment,
    Station,
)
from tmelink.elements.builtin.loop_guard import LoopGuard
from tmelink.elements.builtin.loop_probe import GROUP
from tmelink.elements.builtin.loop_watch import behind
from tmelink.elements.builtin.port_rules import EVERY_VLAN
from tmelink.elements.builtin.station_addresses import MAC
from tmelink.elements.builtin.storm import DEFAULT_RATE, StormLimit
from tmelink.elements.builtin.switch_arguments import SwitchArguments
from tmelink.elements.builtin.switch_details import StationDetails, SwitchDetails
from tmelink.elements.builtin.tree_guard import TreeGuard
from tmelink.elements.builtin.wire_form import from_wire, to_wire
from tmelink.errors import ElementError
from tmelink.frame import MIN_FRAME, Burst, Frame
from tmelink.routing.facts import IPAddress

MAX_DEPTH = 16
"""The most nested calls of a switch. A frame, the answer to it, ARP before it and a router on the same
switch make eight; more can only be a loop."""

_HEAD = Struct("!6s6sHH")

_ADDRESSES = Struct("6s6s2x")
"""Destination and source of a frame; unpacking fails for anything shorter than a frame."""


class Switch(LearningSegment):
    """A learning bridge with any number of connections; no frame goes back to where it came from.

    `command SWITCH table` prints which station is behind which connection. Words after the switch's name give
    a connection its rules: `le0 at sw0 vlan access 10`. If no connection names a VLAN, the switch ignores
    tags. Its own probes find loops, and it cuts the newest connection of a loop while the loop lasts, or one
    beside a `mesh` if the loop has such a connection. With `rstp` it takes part in the spanning tree instead,
    and `command SWITCH tree` prints the roles. With `snoop`, `command SWITCH groups` prints who wants which
    multicast frames. Frames for the nearest bridge (spanning tree, LACP, LLDP, pause) end here, as IEEE
    802.1D demands. With `transparent` they pass, so that emulated switches see each other.
    """

    example = """\
sw0: tmelink/switch ageing 600
a: tmelink/host inet 10.0.10.1/24
b: tmelink/host inet 10.0.20.1/24
a at sw0 vlan access 10
b at sw0 vlan access 20
lan at sw0 vlan trunk 10,20: tme/host/bsd/bpf interface eth0
"""

    commands = ("table", "groups", "tree")

    Arguments = SwitchArguments
    arguments: SwitchArguments

    def __init__(self, name: str, arguments: SwitchArguments) -> None:
        super().__init__(name, arguments, arguments.ageing)
        self._transparent = arguments.transparent
        self._under_way: list[Burst] = []
        probes = 0.0 if arguments.rstp else arguments.loop_probe
        self._loops = LoopGuard(
            self, probes, self._send_probe, self._relearn, lambda port: bool(self.rules_of(port).mesh)
        )
        self._tree: TreeGuard | None = None
        if arguments.rstp:
            self._tree = TreeGuard(
                self, arguments.priority, arguments.forward_delay, self._send_message, self._relearn
            )
        self._cut = self._loops.cut if self._tree is None else self._tree.blocked
        self._groups = GroupSnooper() if arguments.snoop else None
        self._storms: dict[Port, StormLimit] = {}

    def carrier(self, port: Port) -> None:
        """A connection came, went, came up or went down."""
        super().carrier(port)
        self._loops.changed()
        if self._tree is not None:
            self._tree.connections_changed()

    async def open(self) -> None:
        """Start the clock by which stations are forgotten."""
        self._loop = asyncio.get_running_loop()
        self.segment_opened(self._loop)
        self._loops.open(self._loop)
        if self._tree is not None:
            self._tree.open(self._loop)

    async def close(self) -> None:
        """Stop forwarding and forget every station."""
        self._loops.close()
        if self._tree is not None:
            self._tree.close()
        if self._groups is not None:
            self._groups.clear()
        self.segment_opened(None)
        self._loop = None
        for mac in list(self._stations):
            self._forget(mac)

    def receive(self, port: Port, burst: Burst) -> None:
        """Learn the frames' senders and forward them."""
        if self._loop is None:
            port.drop("not open", len(burst.frames))
            return
        if self._tree is not None:
            burst = self._tree.taken_from(port, burst)
        if self._under_way and burst.frames and self._comes_back(burst):
            port.drop("switch loop", len(burst.frames))
            self._watch.came_back(port, self._loop.time())
            return
        self._under_way.append(burst)
        try:
            if self._rules:
                self._forward_by_rules(port, burst, self._loop.time())
            else:
                self._forward(port, burst, self._loop.time())
        finally:
            self._under_way.pop()

    def receive_one(self, port: Port, frame: Frame) -> None:
        """The same for a frame that comes alone, in few steps where it is for a station that is known."""
        loop = self._loop
        if (
            loop is None
            or self._rules
            or self._cut
            or self._tree is not None
            or self._under_way
            or len(frame) < MIN_FRAME
        ):
            self.receive(port, Burst([frame]))
            return
        destination, source = _ADDRESSES.unpack_from(frame)
        station = self._stations.get(destination)  # never of a group's address
        now = loop.time()
        if station is None or destination == source or self._is_lost(station, now):
            self.receive(port, Burst([frame]))
            return
        refused = self._locate(source, port, now)
        if refused:
            port.drop(refused)
            return
        if source not in self._addresses:
            self._addresses.hear(frame, b"", self._stations)
        if station.port is port:
            return
        self._under_way.append(Burst([frame]))
        try:
            station.port.send_one(frame)
        finally:
            self._under_way.pop()

    def _comes_back(self, burst: Burst) -> bool:
        """Whether this is a part of what is being forwarded already: connections form a loop.

        Everything in a process is handed on by synchronous calls, so a loop would never return.
        """
        first = burst.frames[0]
        if len(self._under_way) >= MAX_DEPTH:
            return True
        return any(frame is first for earlier in self._under_way for frame in earlier.frames)

    def _forward_by_rules(self, port: Port, burst: Burst, now: float) -> None:
        """As `_forward`, for each VLAN by itself; or by the path that frames of the same head have taken."""
        head = _only_head(burst)
        if head is not None and not self._cut:
            path = self._paths.get((port, head))
            if path is not None and self._is_good(path, port, now):
                path.source.heard = now
                path.port.send(burst if path.change is None else path.change(burst))
                return
        if min(map(len, burst.frames), default=MIN_FRAME) < MIN_FRAME:
            burst = _without_short(port, burst)
        if self.rules_of(port).fcs:
            burst = from_wire(port, burst)
        members = self.members(port)
        if members is None:
            self._forward(port, burst, now, send=self._send)
            if head is not None:
                self._remember(port, head, b"", tagged=False)
            return
        for found in vlans.by_vlan(port, members, burst):
            tagger = vlans.Tagger(found)
            suffix = found.vlan.to_bytes(2, "big")
            self._forward(port, found.burst, now, suffix, partial(self._send_tagged, tagger))
            if head is not None and found.burst is burst:
                self._remember(port, head, suffix, tagged=found.tagged)

    def _is_good(self, path: FramePath, port: Port, now: float) -> bool:
        """Whether both stations are where they were."""
        return (
            path.source.port is port
            and path.destination.port is path.port
            and path.port.peer is not None
            and now - path.destination.heard <= self._ageing
        )

    def _remember(
        self, port: Port, head: tuple[bytes, bytes, int, int], vlan: bytes, *, tagged: bool
    ) -> None:
        """Note the path of frames between two stations that are known, if rules do not look at each frame."""
        destination, source = head[0] + vlan, head[1] + vlan
        here, there = self._stations.get(source), self._stations.get(destination)
        if here is None or there is None or here.port is not port or source not in self._addresses:
            return
        other = there.port
        rules = self.rules_of(other)
        formed = rules.pad or rules.fcs or self.rules_of(port).fcs
        if other is port or formed or not self._may_pass(port, other, vlan):
            return
        change: Callable[[Burst], Burst] | None = None
        members = self.members(other)
        if members is not None:
            number = int.from_bytes(vlan, "big")
            wants_tag = number != members.untagged
            if wants_tag != tagged:
                change = partial(vlans.with_tag, vlan=number) if wants_tag else vlans.without_tag
        if len(self._paths) >= MOST_PATHS:
            self._paths.clear()
        self._paths[port, head] = FramePath(here, there, other, change)

    def _send_tagged(self, tagger: vlans.Tagger, other: Port, burst: Burst) -> None:
        members = self.members(other)
        assert members is not None, "VLANs are known here"
        self._send(other, tagger.as_for(members, burst))

    def _send(self, other: Port, burst: Burst) -> None:
        rules = self.rules_of(other)
        other.send(to_wire(other, burst, pad=rules.pad, fcs=rules.fcs) if rules.pad or rules.fcs else burst)

    def _send_message(self, port: Port, frame: Frame) -> None:
        """Send a bridge's message, which never has a tag."""
        self._send(port, Burst([frame]))

    def _send_probe(self, port: Port, frame: Frame) -> None:
        members = self.members(port)
        burst = Burst([frame])
        if members is not None and members.untagged is None:
            burst = vlans.with_tag(burst, min(members.tagged))
        self._send(port, burst)

    def _forward(
        self,
        port: Port,
        burst: Burst,
        now: float,
        vlan: bytes = b"",
        send: Callable[[Port, Burst], None] = Port.send,
    ) -> None:
        """Learn and forward; stations are known by their address and `vlan`, the two bytes of its number."""
        frames = burst.frames
        try:
            heads: list[tuple[bytes, bytes]] = list(map(_ADDRESSES.unpack_from, frames))
        except error:
            burst = _without_short(port, burst)
            frames = burst.frames
            heads = list(map(_ADDRESSES.unpack_from, frames))
        if not heads:
            return
        if vlan:
            keys = {head: (head[0] + vlan, head[1] + vlan) for head in dict.fromkeys(heads)}
            heads = list(map(keys.__getitem__, heads))
        if self._cut and port in self._cut:
            for each, (destination, _source) in zip(frames, heads, strict=True):
                if destination[:6] != GROUP:
                    port.drop("loop cut" if self._tree is None else "blocked by the spanning tree")
                elif self._tree is None:
                    self._loops.arrived(each, port)
            return
        routes = {head: self._route(port, *head, now, heads, frames, send) for head in dict.fromkeys(heads)}
        first, *others = routes.values()
        if all(route == first for route in others):
            # Most bursts go on as they are.
            for other in first:
                send(other, burst)
            return
        queues: dict[Port, list[int]] = {other: [] for route in routes.values() for other in route}
        appends = {head: [queues[other].append for other in route] for head, route in routes.items()}
        for index, route in enumerate(map(appends.__getitem__, heads)):
            for append in route:
                append(index)
        for other, queue in queues.items():
            send(other, burst.part(queue))

    def _route(
        self,
        port: Port,
        destination: bytes,
        source: bytes,
        now: float,
        heads: list[tuple[bytes, bytes]],
        frames: Sequence[Frame],
        send: Callable[[Port, Burst], None],
    ) -> Sequence[Port]:
        """Learn `source`; the ports that frames for `destination` go to."""
        if destination[0] == GROUP[0] and destination[:6] == GROUP:
            probes = [
                each for each, found in zip(frames, heads, strict=True) if found == (destination, source)
            ]
            self._hand_on(port, probes, destination[6:], send)
            return ()
        refused = self._locate(source, port, now)
        if refused:
            port.drop(refused, heads.count((destination, source)))
            return ()
        if destination[0] & 1 or source not in self._addresses:
            self._addresses.hear(frames[heads.index((destination, source))], source[MAC:], self._stations)
        if not destination[0] & 1:
            station = self._stations.get(destination)
            if station is not None and self._is_lost(station, now):
                self._forget(destination)
                station = None
            if station is None:
                unknown = self._unknown(port, destination)
                return self._calm(port, unknown, now, (destination, source), heads)
            if station.port is port:
                return ()
            if (self._rules or self._cut) and not self._may_pass(port, station.port, destination[6:]):
                port.drop("separated by the switch", heads.count((destination, source)))
                return ()
            return (station.port,)
        if destination[:5] == ethernet.RESERVED[:5] and destination[5] < 16 and not self._transparent:
            port.drop("reserved for the nearest bridge", heads.count((destination, source)))
            return ()
        flooded: Sequence[Port] = self._others(port, destination[6:])
        if self._groups is not None:
            group = [
                each for each, found in zip(frames, heads, strict=True) if found == (destination, source)
            ]
            flooded = self._groups.passing(port, destination[:6], destination[6:], group, flooded, now)
        return self._calm(port, flooded, now, (destination, source), heads)

    def _is_lost(self, station: Station, now: float) -> bool:
        where = station.port
        return now - station.heard > self._ageing or where.peer is None or where in self._cut

    def _others(self, port: Port, vlan: bytes = b"") -> list[Port]:
        others = [other for other in self.ports if other is not port and other.peer is not None]
        if self._rules or self._cut:
            return [other for other in others if self._may_pass(port, other, vlan)]
        return others

    def _may_pass(self, port: Port, other: Port, vlan: bytes) -> bool:
        """Whether frames of a VLAN may pass from one port to another."""
        if other in self._cut or self.rules_of(port).parts(self.rules_of(other)):
            return False
        return not vlan or int.from_bytes(vlan, "big") in (self.rules_of(other).vlans or EVERY_VLAN)

    def _unknown(self, port: Port, destination: bytes) -> Sequence[Port]:
        """The ports for a frame from `port` to an unknown station."""
        others = self._others(port, destination[6:])
        return [other for other in others if not self.rules_of(other).no_flood] if self._rules else others

    def _calm(
        self,
        port: Port,
        flooded: Sequence[Port],
        now: float,
        head: tuple[bytes, bytes],
        heads: list[tuple[bytes, bytes]],
    ) -> Sequence[Port]:
        """The same ports, or none while more is flooded from `port` than it may have."""
        own = self.rules_of(port).storm
        if own is None and len(flooded) < 2:
            return flooded  # nothing is multiplied
        limit = self._storms.get(port)
        if limit is None:
            limit = self._storms[port] = StormLimit(DEFAULT_RATE if own is None else own)
        count = heads.count(head)
        if limit.takes(count, now):
            return flooded
        port.drop("storm", count)
        if limit.warns(now):
            self.log.warning(
                "a storm at %s: more than %d broadcast, multicast or unknown "
                "frames a second are dropped; 'storm FRAMES' after the switch's name sets the limit",
                behind(port),
                limit.rate,
            )
        return ()

    def _hand_on(
        self, port: Port, probes: Sequence[Frame], vlan: bytes, send: Callable[[Port, Burst], None]
    ) -> None:
        """Send probes for loops onward, which no station sends."""
        for each in probes:
            onward = self._loops.arrived(each, port)
            if onward is not None:
                for other in self._others(port, vlan):
                    if other.peer is not None and not other.peer.element.is_station:
                        send(other, Burst([onward(other)]))

    def _trouble(self) -> str:
        """What keeps it from knowing where stations are, in words."""
        assert self._loop is not None, "only an open switch has trouble"
        return self._loops.trouble() or self._watch.trouble(self._loop.time())

    def details(self) -> SwitchDetails:
        """The table, in the order in which stations were learnt."""
        return SwitchDetails(
            tuple(
                StationDetails(
                    mac[:6],
                    port.peer.element.name if port.peer else "",
                    port.index,
                    round(age, 1),
                    int.from_bytes(mac[6:], "big") or None,
                    self._addresses_of(mac),
                )
                for mac, port, age in self.table()
            ),
            self._trouble() if self._loop is not None else "",
        )

    def _addresses_of(self, key: bytes) -> tuple[IPAddress, ...]:
        return tuple(map(ipaddress.ip_address, self._addresses.of(key)))

    async def command(self, words: Sequence[str]) -> str:
        """`table` lists stations, `groups` who wants which multicast frames, `tree` the ports' roles."""
        match list(words):
            case ["table"]:
                return self._table_text()
            case ["groups"]:
                return self._groups_text()
            case ["tree"]:
                return self._tree_text()
        raise ElementError(f"{self.name} knows the commands: {', '.join(self.commands)}")

    def _table_text(self) -> str:
        rows = [
            "  ".join(
                (
                    ethernet.text(mac[:MAC]),
                    behind(port),
                    f"{_vlan_text(mac)}{age:.0f} s",
                    *([", ".join(map(str, found))] if (found := self._addresses_of(mac)) else []),
                )
            )
            for mac, port, age in sorted(self.table(), key=lambda row: (row[1].index, row[0]))
        ]
        return "\n".join([f"{len(rows)} of {TABLE_SIZE} stations", *rows])

    def _groups_text(self) -> str:
        if self._groups is None or self._loop is None:
            raise ElementError(f"{self.name} does not snoop: write 'snoop' after tmelink/switch")
        return "\n".join(
            f"{ethernet.text(group[:MAC])}  {_vlan_text(group)}{', '.join(map(behind, ports))}"
            for group, ports in sorted(self._groups.groups(self._loop.time()).items())
        )

    def _tree_text(self) -> str:
        if self._tree is None:
            raise ElementError(f"{self.name} is not in a spanning tree: write 'rstp' after tmelink/switch")
        roles = [f"{behind(port)}  {role}" for port in self.ports if (role := self._tree.role(port))]
        return "\n".join([self._tree.state(), *roles])


def _only_head(burst: Burst) -> tuple[bytes, bytes, int, int] | None:
    """What all frames of a burst begin with: addresses, EtherType, and a tag's control, if it is one."""
    frames = burst.frames
    try:
        first: tuple[bytes, bytes, int, int] = _HEAD.unpack_from(frames[0])
        if len(frames) > 1 and any(each != first for each in map(_HEAD.unpack_from, frames)):
            return None
    except (error, IndexError):
        return None
    return first


def _vlan_text(key: bytes) -> str:
    return f"VLAN {int.from_bytes(key[6:], 'big')}  " if key[6:] else ""


def _without_short(port: Port, burst: Burst) -> Burst:
    """The burst without items that are too short for a frame; those are counted."""
    kept = [index for index, frame in enumerate(burst.frames) if len(frame) >= MIN_FRAME]
    port.drop("short frame", len(burst.frames) - len(kept))
    return burst.part(kept)
