"""`tmelink/switch`: a learning bridge with any number of connections.

As IEEE 802.1D describes one: it learns behind which connection a station is from the frames the station
sends, forgets it after a while, sends frames for a known station there alone and all others everywhere but
back. It looks at MAC addresses only: VLAN tags pass through, and it does not take part in spanning tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, error

from tmelink import ethernet, values
from tmelink.arguments import flag, keyword
from tmelink.element import Element, OuterMtu, Port
from tmelink.elements.builtin.loop_watch import LoopWatch, behind
from tmelink.elements.builtin.segment_mtu import SegmentMtu
from tmelink.errors import ElementError
from tmelink.frame import MIN_FRAME, Burst, Counters
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


class Switch(Element):
    """A learning bridge with any number of connections; no frame goes back to where it came from.

    `command SWITCH table` prints which station is behind which connection. VLAN tags pass through and play no
    part. It does not speak spanning tree: connections of switches must not form a loop, though a loop within
    a process only costs copies. Frames for the nearest bridge (spanning tree, LACP, LLDP, pause) end here as
    IEEE 802.1D asks; with `transparent` they pass, for emulated switches that want to see each other.
    """

    commands = ("table",)

    @dataclass(frozen=True)
    class Arguments:
        """A switch's arguments in a machine file."""

        ageing: float = keyword(
            "SECONDS",
            values.seconds(1, 1_000_000, "ageing time"),
            default=AGEING,
            help="how long a silent station is remembered",
        )
        transparent: bool = flag(
            help="also forward 01:80:c2:00:00:00 to 0f (spanning tree, LACP, LLDP), as a cable would; "
            "a bridge keeps these to itself"
        )

    arguments: Arguments
    capacity = None
    takes_on_mtu = True

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.learning = Counters()
        self._ageing = arguments.ageing
        self._transparent = arguments.transparent
        self._stations: dict[bytes, Station] = {}
        self._swept = 0.0
        self._under_way: list[Burst] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking = self._telling = False
        self._segment: SegmentMtu | None = None
        self._told: tuple[object, ...] | None = None
        self._watch = LoopWatch(self.log)

    def make_port(self) -> Port:
        """A port that takes super-frames; `Port.send` cuts them where the next one does not."""
        return Port(self, offload=True)

    def longest(self, port: Port) -> int | None:
        """The smallest size that the elements behind the other connections ask for."""
        if self._asking:
            return None
        self._asking = True
        try:
            peers = [other.peer for other in self.ports if other is not port and other.peer is not None]
            wishes = [wish for peer in peers if (wish := peer.element.longest(peer)) is not None]
        finally:
            self._asking = False
        return min(wishes, default=None)

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        """The smallest that the elements behind the other connections take; None where they take any."""
        if self._asking:
            return None  # switches in a loop
        segment = self._segment
        if segment is None or segment.outer != outer or (outer is None and self._loop is None):
            segment = self._segment = SegmentMtu(outer)
        self._asking = True
        try:
            return segment.without(port, self.ports)
        finally:
            self._asking = False

    def mtu_changed(self, port: Port) -> None:
        """What one of the others takes has changed: soon all are told, once for all that changes now."""
        self._segment = None
        if self._loop is not None and not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell_others)

    def carrier(self, port: Port) -> None:
        """A connection came, went, came up or went down: it may take other packets than before."""
        self.mtu_changed(port)

    def _tell_others(self) -> None:
        self._telling = False
        if self._loop is None:
            return
        segment = self._segment = SegmentMtu(None)
        self._asking = True
        try:
            before, self._told = self._told, segment.summary(self.ports)
        finally:
            self._asking = False
        if before != self._told:
            self.tell_mtu(*self.ports)

    async def open(self) -> None:
        """Start the clock by which stations are forgotten."""
        self._loop = asyncio.get_running_loop()
        self._segment = self._told = None

    async def close(self) -> None:
        """Stop forwarding and forget every station."""
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

    def _forward(self, port: Port, burst: Burst, now: float) -> None:
        frames = burst.frames
        try:
            heads: list[tuple[bytes, bytes]] = list(map(_ADDRESSES.unpack_from, frames))
        except error:
            burst = _without_short(port, burst)
            frames = burst.frames
            heads = list(map(_ADDRESSES.unpack_from, frames))
        if not heads:
            return
        routes = {head: self._route(port, *head, now, heads) for head in dict.fromkeys(heads)}
        first, *others = routes.values()
        if all(route == first for route in others):
            # Most bursts go on as they are.
            for other in first:
                other.send(burst)
            return
        queues: dict[Port, list[int]] = {other: [] for route in routes.values() for other in route}
        appends = {head: [queues[other].append for other in route] for head, route in routes.items()}
        for index, route in enumerate(map(appends.__getitem__, heads)):
            for append in route:
                append(index)
        for other, queue in queues.items():
            other.send(burst.part(queue))

    def _route(
        self, port: Port, destination: bytes, source: bytes, now: float, heads: list[tuple[bytes, bytes]]
    ) -> Sequence[Port]:
        """Learn `source`; the ports that frames for `destination` go to."""
        refused = self._locate(source, port, now)
        if refused:
            port.drop(refused, heads.count((destination, source)))
            return ()
        if not destination[0] & 1:
            station = self._stations.get(destination)
            if station is None:
                return self._unknown(port, destination)
            if now - station.heard > self._ageing or station.port.peer is None:
                self._forget(destination)
                return self._unknown(port, destination)
            return () if station.port is port else (station.port,)
        if destination[:5] == ethernet.RESERVED[:5] and destination[5] < 16 and not self._transparent:
            port.drop("reserved for the nearest bridge", heads.count((destination, source)))
            return ()
        return self._others(port)

    def _others(self, port: Port) -> list[Port]:
        return [other for other in self.ports if other is not port and other.peer is not None]

    def _unknown(self, port: Port, destination: bytes) -> Sequence[Port]:
        """The ports for a frame from `port` to an unknown station."""
        return self._others(port)

    def _locate(self, source: bytes, port: Port, now: float) -> str:
        """Note that a station is behind `port`; returns the reason if its frames are not accepted there."""
        if source[0] & 1:
            return ""
        station = self._stations.get(source)
        if station is None:
            self._learn(source, port, now)
        else:
            if station.port is not port:
                self._watch.moved(source, station.port, port, now)
                station.port = port
            station.heard = now
        return ""

    def _forget(self, mac: bytes) -> None:
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

    def _sweep(self, now: float) -> None:
        old = [mac for mac, station in self._stations.items() if now - station.heard > self._ageing]
        for mac in old:
            self._forget(mac)

    def counters(self) -> dict[str, Counters]:
        """`learning`: frames that a station was learned from, and those that found the table full."""
        return {"learning": self.learning}

    def table(self) -> list[tuple[bytes, Port, float]]:
        """Every known station: its MAC address, the port it is behind, and seconds since it was heard."""
        if self._loop is None:
            return []
        now = self._loop.time()
        self._sweep(now)
        return [(mac, station.port, now - station.heard) for mac, station in self._stations.items()]

    def details(self) -> SwitchDetails:
        """The table, in the order in which stations were learnt."""
        return SwitchDetails(
            tuple(
                StationDetails(mac, port.peer.element.name if port.peer else "", port.index, round(age, 1))
                for mac, port, age in self.table()
            ),
            self._watch.trouble(self._loop.time()) if self._loop is not None else "",
        )

    async def command(self, words: Sequence[str]) -> str:
        """`table` lists the known stations."""
        if list(words) != ["table"]:
            raise ElementError(f"{self.name} knows the command: table")
        rows = [
            f"{ethernet.text(mac)}  {behind(port)}  {age:.0f} s"
            for mac, port, age in sorted(self.table(), key=lambda row: (row[1].index, row[0]))
        ]
        return "\n".join([f"{len(rows)} of {TABLE_SIZE} stations", *rows])


def _without_short(port: Port, burst: Burst) -> Burst:
    """The burst without items that are too short for a frame; those are counted."""
    kept = [index for index, frame in enumerate(burst.frames) if len(frame) >= MIN_FRAME]
    port.drop("short frame", len(burst.frames) - len(kept))
    return burst.part(kept)
