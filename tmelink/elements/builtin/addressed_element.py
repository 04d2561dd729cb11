"""What a host and a gateway have in common: addresses on an Ethernet, a clock, and known neighbours."""

from __future__ import annotations

import asyncio
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import ClassVar

from tmelink import ethernet, values
from tmelink.arguments import ArgumentError, keyword
from tmelink.element import Element, Port
from tmelink.errors import ElementError
from tmelink.stack.interface import Interface
from tmelink.timers import DeadlineTimer

DEFAULT_MTU = 1500
"""An Ethernet's, where nothing else is known."""

ANNOUNCE_AFTER = 0.1
"""Seconds from `open` to the announcement of the addresses, so that elements opened later hear it."""


@dataclass(frozen=True)
class AddressArguments:
    """The addresses of a station; `kind` is what messages call it."""

    kind: ClassVar[str]

    mac: bytes | None = keyword(
        "MAC",
        values.unicast_mac,
        default=None,
        help="its MAC address; by default derived from name and addresses",
    )
    inet: IPv4Interface | None = keyword(
        "ADDR/LEN", values.ipv4_interface, default=None, help="its IPv4 address and network"
    )
    inet6: IPv6Interface | None = keyword(
        "ADDR/LEN",
        values.ipv6_interface,
        default=None,
        help="its IPv6 address and network, in addition to its link-local address",
    )

    def __post_init__(self) -> None:
        """Check what only several arguments together get wrong."""
        if self.inet is None and self.inet6 is None:
            raise ArgumentError(
                "inet", f"a {self.kind} needs an address: inet ADDR/LEN, inet6 ADDR/LEN or both"
            )
        for name, interface in (("inet", self.inet), ("inet6", self.inet6)):
            if interface is None:
                continue
            # The address alone: an interface ::/64 does not call itself unspecified.
            address = interface.ip
            if address.is_multicast or address.is_loopback or address.is_unspecified:
                raise ArgumentError(name, f"{address} is not a valid host address")
        if self.inet is not None:
            network = self.inet.network
            ends = (network.network_address, network.broadcast_address)
            if network.prefixlen <= 30 and self.inet.ip in ends:
                raise ArgumentError("inet", f"{self.inet.ip} is not a valid host address in {network}")


def default_mac(name: str, arguments: AddressArguments) -> bytes:
    """The MAC address of a station that is given none: always the same for the same name and addresses.

    Stations on one Ethernet have different addresses, so their MAC addresses differ although they may have
    the same name in different processes and on different computers.
    """
    return ethernet.derived_mac(f"{name} {arguments.inet} {arguments.inet6}")


class AddressedElement(Element, ABC):
    """An element with addresses of its own on an Ethernet; `interface` speaks its protocols there."""

    takes_on_mtu = True

    def __init__(self, name: str, arguments: AddressArguments, interface: Interface) -> None:
        super().__init__(name, arguments)
        self.mac = interface.wire.mac
        self._interface = interface
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer = DeadlineTimer(self._tick)
        self._announcement: asyncio.TimerHandle | None = None

    def stations(self, port: Port) -> frozenset[bytes]:
        """Its MAC address on the Ethernet."""
        return frozenset({self.mac})

    def carrier(self, port: Port) -> None:
        """The other end is another one, or leads elsewhere: it may take other packets than before."""
        self.mtu_changed(port)

    async def open(self) -> None:
        """Start the clock, and soon announce the addresses."""
        for port in self.ports:
            self.mtu_changed(port)
        self._loop = asyncio.get_running_loop()
        self._announcement = self._loop.call_later(ANNOUNCE_AFTER, self._announce)

    async def close(self) -> None:
        """Stop the clock."""
        self._timer.cancel()
        if self._announcement is not None:
            self._announcement.cancel()
        self._announcement = self._loop = None

    @abstractmethod
    def send_collected(self, now: float) -> None:
        """Send what the interface has collected."""

    def flush(self, now: float) -> None:
        """Send what the interface has collected, and see to its next deadline."""
        self.send_collected(now)
        if self._loop is not None:
            self._timer.arm(self._interface.deadline())

    def neighbours(self) -> Iterator[str]:
        """The neighbours that it knows, one per line: address, MAC address, state, and age in seconds."""
        if self._loop is None:
            raise ElementError(f"{self.name} is not open")
        now = self._loop.time()
        for node in (self._interface.ipv4, self._interface.ipv6):
            for address, mac, state, age in node.neighbours.table(now) if node else ():
                shown = ethernet.text(mac) if mac else "-"
                yield f"{ipaddress.ip_address(address)}  {shown}  {state}  {age:.0f} s"

    def _announce(self) -> None:
        assert self._loop is not None, "close cancels it"
        self._interface.announce()
        self.flush(self._loop.time())

    def _tick(self) -> None:
        assert self._loop is not None, "close cancels it"
        now = self._loop.time()
        self._interface.tick(now)
        self.flush(now)
