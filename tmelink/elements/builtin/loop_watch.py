"""Reports what a switch cannot work with: loops of connections, and one MAC address at two places.

Both show in a station that is heard at one port and at another in turn. It knows ports and addresses, and not
what the switch does with a frame. Nothing here costs anything while every station stays where it is.
"""

from __future__ import annotations

from logging import Logger
from typing import Final

from tmelink import ethernet
from tmelink.element import Port

MOVES: Final = 6
"""How often a station changes ports within `WINDOW` before that is logged: one that was moved does so once or
twice."""

WINDOW: Final = 60.0
"""Seconds in which moves are counted, and in which each problem is logged once."""

STATIONS: Final = 256
"""The most stations whose moves are counted; in a storm a few are enough to name it."""


class LoopWatch:
    """Counts the moves of stations between a switch's ports, and tells `log` of those that do not end."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._moves: dict[bytes, int] = {}
        self._moving: set[bytes] = set()
        self._began = 0.0
        self._told: set[str] = set()
        self._trouble = ""
        self._until = 0.0

    def trouble(self, now: float) -> str:
        """What has been found in the last minute, in words; empty if nothing was."""
        return self._trouble if now < self._until else ""

    def moved(self, mac: bytes, before: Port, after: Port, now: float) -> None:
        """A station that was behind one port is heard at another."""
        self._begin(now)
        count = self._moves.get(mac, 0) + 1
        if count > 1 or len(self._moves) < STATIONS:
            self._moves[mac] = count
        if count < MOVES:
            return
        self._until = now + WINDOW
        if count > MOVES:
            return
        self._moving.add(mac)
        places = f"{behind(before)} and {behind(after)}"
        if len(self._moving) == 1:
            self._report(
                "station",
                f"{ethernet.text(mac)} is heard at {places} in turn: two machines have this MAC address, or "
                "the connections form a loop",
            )
        else:
            self._report(
                "stations",
                f"several stations are heard at {places} in turn: the connections form a loop; remove one of "
                "them",
            )

    def came_back(self, port: Port, now: float) -> None:
        """What the switch is still sending has arrived at one of its own ports."""
        self._begin(now)
        self._until = now + WINDOW
        self._report(
            "loop",
            f"what it sends comes back at {behind(port)} and is dropped there: the connections form a loop; "
            "remove one of them",
        )

    def _begin(self, now: float) -> None:
        if now - self._began >= WINDOW:
            self._began = now
            self._moves.clear()
            self._moving.clear()
            self._told.clear()

    def _report(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._trouble = text
            self._log.warning("%s", text)


def behind(port: Port) -> str:
    """A port as users know it: by its number and what is connected there."""
    return f"port {port.index} ({port.peer.element.name if port.peer else 'disconnected'})"
