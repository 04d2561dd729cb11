"""A switch some of whose ports lead to guests: what they say of where a station is, is not simply believed.

A switch believes whoever sends a frame to be where it came from. That is right for cables, and on a server
would let any client take the place of another, or of the server itself. Knows ports and names, and no
session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from tmelink.element import Port
from tmelink.elements.builtin.learning_segment import TABLE_SIZE, Station
from tmelink.elements.builtin.port_rules import PortRules
from tmelink.elements.builtin.station_addresses import MAC
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.builtin.switch_arguments import SwitchArguments

SILENT: Final = 30.0
"""Seconds that a station must have been silent at one client before it may be at another: a machine that was
moved announces itself and is let go by nobody, and one that is there says something more often."""

NOWHERE: Final = bytes(6)

LEFT: Final = 1024
"""The most names whose stations are remembered after they left."""


class GuardedSwitch(Switch):
    """A switch with ports of its own side, and guests' ports, each with the name that it was proven to have.

    A station that was heard on the own side stays there until it is forgotten, and `own()`, the addresses of
    those who are connected there, for ever. A station of one guest's is another's only once it is silent; the
    name that had it first gets it back at once. No guest has more than `quota` stations. Between `isolated`
    guests nothing passes, and what is for nobody known goes to none of them.
    """

    def __init__(
        self,
        name: str,
        arguments: SwitchArguments,
        *,
        own: Callable[[], AbstractSet[bytes]],
        quota: int,
        isolated: bool,
    ) -> None:
        super().__init__(name, arguments)
        self._own = own
        self._quota = quota
        self._isolated = isolated
        self._guests: dict[Port, str] = {}
        self._had: dict[Port, dict[bytes, None]] = {}
        """Each guest's stations, those first that were learned first."""
        self._first: dict[bytes, str] = {}
        """Whose a station was first, of those that have moved since."""
        self._left: dict[str, dict[bytes, float]] = {}
        """The stations of names that left, and when each was heard."""

    def member_port(self, rules: PortRules | None) -> Port:
        """A new port; `rules` are its VLANs, None for a port of a switch that knows of none."""
        port = self.port()
        if rules is not None:
            self._set_rules(port, rules)
        return port

    def add_guest(self, port: Port, name: str) -> None:
        """A port leads to a guest; an empty name is nobody's.

        One that comes again has the stations that it had, unless they are known elsewhere by now: they need
        not say anything before they can be reached, although nothing unknown goes to isolated guests.
        """
        self._guests[port] = name
        self._had[port] = {}
        for mac, heard in self._left.pop(name, {}).items():
            if mac not in self._stations and mac[:MAC] not in self._own():
                self._learn_guest(mac, port, heard)

    def remove_guest(self, port: Port) -> None:
        """A guest is gone, with its stations."""
        name = self._guests[port]
        if name and self._had[port]:
            self._left.pop(name, None)
            self._left[name] = {mac: self._stations[mac].heard for mac in self._had[port]}
            if len(self._left) > LEFT:
                del self._left[next(iter(self._left))]
        for mac in list(self._had[port]):
            self._forget(mac)
        del self._guests[port], self._had[port]
        self._rules.pop(port, None)
        self.ports.remove(port)

    def _unknown(self, port: Port, destination: bytes) -> Sequence[Port]:
        others = self._others(port, destination[MAC:])
        if not self._isolated and destination[:MAC] not in self._own():
            return others
        own = [other for other in others if other not in self._guests]
        if not own:
            port.drop("station unknown")
        return own

    def _locate(self, source: bytes, port: Port, now: float) -> str:
        name = self._guests.get(port)
        station = self._stations.get(source)
        if name is None:
            # The own side is believed.
            if station is not None and station.port is not port:
                self._watch.moved(source[:MAC], station.port, port, now)
                self._forget(source)
            return super()._locate(source, port, now)
        if station is not None and station.port is port:
            station.heard = now
            return ""
        if source[0] & 1 or source[:MAC] == NOWHERE:
            return "source is not a unicast address"
        if source[:MAC] in self._own():
            return "source is the server's own"
        if station is None:
            return self._learn_guest(source, port, now)
        return self._moved(source, station, port, name, now)

    def _moved(self, source: bytes, station: Station, port: Port, name: str, now: float) -> str:
        """A guest's port has a station that is known elsewhere."""
        self._watch.moved(source[:MAC], station.port, port, now)
        silence = now - station.heard
        before = self._guests.get(station.port)
        if before is None:
            if silence <= self._ageing and station.port.peer is not None:
                return "source is a station of the server's side"
            first = ""
        else:
            first = self._first.get(source, before)
            if silence <= SILENT and not (name and name == first):
                return "source is another client's station"
        self._forget(source)
        refused = self._learn_guest(source, port, now)
        if first and first != name and not refused:
            self._first[source] = first
        return refused

    def _learn_guest(self, source: bytes, port: Port, now: float) -> str:
        had = self._had[port]
        if len(had) >= self._quota:
            return "more stations than --max-routes-per-client"
        if len(self._stations) >= TABLE_SIZE:
            largest = max(self._had.values(), key=len)
            if len(largest) > len(had):
                self._forget(next(iter(largest)))
        self._learn(source, port, now)
        if source in self._stations:
            had[source] = None
        return ""

    def _forget(self, mac: bytes) -> None:
        had = self._had.get(self._stations[mac].port)
        if had is not None:
            had.pop(mac, None)
        self._first.pop(mac, None)
        super()._forget(mac)
