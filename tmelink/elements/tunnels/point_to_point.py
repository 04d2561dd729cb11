"""What IP in IP, GRE and EtherIP have in common: a header after an outer IPv4 header, to one other address.

Without an outer connection a raw socket of the host carries the packets. What the headers are is
`tmelink.encapsulation`'s; the elements built on this have arguments and a codec of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from tmelink import ip
from tmelink.element import Claim, OuterMtu, Port
from tmelink.elements.tunnels.arguments import TunnelArguments
from tmelink.elements.tunnels.base import ETHERNET, TunnelElement
from tmelink.encapsulation import ecn
from tmelink.encapsulation.codec import TunnelCodec
from tmelink.encapsulation.outer import Arrived
from tmelink.errors import ProtocolError
from tmelink.frame import Burst, Frame, Run
from tmelink.offload import clamp_mss_to, cut
from tmelink.stack import icmp, too_big
from tmelink.stack.fragments import fragments_v4
from tmelink.stack.ipv6 import MIN_MTU
from tmelink.system.namespaces import require_linux
from tmelink.transport.raw import RawSocket

MIN_PATH = 68 + ip.IPV4_HEADER
"""The smallest path MTU that is accepted: it leaves 68 bytes for an inner packet, as every IPv4 path does."""

PATH_LIFETIME = 600.0
"""Seconds until a larger path MTU is tried again (RFC 1191 section 6.3)."""


class PointToPointTunnel(TunnelElement):
    """A tunnel between the arguments' `local` and `remote`; see the module."""

    arguments: TunnelArguments

    def __init__(self, name: str, arguments: TunnelArguments, codec: TunnelCodec) -> None:
        super().__init__(name, arguments, arguments.local)
        self.codec = codec
        self._local, self._remote = arguments.local, arguments.remote
        self._sockets: dict[int, RawSocket] = {}
        self._errors = icmp.Allowance()
        self._path: tuple[int, float] | None = None

    def make_port(self) -> Port:
        """A port for the tunnel's payload; super-frames are cut here."""
        return Port(self, kind=self.codec.kind, offload=True)

    def claims(self) -> list[Claim]:
        """The protocol between the two addresses, where the host carries it."""
        if self.outer is not None:
            return []
        return [
            Claim(f"IP protocol {protocol} from {self._local} to {self._remote}", self.told_apart_by())
            for protocol in self.codec.protocols
        ]

    def told_apart_by(self) -> tuple[object, ...]:
        """What tells two tunnels between the same addresses apart."""
        return ()

    # Sizes

    @property
    def overhead(self) -> int:
        """Bytes that an inner IP packet gains: outer header, tunnel header, inner Ethernet header."""
        frame = 14 if self.codec.kind == "ethernet" else 0
        return ip.IPV4_HEADER + self.codec.header + frame

    def host_path_mtu(self) -> int:
        """What the kernel knows of the path, once a socket is open."""
        return next(iter(self._sockets.values())).mtu if self._sockets else ETHERNET

    def path_mtu(self, outer: OuterMtu | None = None) -> int:
        """The largest outer packet, as far as it is known."""
        widest = super().path_mtu(outer)
        if self._path is not None:
            if self.now() < self._path[1]:
                return min(widest, self._path[0])
            self._path = None
        return widest

    # Running

    def capabilities(self) -> frozenset[str]:
        """For a raw socket, unless something of the same file carries its packets."""
        return frozenset() if self.carried_by is not None else frozenset(("CAP_NET_RAW",))

    async def open(self) -> None:
        """Open the host's raw sockets, unless a connection carries the outer packets."""
        await super().open()
        if self.outer is not None:
            return
        require_linux(f"{self.name} without an outer connection")
        for protocol in self.codec.protocols:
            self._sockets[protocol] = RawSocket(
                protocol, str(self._local), str(self._remote), self.unwrap, self.sent, self.received
            )
        await self.watch_path()

    async def close(self) -> None:
        """Close the sockets."""
        await super().close()
        for raw in self._sockets.values():
            raw.close()
        self._sockets.clear()

    # To the other end

    def wrap(self, port: Port, burst: Burst) -> None:
        """Send a burst from the inner side with the tunnel's headers, to the remote."""
        assert self._end is not None, "local is always given"
        path, inner, fits = self.path_mtu(), self.inner_mtu(), self.whole_mtu
        if inner != self._told and self._loop is not None:
            # A router outside has told the kernel.
            self._loop.call_soon(self.path_changed)
        is_ip = port.kind == "ip"
        by_protocol: dict[int, list[Frame]] = {}
        drops = port.sent.drops
        for item in cut(burst, port.sent, ip=is_ip):
            for frame in item.pieces() if isinstance(item, Run) else (item,):
                try:
                    pieces, tos, whole = self._fit(port, clamp_mss_to(frame, fits, ip=is_ip), inner)
                    for piece in pieces:
                        protocol, header = self.codec.seal(piece)
                        by_protocol.setdefault(protocol, []).extend(
                            self._end.wrap(
                                self._remote.packed,
                                protocol,
                                header + piece,
                                path,
                                tos=tos,
                                dont_fragment=whole,
                            )
                        )
                except ProtocolError as reason:
                    drops[str(reason)] += 1
        for protocol, packets in by_protocol.items():
            if self.outer is not None:
                self.send_by_connection(packets)
            else:
                self._sockets[protocol].send(packets)

    def _fit(self, port: Port, frame: Frame, mtu: int) -> tuple[Sequence[Frame], int, bool]:
        """The payloads for a frame, the outer TOS, and whether outer packets must not be fragmented."""
        if port.kind == "ethernet":
            # A frame's content is not looked at; a large frame travels in outer fragments.
            return (frame,), 0, False
        version = frame[0] >> 4 if len(frame) else 0
        if version == 4 and len(frame) >= ip.IPV4_HEADER:
            return self._fit_v4(port, frame, mtu)
        if version == 6 and len(frame) >= ip.IPV6_HEADER:
            return self._fit_v6(port, frame, mtu)
        raise ProtocolError("not IP")

    def _fit_v4(self, port: Port, packet: Frame, mtu: int) -> tuple[Sequence[Frame], int, bool]:
        """RFC 2003: fragment inner packets that allow it; send an ICMP error for the others."""
        source, destination = bytes(packet[12:16]), bytes(packet[16:20])
        if not packet[8]:
            raise ProtocolError("time to live exceeded")
        if source == self._local.packed and destination == self._remote.packed:
            # RFC 2003 section 4.4: such a packet is an outer packet, or will be taken for one.
            raise ProtocolError("routed into itself")
        whole = bool(packet[6] & 0x40)
        if len(packet) <= mtu:
            return (packet,), packet[1], whole
        if whole:
            # The outer address may be the sender's own, of which it would take nothing from a tunnel.
            self._refuse(port, too_big.refusal_v4(packet, mtu))
            raise ProtocolError(too_big.TOO_BIG)
        return [*fragments_v4(bytes(packet), mtu)], packet[1], False

    def _fit_v6(self, port: Port, packet: Frame, mtu: int) -> tuple[Sequence[Frame], int, bool]:
        """RFC 4213 section 3.2: send an ICMPv6 error, but fragment packets of IPv6's smallest MTU."""
        if len(packet) > max(mtu, MIN_MTU):
            self._refuse(port, too_big.refusal_v6(packet, max(mtu, MIN_MTU)))
            raise ProtocolError("too big")
        return (packet,), ecn.traffic_class(packet), len(packet) <= mtu

    def _refuse(self, port: Port, error: bytes | None) -> None:
        if error is not None and self._errors.take(self.now()):
            port.send(Burst([error]))

    # From the other end

    def open_arrived(self, arrived: Arrived, now: float) -> Frame | None:
        """What the remote has sent; an ICMP error narrows the path."""
        if arrived.protocol == ip.ICMP:
            assert self._end is not None, "it has unwrapped this"
            told = self._end.narrowed(arrived, frozenset((self._remote.packed,)))
            if told is None:
                raise ProtocolError("ICMP: not served")
            self._path = max(told, MIN_PATH), now + PATH_LIFETIME
            self.path_changed()
            return None
        if arrived.protocol not in self.codec.protocols:
            raise ProtocolError("other protocol")
        if arrived.source != self._remote.packed:
            raise ProtocolError("not the remote")
        inner = self.codec.open(arrived.protocol, arrived.payload)
        return ecn.merged(inner, arrived.ecn) if self.codec.kind == "ip" else inner
