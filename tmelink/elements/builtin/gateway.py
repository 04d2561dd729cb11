"""`tmelink/gateway`: a router in user space between an Ethernet and a tunnel that carries IP packets.

With it, a machine that only has Ethernet reaches an OpenVPN server in tun mode. The router itself is
`tmelink.stack.router`; here are its arguments, its two sides and its clock.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from tmelink import ethernet, values
from tmelink.arguments import ArgumentError, keyword
from tmelink.element import Element, Port
from tmelink.errors import ElementError, PortError
from tmelink.frame import Burst, Kind
from tmelink.source import Word
from tmelink.stack.ipv6 import MIN_MTU
from tmelink.stack.router import Router

ANNOUNCE_AFTER = 0.1
"""Seconds from `open` to the announcement of the addresses, so that elements opened later hear it."""

SIDES: dict[str, Kind] = {"inside": "ethernet", "outside": "ip"}
"""The names of the two sides in a machine file: `inside` is the Ethernet, `outside` the tunnel."""


class Gateway(Element):
    """A router between an Ethernet (`inside`) and a tunnel of IP packets (`outside`); it needs no privilege.

    On the Ethernet it has a MAC and an IP address, and answers ARP, neighbour discovery, ping and UDP echo
    (port 7). Packets for other networks go into the tunnel, packets from the tunnel for its network to the
    machine that has their address. Which side a connection is follows from what it is joined to; between two
    gateways, `inside` or `outside` before `at` says it. `command GATEWAY neighbours` shows who it knows.
    """

    commands = ("neighbours",)

    @dataclass(frozen=True)
    class Arguments:
        """A gateway's arguments in a machine file."""

        mac: bytes | None = keyword(
            "MAC",
            values.unicast_mac,
            default=None,
            help="its MAC address; else derived from name and addresses",
        )
        inet: IPv4Interface | None = keyword(
            "ADDR/LEN",
            values.ipv4_interface,
            default=None,
            help="its IPv4 address on the Ethernet, and the network there",
        )
        inet6: IPv6Interface | None = keyword(
            "ADDR/LEN",
            values.ipv6_interface,
            default=None,
            help="its IPv6 address on the Ethernet, and the network there",
        )
        mtu: int = keyword(
            "BYTES", values.mtu, default=1500, help="the largest packet on the Ethernet (1500)"
        )
        tunnel_mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="the largest packet in the tunnel; otherwise what the tunnel takes, or else mtu",
        )

        def __post_init__(self) -> None:
            if self.inet is None and self.inet6 is None:
                raise ArgumentError(
                    "inet", "a gateway needs an address: inet ADDR/LEN, inet6 ADDR/LEN or both"
                )
            if self.inet is not None:
                network = self.inet.network
                if network.prefixlen <= 30 and self.inet.ip in (
                    network.network_address,
                    network.broadcast_address,
                ):
                    raise ArgumentError("inet", f"{self.inet.ip} is not a unicast address in {network}")
            for name, address in (("inet", self.inet), ("inet6", self.inet6)):
                if address is not None and (
                    address.is_multicast or address.is_loopback or address.is_unspecified
                ):
                    raise ArgumentError(name, f"{address.ip} is not a unicast address")
            if self.inet6 is not None:
                for name, mtu in (("mtu", self.mtu), ("tunnel-mtu", self.tunnel_mtu)):
                    if mtu is not None and mtu < MIN_MTU:
                        raise ArgumentError(name, f"IPv6 needs at least {MIN_MTU}")

    capacity = 2
    rewires = False
    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.mac = arguments.mac or ethernet.derived_mac(f"{name} {arguments.inet} {arguments.inet6}")
        self.router = Router(
            self.mac,
            inet=arguments.inet,
            inet6=arguments.inet6,
            mtu=arguments.mtu,
            tunnel_mtu=arguments.tunnel_mtu or arguments.mtu,
        )
        self._named: set[Port] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._announcement: asyncio.TimerHandle | None = None

    # Its two sides

    def port(self, words: Sequence[Word] = ()) -> Port:
        """A side: the one that the word names, else one that is free and fits the other end."""
        if words and words[0].text not in SIDES:
            raise PortError(f"{self.name} has the sides inside and outside, and no '{words[0]}'")
        port = super().port(words[1:])
        self._settle(port, SIDES[words[0].text] if words else self._free(port))
        if words:
            self._named.add(port)
        return port

    def make_port(self) -> Port:
        """A port that takes super-frames, which pass whole."""
        return Port(self, offload=True)

    def adopt(self, port: Port, kind: Kind) -> None:
        """Become the side that fits the other end, unless that one is taken or the file has named one."""
        if port not in self._named:
            self._settle(port, kind)

    def _free(self, port: Port) -> Kind:
        return "ip" if self._other(port, "ethernet") is not None else "ethernet"

    def _settle(self, port: Port, kind: Kind) -> None:
        taken = self._other(port, kind)
        if taken is not None:
            if port.peer is None and port in self.ports:
                self.ports.remove(port)
            side = next(name for name, of in SIDES.items() if of == kind)
            carries = "IP packets" if kind == "ip" else "Ethernet frames"
            raise PortError(f"{self.name} has one side for {carries}, {side}, and that is connected already")
        port.kind = kind
        port.sent.drops = self.router.wire.drops if kind == "ethernet" else self.router.tunnel.drops

    def _other(self, port: Port, kind: Kind) -> Port | None:
        return next((each for each in self.ports if each is not port and each.kind == kind), None)

    def _side(self, kind: Kind) -> Port | None:
        return next((port for port in self.ports if port.kind == kind), None)

    def mtu(self, port: Port) -> int | None:
        """The largest packet that it forwards whole."""
        return self.arguments.mtu if port.kind == "ethernet" else self._tunnel_mtu()

    def _tunnel_mtu(self) -> int:
        if self.arguments.tunnel_mtu is not None:
            return self.arguments.tunnel_mtu
        outside = self._side("ip")
        peer = None if outside is None else outside.peer
        if peer is None or isinstance(peer.element, Gateway):
            return self.arguments.mtu  # another gateway would ask this one in turn
        narrow = peer.element.mtu(peer)
        return self.arguments.mtu if narrow is None else narrow

    # At work

    def stations(self, port: Port) -> frozenset[bytes]:
        """Its MAC address on the Ethernet side."""
        return frozenset({self.mac})

    async def open(self) -> None:
        """Start the clock, and soon announce the addresses."""
        self.router.tunnel.mtu = self._tunnel_mtu()
        self._loop = asyncio.get_running_loop()
        self._announcement = self._loop.call_later(ANNOUNCE_AFTER, self._announce)

    async def close(self) -> None:
        """Stop the clock."""
        for handle in (self._timer, self._announcement):
            if handle is not None:
                handle.cancel()
        self._timer = self._announcement = self._loop = None

    def receive(self, port: Port, burst: Burst) -> None:
        """Take frames or packets from either side, and send the results."""
        if self._loop is None:
            port.drop("not open", len(burst.frames))
            return
        now = self._loop.time()
        if port.kind == "ethernet":
            self.router.from_ethernet(burst, now)
        else:
            self.router.from_tunnel(burst, now)
        self._flush()

    def hold(self, port: Port, held: bool) -> None:
        """One side is full, or no longer: the other one's machine stops, or goes on."""
        for other in self.ports:
            if other is not port:
                other.hold(held)

    async def command(self, words: Sequence[str]) -> str:
        """`neighbours`: the known machines on the Ethernet."""
        if list(words) != ["neighbours"]:
            raise ElementError(f"{self.name} knows the command: neighbours")
        return "\n".join(self._neighbours()) or "no neighbours"

    def _neighbours(self) -> Iterator[str]:
        if self._loop is None:
            raise ElementError(f"{self.name} is not open")
        now = self._loop.time()
        for node in (self.router.ipv4, self.router.ipv6):
            for address, mac, state, age in node.neighbours.table(now) if node else ():
                shown = ethernet.text(mac) if mac else "-"
                yield f"{ipaddress.ip_address(address)}  {shown}  {state}  {age:.0f} s"

    def _announce(self) -> None:
        self.router.announce()
        self._flush()

    def _tick(self) -> None:
        assert self._loop is not None
        self._timer = None
        self.router.tick(self._loop.time())
        self._flush()

    def _flush(self) -> None:
        """Send what the router has collected, and see to its next deadline."""
        router = self.router
        frames, packets = router.take_frames(), router.take_packets()
        for kind, burst in (("ethernet", frames), ("ip", packets)):
            if burst is None:
                continue
            port = self._side("ip" if kind == "ip" else "ethernet")
            if port is None:
                drops = router.wire.drops if kind == "ethernet" else router.tunnel.drops
                drops["not connected"] += len(burst.frames)
            else:
                port.send(burst)
        deadline = router.deadline()
        if deadline is None or self._loop is None:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)
