"""`tmelink/switch`: a learning bridge with any number of connections.

As IEEE 802.1D describes one: it learns behind which connection a station is from the frames the station
sends, forgets it after a while, sends frames for a known station there alone and all others everywhere but
back. Where no connection has words of its own it looks at MAC addresses only, and VLAN tags pass through.
What the words mean is `tmelink.elements.builtin.port_rules`'; what becomes of tags, of floods and of loops
is in modules of their own beside it. It does not take part in spanning tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from struct import Struct, error

from tmelink import arguments as declaration
from tmelink import ethernet, values
from tmelink.arguments import flag, keyword
from tmelink.element import Port
from tmelink.elements.builtin import vlans
from tmelink.elements.builtin.loop_guard import LoopGuard
from tmelink.elements.builtin.loop_probe import GROUP, INTERVAL
from tmelink.elements.builtin.loop_watch import LoopWatch, behind
from tmelink.elements.builtin.port_rules import EVERY_VLAN, NO_RULES, PortRules, VlanMembers, read_rules
from tmelink.elements.builtin.shared_segment import SharedSegment
from tmelink.elements.builtin.storm import DEFAULT_RATE, StormLimit
from tmelink.elements.builtin.wire_form import from_wire, to_wire
from tmelink.errors import ElementError, PortError
from tmelink.frame import MIN_FRAME, Burst, Counters, Frame
from tmelink.source import Word
from tmelink.state import Details

AGEING = 300.0
"""Seconds until a silent station is forgotten (IEEE 802.1D, table 7-5)."""

TABLE_SIZE = 8192
"""Stations known at once, as in common switches; with more, frames for unknown ones go everywhere."""

SWEEP = 1.0
"""Seconds between two searches of a full table for stations to forget, each of which looks at all of it."""

MAX_DEPTH = 16
"""The most nested calls of a switch. A frame, the answer to it, ARP before it and a router on the same
switch make eight; more can only be a loop."""

_ADDRESSES = Struct("6s6s2x")
"""Destination and source of a frame; unpacking fails for anything shorter than a frame."""


class Station:
    """Where a station was last heard, and when."""

    __slots__ = ("heard", "port")

    def __init__(self, port: Port, heard: float) -> None:
        self.port = port
        self.heard = heard


@dataclass(frozen=True, slots=True)
class StationDetails(Details):
    """A station that a switch has learnt: behind which element, and when it was heard last."""

    mac: bytes
    behind: str
    port: int
    age: float
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class SwitchDetails(Details):
    """The stations that a switch knows, and what keeps it from knowing where they are."""

    stations: tuple[StationDetails, ...]
    trouble: str = ""

    @property
    def summary(self) -> str:
        """How many there are."""
        count = f"{len(self.stations)} station{'s' * (len(self.stations) != 1)}"
        return f"{count}; {self.trouble}" if self.trouble else count


class Switch(SharedSegment):
    """A learning bridge with any number of connections; no frame goes back to where it came from.

    `command SWITCH table` prints which station is behind which connection. Words after the switch's name give
    a connection its rules: `le0 at sw0 vlan access 10`. If no connection names a VLAN, the switch ignores
    tags. It does not speak spanning tree. Its own probes find loops, and it cuts the newest connection of a
    loop while the loop lasts. Frames for the nearest bridge (spanning tree, LACP, LLDP, pause) end here, as
    IEEE 802.1D demands. With `transparent` they pass, so that emulated switches see each other.
    """

    example = """\
sw0: tmelink/switch ageing 600
a: tmelink/host inet 10.0.10.1/24
b: tmelink/host inet 10.0.20.1/24
a at sw0 vlan access 10
b at sw0 vlan access 20
lan at sw0 vlan trunk 10,20: tme/host/bsd/bpf interface eth0
"""

    commands = ("table",)

    @dataclass(frozen=True)
    class Arguments:
        """A switch's arguments in a machine file."""

        ageing: float = keyword(
            "SECONDS",
            values.seconds(1, 1_000_000, "ageing time"),
            default=AGEING,
            help="how long the switch remembers a silent station",
        )
        transparent: bool = flag(
            help="also forward 01:80:c2:00:00:00 to 0f (spanning tree, LACP, LLDP), as a cable would; "
            "a bridge keeps these to itself"
        )
        loop_probe: float = keyword(
            "SECONDS",
            values.seconds(0, 3600, "time between probes"),
            default=INTERVAL,
            help="between two loop probes; 0 sends none",
        )

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.learning = Counters()
        self._ageing = arguments.ageing
        self._transparent = arguments.transparent
        self._stations: dict[bytes, Station] = {}
        self._swept = 0.0
        self._under_way: list[Burst] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch = LoopWatch(self.log)
        self._loops = LoopGuard(self, arguments.loop_probe, self._send_probe, self._relearn)
        self._cut = self._loops.cut
        self._rules: dict[Port, PortRules] = {}
        self._has_vlans = False
        self._pinned: dict[bytes, Port] = {}
        self._limited: dict[Port, set[bytes]] = {}
        """The stations of connections with a limit."""
        self._storms: dict[Port, StormLimit] = {}

    @classmethod
    def reference(cls) -> list[tuple[str, str]]:
        """The element's arguments, and the words of a connection."""
        words = declaration.reference(PortRules)
        return super().reference() + [(f"… at … {how}", what) for how, what in words]

    def port(self, words: Sequence[Word] = ()) -> Port:
        """A connection, with the rules that `words` are; raises `PortError`."""
        rules = read_rules(words) if words else NO_RULES
        port = super().port()
        if rules == NO_RULES:
            return port
        for mac in rules.macs:
            holder = self._pinned.setdefault(mac, port)
            if holder is not port:
                raise PortError(f"{ethernet.text(mac)} is at another connection of {self.name} already")
        self._rules[port] = rules
        self._has_vlans = self._has_vlans or rules.vlan
        if rules.mac_limit is not None:
            self._limited[port] = set()
        return port

    def rules_of(self, port: Port) -> PortRules:
        """What the words of a connection say."""
        return self._rules.get(port, NO_RULES)

    @property
    def has_rules(self) -> bool:
        """Whether any connection has words of its own."""
        return bool(self._rules)

    def members(self, port: Port) -> VlanMembers | None:
        """The VLANs of a connection; None where the switch knows of none."""
        return (self.rules_of(port).vlans or EVERY_VLAN) if self._has_vlans else None

    def carrier(self, port: Port) -> None:
        """A connection came, went, came up or went down."""
        super().carrier(port)
        self._loops.changed()

    async def open(self) -> None:
        """Start the clock by which stations are forgotten."""
        self._loop = asyncio.get_running_loop()
        self.segment_opened(self._loop)
        self._loops.open(self._loop)

    async def close(self) -> None:
        """Stop forwarding and forget every station."""
        self._loops.close()
        self.segment_opened(None)
        self._loop = None
        self._stations.clear()

    def receive(self, port: Port, burst: Burst) -> None:
        """Learn the frames' senders and forward them."""
        if self._loop is None:
            port.drop("not open", len(burst.frames))
            return
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

    def _comes_back(self, burst: Burst) -> bool:
        """Whether this is a part of what is being forwarded already: connections form a loop.

        Everything in a process is handed on by synchronous calls, so a loop would never return.
        """
        first = burst.frames[0]
        if len(self._under_way) >= MAX_DEPTH:
            return True
        return any(frame is first for earlier in self._under_way for frame in earlier.frames)

    def _forward_by_rules(self, port: Port, burst: Burst, now: float) -> None:
        """As `_forward`, for each VLAN by itself."""
        if min(map(len, burst.frames), default=MIN_FRAME) < MIN_FRAME:
            burst = _without_short(port, burst)
        if self.rules_of(port).fcs:
            burst = from_wire(port, burst)
        members = self.members(port)
        if members is None:
            self._forward(port, burst, now, send=self._send)
            return
        for found in vlans.by_vlan(port, members, burst):
            tagger = vlans.Tagger(found)
            suffix = found.vlan.to_bytes(2, "big")
            self._forward(port, found.burst, now, suffix, partial(self._send_tagged, tagger))

    def _send_tagged(self, tagger: vlans.Tagger, other: Port, burst: Burst) -> None:
        members = self.members(other)
        assert members is not None, "VLANs are known here"
        self._send(other, tagger.as_for(members, burst))

    def _send(self, other: Port, burst: Burst) -> None:
        rules = self.rules_of(other)
        other.send(to_wire(other, burst, pad=rules.pad, fcs=rules.fcs) if rules.pad or rules.fcs else burst)

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
                if destination[:6] == GROUP:
                    self._loops.arrived(each, port)
                else:
                    port.drop("loop cut")
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
        if not destination[0] & 1:
            station = self._stations.get(destination)
            if station is not None and self._is_lost(station, now):
                self._forget(destination)
                station = None
            if station is None:
                flooded = self._unknown(port, destination)
                return self._calm(port, flooded, now, (destination, source), heads)
            if station.port is port:
                return ()
            if (self._rules or self._cut) and not self._may_pass(port, station.port, destination[6:]):
                port.drop("parted by the switch", heads.count((destination, source)))
                return ()
            return (station.port,)
        if destination[:5] == ethernet.RESERVED[:5] and destination[5] < 16 and not self._transparent:
            port.drop("reserved for the nearest bridge", heads.count((destination, source)))
            return ()
        flooded = self._others(port, destination[6:])
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
                "a storm at %s: more than %d broadcast, multicast or unknown frames a second are dropped; "
                "'storm FRAMES' beside the switch sets how many",
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
                        send(other, Burst([onward]))

    def _locate(self, source: bytes, port: Port, now: float) -> str:
        """Note that a station is behind `port`; returns the reason if its frames are not accepted there."""
        if source[0] & 1:
            return ""
        if self._rules and (refused := self._not_here(source, port, now)):
            return refused
        station = self._stations.get(source)
        if station is None:
            self._learn(source, port, now)
        else:
            if station.port is not port:
                self._watch.moved(source[:6], station.port, port, now)
                for limited, had in self._limited.items():
                    (had.add if limited is port else had.discard)(source)
                station.port = port
            station.heard = now
        return ""

    def _not_here(self, source: bytes, port: Port, now: float) -> str:
        """Why a station may not be behind `port`, by the words of connections; empty where it may."""
        rules = self.rules_of(port)
        holder = self._pinned.get(source[:6])
        if holder is not None and holder is not port:
            return "its station is pinned elsewhere"
        if rules.macs and holder is None:
            return "its station is not of those here"
        had = self._limited.get(port)
        if (
            had is not None
            and source not in had
            and rules.mac_limit is not None
            and len(had) >= rules.mac_limit
        ):
            if now - self._swept >= SWEEP:
                self._swept = now
                self._sweep(now)
            if len(had) >= rules.mac_limit:
                return "more stations than mac-limit"
        return ""

    def _forget(self, mac: bytes) -> None:
        for had in self._limited.values():
            had.discard(mac)
        del self._stations[mac]

    def _learn(self, source: bytes, port: Port, now: float) -> None:
        if len(self._stations) >= TABLE_SIZE:
            if now - self._swept >= SWEEP:
                self._swept = now
                self._sweep(now)
            if len(self._stations) >= TABLE_SIZE:
                self.learning.drops["table full"] += 1
                return
        self.learning.frames += 1
        self._stations[source] = Station(port, now)
        if port in self._limited:
            self._limited[port].add(source)

    def _relearn(self, ports: AbstractSet[Port]) -> None:
        """Forget the stations behind some ports."""
        for mac in [mac for mac, station in self._stations.items() if station.port in ports]:
            self._forget(mac)

    def _sweep(self, now: float) -> None:
        old = [mac for mac, station in self._stations.items() if now - station.heard > self._ageing]
        for mac in old:
            self._forget(mac)

    def counters(self) -> dict[str, Counters]:
        """`learning`: frames that a station was learned from, and those that found the table full."""
        return {"learning": self.learning}

    def table(self) -> list[tuple[bytes, Port, float]]:
        """Every known station: its MAC address, the port it is behind, and seconds since it was heard.

        In a switch with VLANs the number of one, two bytes, follows the address.
        """
        if self._loop is None:
            return []
        now = self._loop.time()
        self._sweep(now)
        return [(mac, station.port, now - station.heard) for mac, station in self._stations.items()]

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
                )
                for mac, port, age in self.table()
            ),
            self._trouble() if self._loop is not None else "",
        )

    async def command(self, words: Sequence[str]) -> str:
        """`table` lists the known stations."""
        if list(words) != ["table"]:
            raise ElementError(f"{self.name} knows the command: table")
        rows = [
            f"{ethernet.text(mac[:6])}  {behind(port)}  {_vlan_text(mac)}{age:.0f} s"
            for mac, port, age in sorted(self.table(), key=lambda row: (row[1].index, row[0]))
        ]
        return "\n".join([f"{len(rows)} of {TABLE_SIZE} stations", *rows])


def _vlan_text(key: bytes) -> str:
    return f"VLAN {int.from_bytes(key[6:], 'big')}  " if key[6:] else ""


def _without_short(port: Port, burst: Burst) -> Burst:
    """The burst without items that are too short for a frame; those are counted."""
    kept = [index for index, frame in enumerate(burst.frames) if len(frame) >= MIN_FRAME]
    port.drop("short frame", len(burst.frames) - len(kept))
    return burst.part(kept)
