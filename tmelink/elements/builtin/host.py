"""`tmelink/host`: a machine without an operating system, so that a lab lives without one.

It has one Ethernet interface with an IPv4 address, an IPv6 address or both, answers ARP, neighbour
discovery, ping and UDP echo (port 7), and pings others. All of its protocols are `tmelink.stack`; here are
its arguments, its clock and its commands.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from tmelink import ethernet, values
from tmelink.arguments import ArgumentError, keyword
from tmelink.element import OuterMtu, Port, mtu_beyond
from tmelink.elements.builtin.addressed_element import (
    DEFAULT_MTU,
    AddressArguments,
    AddressedElement,
    default_mac,
)
from tmelink.elements.builtin.ping import PING_USAGE, Ping, PingReply, PingResult, parse_ping
from tmelink.errors import ElementError, Interrupted
from tmelink.frame import Burst
from tmelink.stack.interface import Interface
from tmelink.stack.ipv4 import Ipv4
from tmelink.stack.ipv6 import MIN_MTU, Ipv6

__all__ = ["Host", "PingReply", "PingResult"]

PINGS = 64
"""The most pings at once; each may have as many open requests as it sends within its timeout."""


def _check_gateway(
    argument: str,
    gateway: IPv4Address | IPv6Address | None,
    of: str,
    interface: IPv4Interface | IPv6Interface | None,
) -> None:
    if gateway is None:
        return
    if interface is None:
        raise ArgumentError(argument, f"a {argument} needs {of} ADDR/LEN too")
    if gateway not in interface.network or gateway == interface.ip:
        raise ArgumentError(argument, f"{gateway} is not in the network of {interface}")


UP_SECONDS = 5.0
"""How long a ping waits for what its host is connected to, which commonly is up in less than a second."""

LOOK_SECONDS = 0.05
"""How often it looks: what is behind a switch tells nobody here, and the destination may be on this side."""


class Host(AddressedElement):
    """A built-in machine: answers ARP, neighbour discovery, ping and UDP echo (port 7), and pings.

    `command HOST ping ADDR [count N] [interval S] [size BYTES] [timeout S]` sends pings and prints the
    statistics. `command HOST neighbours` lists known neighbours, and `command HOST addresses` its addresses.
    It needs no privilege. If you give no MAC address, it derives one from its name and addresses.
    """

    example = """\
a: tmelink/host inet 10.0.77.1/24 inet6 fd00:77::1/64
b at a: tmelink/host inet 10.0.77.2/24 inet6 fd00:77::2/64
command a ping 10.0.77.2 count 3
"""

    commands = ("ping", "neighbours", "addresses")
    is_station = True

    @dataclass(frozen=True)
    class Arguments(AddressArguments):
        """What a machine file says of a host."""

        kind = "host"

        gateway: IPv4Address | None = keyword(
            "ADDR", values.ipv4, default=None, help="the router to all other IPv4 networks"
        )
        gateway6: IPv6Address | None = keyword(
            "ADDR", values.ipv6, default=None, help="the router to all other IPv6 networks"
        )
        mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="the largest packet that it sends; by default what the other end of "
            "its connection takes, or 1500",
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.inet6 is not None and self.mtu is not None and self.mtu < MIN_MTU:
                raise ArgumentError("mtu", f"IPv6 needs an mtu of at least {MIN_MTU}")
            _check_gateway("gateway", self.gateway, "inet", self.inet)
            # A router may have a link-local address, which is in no configured network.
            if not (self.gateway6 and self.gateway6.is_link_local):
                _check_gateway("gateway6", self.gateway6, "inet6", self.inet6)

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        self.interface = Interface(
            arguments.mac or default_mac(name, arguments),
            inet=arguments.inet,
            inet6=arguments.inet6,
            gateway=arguments.gateway,
            gateway6=arguments.gateway6,
            mtu=arguments.mtu or DEFAULT_MTU,
        )
        super().__init__(name, arguments, self.interface)
        self._pings: dict[int, Ping] = {}
        self._last_identifier = 0

    def make_port(self) -> Port:
        """The port, whose drops are those of the interface."""
        port = Port(self)
        port.sent.drops = self.interface.wire.drops
        return port

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        """What its arguments say."""
        return self.arguments.mtu

    def mtu_changed(self, port: Port) -> None:
        """Send what the other end takes."""
        if self.arguments.mtu is None:
            self.interface.wire.mtu = mtu_beyond(port) or DEFAULT_MTU

    async def close(self) -> None:
        """Stop the clock; running pings end with `ElementError`."""
        await super().close()
        for ping in self._pings.values():
            ping.abort(f"{self.name} was closed")

    def receive(self, port: Port, burst: Burst) -> None:
        """Take frames and send the answers."""
        if self._loop is None:
            port.drop("not open", len(burst.frames))
            return
        now = self._loop.time()
        self.interface.receive(burst.frames, now)
        self.flush(now)

    def send_collected(self, now: float) -> None:
        """Send the interface's frames, and hand answers to the pings that wait for them."""
        wire = self.interface.wire
        # The elements called here may call back, so the frames are removed from the interface first.
        if wire.answers:
            answers, wire.answers = wire.answers, []
            for answer in answers:
                ping = self._pings.get(answer.identifier)
                if ping is not None:
                    ping.answered(answer, now)
        if wire.out:
            frames, wire.out = wire.out, []
            if self.ports:
                self.ports[0].send(Burst(frames))

    async def ping(
        self,
        address: str | IPv4Address | IPv6Address,
        *,
        count: int = 4,
        interval: float = 1.0,
        size: int = 56,
        timeout: float = 1.0,  # noqa: ASYNC109 - of each request, not of the call
        on_reply: Callable[[PingReply], None] | None = None,
        result: PingResult | None = None,
    ) -> PingResult:
        """Send `count` echo requests of `size` data bytes, one every `interval` seconds.

        A request without an answer after `timeout` seconds is lost. `on_reply` is called once for every
        request: on its reply, on an ICMP error, or when it is lost; what it raises ends the ping. It begins
        once all that the host is connected to is up, or the destination answers, or after `UP_SECONDS`.
        `result` is filled as it goes, for whoever may cancel it.

        Raises `ElementError` if the host is not open, has no address of that family, or is closed
        meanwhile; `ValueError` for an invalid address.
        """
        if self._loop is None:
            raise ElementError(f"{self.name} is not open")
        destination = ipaddress.ip_address(address)
        node = self.interface.node(destination)
        if node is None:
            raise ElementError(
                f"{self.name} has no IPv{destination.version} address to ping {destination} from"
            )
        if len(self._pings) >= PINGS:
            raise ElementError(f"{self.name} has {PINGS} pings running already")
        if not _is_up(self.ports):
            await self._come_up(destination, node)
            if self._loop is None:
                raise ElementError(f"{self.name} was closed")

        def send(sequence: int, now: float) -> None:
            node.ping(destination.packed, identifier, sequence, ping.data, now)
            self.flush(now)

        identifier = self._free_identifier()
        ping = self._pings[identifier] = Ping(
            destination,
            send,
            count=count,
            interval=interval,
            size=size,
            timeout=timeout,
            on_reply=on_reply,
            result=result,
        )
        try:
            return await ping.run()
        finally:
            del self._pings[identifier]

    async def _come_up(self, destination: IPv4Address | IPv6Address, node: Ipv4 | Ipv6) -> None:
        """Wait until the host's connections lead somewhere, or the destination answers; not for long."""
        address = destination.packed
        near = node.next_hop(address) == address
        clock = asyncio.get_running_loop().time
        until = clock() + UP_SECONDS
        while not _is_up(self.ports) and self._loop is not None and clock() < until:
            if node.is_own(address) or (near and node.neighbours.known(address) is not None):
                return
            if near:
                node.neighbours.seek(address, clock())
                self.flush(clock())
            await asyncio.sleep(LOOK_SECONDS)

    def _free_identifier(self) -> int:
        while True:
            self._last_identifier = (self._last_identifier + 1) & 0xFFFF
            if self._last_identifier not in self._pings:
                return self._last_identifier

    async def command(self, words: Sequence[str]) -> str:
        """`ping ADDR [count N] [interval S] [size BYTES] [timeout S]`, `neighbours`, `addresses`."""
        if words and words[0] == "ping":
            request = parse_ping(words[1:])
            result = PingResult(request.address)
            try:
                await self.ping(
                    request.address,
                    count=request.count,
                    interval=request.interval,
                    size=request.size,
                    timeout=request.timeout,
                    result=result,
                )
            except asyncio.CancelledError:
                raise Interrupted(str(result)) from None
            return str(result)
        if list(words) == ["neighbours"]:
            return "\n".join(self.neighbours()) or "no neighbours"
        if list(words) == ["addresses"]:
            return "\n".join(self._addresses())
        raise ElementError(f"{self.name} knows the commands: {PING_USAGE}; neighbours; addresses")

    def _addresses(self) -> Iterator[str]:
        yield f"mac {ethernet.text(self.mac)}"
        if self.arguments.inet:
            yield f"inet {self.arguments.inet}"
        if self.arguments.inet6:
            yield f"inet6 {self.arguments.inet6}"
        if self.interface.ipv6:
            yield f"inet6 {ipaddress.ip_address(self.interface.ipv6.link_local)}/64"


def _is_up(ports: Iterable[Port]) -> bool:
    """Whether all that these ports lead to is up, through switches and whatever else has several ports."""
    waiting = [port.peer for port in ports if port.peer is not None]
    seen: set[Port] = set()
    while waiting:
        port = waiting.pop()
        if port in seen:
            continue
        seen.add(port)
        if not port.element.up:
            return False
        waiting += [
            other.peer for other in port.element.ports if other is not port and other.peer is not None
        ]
    return True
