"""An Ethernet that knows behind which connection each station is, and who may be where.

As IEEE 802.1D describes it: a station is where it was heard last, until it has been silent for a while. The
words of connections (`tmelink.elements.builtin.port_rules`) pin stations, or bound their number. Forwards
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from tmelink import arguments as declaration
from tmelink import ethernet
from tmelink.element import Port
from tmelink.elements.builtin.loop_watch import LoopWatch
from tmelink.elements.builtin.port_rules import EVERY_VLAN, NO_RULES, PortRules, VlanMembers, read_rules
from tmelink.elements.builtin.shared_segment import SharedSegment
from tmelink.elements.builtin.station_addresses import AddressBook
from tmelink.errors import PortError
from tmelink.frame import Burst, Counters
from tmelink.source import Word

AGEING = 300.0
"""Seconds until a silent station is forgotten (IEEE 802.1D, table 7-5)."""

TABLE_SIZE = 8192
"""Stations known at once, as in common switches; with more, frames for unknown ones go everywhere."""

SWEEP = 1.0
"""Seconds between two searches of a full table for stations to forget, each of which looks at all of it."""


class Station:
    """Where a station was last heard, and when."""

    __slots__ = ("heard", "port")

    def __init__(self, port: Port, heard: float) -> None:
        self.port = port
        self.heard = heard


MOST_PATHS = 1024
"""Paths of frames that are remembered: more than so few flows share a computer's bursts anyway."""


class FramePath(NamedTuple):
    """Where frames of one head go at a switch with rules, from a known station to another; how changed."""

    source: Station
    destination: Station
    port: Port
    change: Callable[[Burst], Burst] | None


class LearningSegment(SharedSegment):
    """Stations, known by their MAC address and, where there are VLANs, the two bytes of one behind it.

    A silent station is forgotten after `ageing` seconds.
    """

    def __init__(self, name: str, arguments: Any, ageing: float) -> None:
        super().__init__(name, arguments)
        self.learning = Counters()
        self._ageing = ageing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch = LoopWatch(self.log)
        self._stations: dict[bytes, Station] = {}
        self._addresses = AddressBook()
        self._swept = 0.0
        self._rules: dict[Port, PortRules] = {}
        self._has_vlans = False
        self._pinned: dict[bytes, Port] = {}
        self._paths: dict[tuple[Port, tuple[bytes, bytes, int, int]], FramePath] = {}
        """Until a station is forgotten or a connection gets other rules."""
        self._limited: dict[Port, set[bytes]] = {}
        """The stations of connections with a limit."""

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
        self._set_rules(port, rules)
        return port

    def _set_rules(self, port: Port, rules: PortRules) -> None:
        for mac in rules.macs:
            holder = self._pinned.setdefault(mac, port)
            if holder is not port:
                raise PortError(f"{ethernet.text(mac)} is already at another connection of {self.name}")
        self._rules[port] = rules
        self._paths.clear()
        self._has_vlans = self._has_vlans or rules.vlan
        if rules.mac_limit is not None:
            self._limited[port] = set()

    def rules_of(self, port: Port) -> PortRules:
        """What the words of a connection say."""
        return self._rules.get(port, NO_RULES)

    @property
    def has_rules(self) -> bool:
        """Whether any connection has words of its own."""
        return bool(self._rules)

    def members(self, port: Port) -> VlanMembers | None:
        """The VLANs of a connection; None if the switch knows of none."""
        return (self.rules_of(port).vlans or EVERY_VLAN) if self._has_vlans else None

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
        """Why a station may not be behind `port`, by the words of connections; empty if it may."""
        rules = self.rules_of(port)
        holder = self._pinned.get(source[:6])
        if holder is not None and holder is not port:
            return "station pinned to another connection"
        if rules.macs and holder is None:
            return "station not allowed here"
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
        self._addresses.forget(mac)
        self._paths.clear()
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
