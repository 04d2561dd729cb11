"""A switch's details: its stations, and what keeps it from knowing where they are."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink.routing.facts import IPAddress
from tmelink.state import Details


@dataclass(frozen=True, slots=True)
class StationDetails(Details):
    """A station that a switch has learnt: behind which element, and when it was heard last."""

    mac: bytes
    behind: str
    port: int
    age: float
    vlan: int | None = None
    addresses: tuple[IPAddress, ...] = ()
    """Those that it said are its own, in ARP, neighbour discovery and DHCP."""


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
