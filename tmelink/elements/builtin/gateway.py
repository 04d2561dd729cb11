"""`tmelink/gateway`: a router in user space between an Ethernet and a tunnel that carries IP packets.

With it, a machine that only has Ethernet reaches an OpenVPN server in tun mode. The router itself is
`tmelink.stack.router`; here are its arguments, its two sides and its clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tmelink import values
from tmelink.arguments import ArgumentError, keyword
from tmelink.element import OuterMtu, Port, mtu_beyond
from tmelink.elements.builtin.addressed_element import (
    DEFAULT_MTU,
    AddressArguments,
    AddressedElement,
    default_mac,
)
from tmelink.errors import ElementError, PortError
from tmelink.frame import Burst, Kind
from tmelink.source import Word
from tmelink.stack.ipv6 import MIN_MTU
from tmelink.stack.router import Router

SIDES: dict[str, Kind] = {"inside": "ethernet", "outside": "ip"}
"""The names of the two sides in a machine file: `inside` is the Ethernet, `outside` the tunnel."""


class Gateway(AddressedElement):
    """A router between an Ethernet (`inside`) and a tunnel of IP packets (`outside`); it needs no privilege.

    On the Ethernet it has a MAC and an IP address, and answers ARP, neighbour discovery, ping and UDP echo
    (port 7). Packets for other networks go into the tunnel. Packets from the tunnel go to the machine on the
    Ethernet that has the address. The other end of a connection decides which side it is. Between two
    gateways, write `inside` or `outside` before `at`. `command GATEWAY neighbours` lists known neighbours.
    """

    example = """\
le0: tmelink/host inet 10.38.2.2/24 gateway 10.38.2.1
gw0 at le0: tmelink/gateway inet 10.38.2.1/24
tunnel at gw0: tmelink/ipip local 192.168.0.1 remote 192.168.0.2
"""

    commands = ("neighbours",)
    is_station = True

    @dataclass(frozen=True)
    class Arguments(AddressArguments):
        """A gateway's arguments in a machine file."""

        kind = "gateway"

        mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="the largest packet on the Ethernet; by default what the other end of "
            "its connection takes, or 1500",
        )
        tunnel_mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="the largest packet in the tunnel; by default what the tunnel takes, or the mtu",
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.inet6 is not None:
                for name, mtu in (("mtu", self.mtu), ("tunnel-mtu", self.tunnel_mtu)):
                    if mtu is not None and mtu < MIN_MTU:
                        raise ArgumentError(name, f"IPv6 needs at least {MIN_MTU}")

    capacity = 2
    rewires = False
    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        self.router = Router(
            arguments.mac or default_mac(name, arguments),
            inet=arguments.inet,
            inet6=arguments.inet6,
            mtu=arguments.mtu or DEFAULT_MTU,
            tunnel_mtu=arguments.tunnel_mtu or arguments.mtu or DEFAULT_MTU,
        )
        super().__init__(name, arguments, self.router)
        self._named: set[Port] = set()

    # Its two sides

    def port(self, words: Sequence[Word] = ()) -> Port:
        """A side: the one that the word names, else one that is free and fits the other end."""
        if words and words[0].text not in SIDES:
            raise PortError(f"{self.name} has the sides inside and outside, but no '{words[0]}'")
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
            raise PortError(f"{self.name} has one side for {carries}, {side}, and that is already connected")
        port.kind = kind
        port.sent.drops = self.router.wire.drops if kind == "ethernet" else self.router.tunnel.drops

    def _other(self, port: Port, kind: Kind) -> Port | None:
        return next((each for each in self.ports if each is not port and each.kind == kind), None)

    def _side(self, kind: Kind) -> Port | None:
        return next((port for port in self.ports if port.kind == kind), None)

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        """What its arguments say of that side."""
        return self.arguments.mtu if port.kind == "ethernet" else self.arguments.tunnel_mtu

    def mtu_changed(self, port: Port) -> None:
        """Forward what the other ends take: the tunnel side has the Ethernet's MTU if nobody says more."""
        given = self.arguments
        inside, outside = self._side("ethernet"), self._side("ip")
        beyond = None if inside is None else mtu_beyond(inside)
        self.router.wire.mtu = given.mtu or beyond or DEFAULT_MTU
        narrow = None if outside is None else mtu_beyond(outside)
        self.router.tunnel.mtu = given.tunnel_mtu or narrow or self.router.wire.mtu

    # At work

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
        self.flush(now)

    def hold(self, port: Port, held: bool) -> None:
        """One side is full, or no longer: the other one's machine stops, or goes on."""
        for other in self.ports:
            if other is not port:
                other.hold(held)

    async def command(self, words: Sequence[str]) -> str:
        """`neighbours`: the known machines on the Ethernet."""
        if list(words) != ["neighbours"]:
            raise ElementError(f"{self.name} knows the command: neighbours")
        return "\n".join(self.neighbours()) or "no neighbours"

    def send_collected(self, now: float) -> None:
        """Send the router's frames to the Ethernet, and its packets into the tunnel."""
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
