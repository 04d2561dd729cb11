"""`tmelink/vxlan`: Ethernet frames in UDP, for one of many networks, by its number (RFC 7348).

Knows which remote has which station, as it has learned; the header is `tmelink.encapsulation.vxlan`'s. The
remotes are a list of single hosts: there are no multicast groups.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tmelink import frame, ip, values
from tmelink.arguments import ArgumentError, flag, keyword, keywords
from tmelink.element import Claim, Port
from tmelink.elements.tunnels.arguments import ttl
from tmelink.elements.tunnels.base import ETHERNET, TunnelElement
from tmelink.encapsulation import vxlan
from tmelink.encapsulation.outer import Arrived
from tmelink.errors import ProtocolError
from tmelink.frame import MIN_FRAME, Burst, Frame, Run
from tmelink.offload import clamp_mss_to, cut
from tmelink.stack import icmp, too_big
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.path_mtu import path_mtu
from tmelink.transport.undelivered import TOO_LONG

STATIONS = 4096
"""The most known stations; the one heard of longest ago is dropped."""

AGEING = 300.0
"""Seconds until a silent station is forgotten, as bridges and Linux's vxlan do."""

_UDP_NO_CHECK6_RX = 102
_WORDS = sockets.Words("'port'", "'local'")
_vni = values.integer(0, vxlan.MAX_VNI, "network number")


class Vxlan(TunnelElement):
    """VXLAN: Ethernet frames in UDP to one or several remotes, as Linux's vxlan devices speak it.

    With several remotes, it learns which station is behind which. It floods broadcasts, and frames for
    unknown stations, to all of them. Datagrams use the host's network. Or they use the element that is
    connected to the side `outer`: a link with --dev tun, a TUN, or another tunnel. In that case, give
    `local`.
    """

    example = """\
sw0: tmelink/switch
vx at sw0: tmelink/vxlan vni 42 remote 192.168.0.2 remote 192.168.0.3
"""

    @dataclass(frozen=True)
    class Arguments:
        """The network, and its ends."""

        vni: int = keyword("NUMBER", _vni, help="the network's number, 0 to 16777215")
        remote: tuple[IPv4Address | IPv6Address, ...] = keywords(
            "ADDR", values.address, help="another end's address; may be given several times"
        )
        local: IPv4Address | IPv6Address | None = keyword(
            "ADDR", values.address, default=None, help="this end's address; by default any"
        )
        port: int = keyword("PORT", values.port, default=vxlan.PORT, help="the UDP port of all ends (4789)")
        ttl: int = keyword(
            "HOPS", ttl, default=ip.DEFAULT_TTL, help="time to live of datagrams, in hops (64)"
        )
        mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="the largest inner packet; by default the path MTU minus the headers",
        )
        fragment: bool = flag(help="fragment datagrams that are too large; RFC 7348 drops them")

        def __post_init__(self) -> None:
            if not self.remote:
                raise ArgumentError("remote", "a vxlan needs one or more remote ADDR")
            ends = self.remote if self.local is None else (*self.remote, self.local)
            for address in ends:
                if address.is_multicast or address.is_unspecified:
                    raise ArgumentError("remote", f"{address} is not a unicast address")
            if len({address.version for address in ends}) > 1:
                raise ArgumentError("remote", "all ends must use the same IP version")
            if self.local in self.remote:
                raise ArgumentError("remote", f"{self.local} is this end's own address")
            if len(set(self.remote)) < len(self.remote):
                raise ArgumentError("remote", "a remote is given twice")

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        local = arguments.local
        super().__init__(name, arguments, local if isinstance(local, IPv4Address) else None)
        self._header = vxlan.header(arguments.vni)
        self._remotes = tuple(str(remote) for remote in arguments.remote)
        # As the kernel writes the addresses of those that send.
        self._addresses: dict[str, Address] = {
            str(remote): (str(remote), arguments.port, *((0, 0) if remote.version == 6 else ()))
            for remote in arguments.remote
        }
        self._stations: dict[bytes, tuple[str, float]] = {}
        self._socket: Datagrams | None = None
        self._errors = icmp.Allowance()
        self._path = ETHERNET
        """Bytes of the largest packet on the host's paths to the remotes."""
        self._segment = ETHERNET
        """Bytes of an IP packet with a whole TCP segment."""
        self._longest = ip.MAX_PACKET
        """Bytes of a frame, beyond which it is refused."""
        self._fragments = arguments.fragment

    def make_port(self) -> Port:
        """A port that takes super-frames, which are cut here."""
        return Port(self, offload=True)

    def claims(self) -> list[Claim]:
        """The UDP port, if the host carries the datagrams."""
        local = self.arguments.local
        return (
            [] if self.outer else [Claim("udp", ("" if local is None else str(local), self.arguments.port))]
        )

    @property
    def overhead(self) -> int:
        """Bytes that an inner IP packet gains: IP, UDP and VXLAN headers, and the inner Ethernet header."""
        header = ip.IPV4_HEADER if self.arguments.remote[0].version == 4 else ip.IPV6_HEADER
        return header + ip.UDP_HEADER + vxlan.HEADER + MIN_FRAME

    def host_path_mtu(self) -> int:
        """The smallest of the paths to the remotes."""
        return self._path

    def path_changed(self) -> None:
        """Find out what fits now, and tell the inner side where that is another size than before."""
        if self._socket is not None:
            local = self.arguments.local
            known = [path_mtu(remote, None if local is None else str(local)) for remote in self._remotes]
            self._path = min((mtu for mtu in known if mtu is not None), default=ETHERNET)
        fits = self.path_mtu() - self.overhead
        self._fragments = self.arguments.fragment or fits < ip.MIN_MTU_V6
        most = self.arguments.mtu or (ip.MAX_PACKET if self.arguments.fragment else max(fits, ip.MIN_MTU_V6))
        self._longest = MIN_FRAME + (most if self._fragments else min(most, fits))
        self._segment = self.whole_mtu
        if self._socket is not None and sys.platform == "linux":
            sockets.set_mtu_discovery(self._socket.sock, "no" if self._fragments else "yes")
        super().path_changed()

    # Running

    async def open(self) -> None:
        """Bind the UDP port, unless a connection carries the datagrams."""
        await super().open()
        if self.outer is not None:
            self.path_changed()
            return
        arguments = self.arguments
        version = arguments.remote[0].version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        options = sockets.SocketOptions(
            receive_buffer=sockets.RECEIVE_BUFFER,
            ipv6_only=True,
        )
        anywhere = "0.0.0.0" if version == 4 else "::"
        bound = (anywhere if arguments.local is None else str(arguments.local), arguments.port)
        sock = sockets.make_socket(family, socket.SOCK_DGRAM, options, bound, _WORDS)
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, arguments.ttl)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, arguments.ttl)
            if sys.platform == "linux":
                # RFC 7348 section 5: datagrams without a checksum are accepted, over IPv6 too (RFC 6935).
                sock.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_RX, 1)
        self._socket = Datagrams(
            sock, self._receive_datagrams, self.hold_inner, self.log, self.sent, self.received
        )
        await self.watch_path()

    async def close(self) -> None:
        """Close the port, and forget the stations."""
        await super().close()
        self._stations.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # To the remotes

    def wrap(self, port: Port, burst: Burst) -> None:
        """Send a burst from the inner side with the tunnel's headers, to the remotes of its stations."""
        now = self.now()
        header, longest, segment = self._header, self._longest, self._segment
        by_remote: dict[str, list[Frame | Run]] = {}
        for item in cut(burst, port.sent):
            for piece in item.pieces() if isinstance(item, Run) else (item,):
                if len(piece) < MIN_FRAME:
                    port.drop("too short")
                    continue
                if len(piece) > longest:
                    fitting = self._fit(port, piece, now)
                else:
                    fitting = (clamp_mss_to(piece, segment),)
                for content in fitting:
                    datagram = header + content
                    for remote in self._remotes_of(bytes(content[:6]), now):
                        by_remote.setdefault(remote, []).append(datagram)
        refused = self.sent.drops[TOO_LONG]
        for remote, datagrams in by_remote.items():
            if self._socket is not None:
                self._socket.send(datagrams, self._addresses[remote])
            else:
                self.send_by_connection(self._packets(remote, datagrams))
        if self.sent.drops[TOO_LONG] > refused and self._loop is not None:
            # A router outside has told the kernel that less fits.
            self._loop.call_soon(self.path_changed)

    def _fit(self, port: Port, content: Frame, now: float) -> Sequence[Frame]:
        """What crosses of a frame that is too long; where that is nothing, its sender gets an error."""
        try:
            pieces, error = too_big.fitted_frame(content, self._longest)
        except ProtocolError:
            pieces, error = (), None
        if not pieces:
            port.drop(too_big.TOO_BIG)
        if error is not None and self._errors.take(now):
            port.send(Burst([error]))
        return pieces

    def _remotes_of(self, station: bytes, now: float) -> Sequence[str]:
        """The remote of a station, or all remotes."""
        known = self._stations.get(station)
        if known is None or known[1] < now:
            return self._remotes
        return (known[0],)

    def _packets(self, remote: str, datagrams: Sequence[Frame | Run]) -> list[Frame]:
        """Outer packets for a remote, where a connection carries them."""
        assert self._end is not None, "port() has seen to an address of this end"
        destination, port = IPv4Address(remote).packed, self.arguments.port
        path, packets = self.path_mtu(), list[Frame]()
        for datagram in datagrams:
            assert not isinstance(datagram, Run), "made above"
            udp = ip.build_udp(self._end.local, port, destination, port, datagram)
            try:
                whole = not self._fragments
                packets += self._end.wrap(destination, ip.UDP, udp, path, tos=0, dont_fragment=whole)
            except ProtocolError as reason:
                self.sent.drops[str(reason)] += 1
        return packets

    # From the remotes

    def _receive_datagrams(self, items: list[Frame | Run], address: Address) -> None:
        source, now = address[0].partition("%")[0], self.now()
        if source not in self._remotes:
            self.received.drops["not a remote"] += frame.count(items)
            return
        frames: list[Frame] = []
        for datagram in frame.pieces(items):
            try:
                frames.append(self._open_datagram(memoryview(datagram), source, now))
            except ProtocolError as reason:
                self.received.drops[str(reason)] += 1
        self.deliver(frames)

    def open_arrived(self, arrived: Arrived, now: float) -> Frame:
        """The frame in an outer packet of a remote's."""
        assert self._end is not None, "it has unwrapped this"
        source = str(IPv4Address(arrived.source))
        if arrived.protocol != ip.UDP:
            raise ProtocolError("other protocol")
        if source not in self._remotes:
            raise ProtocolError("not a remote")
        datagram = ip.parse_udp(arrived.payload, arrived.source, self._end.local)
        if datagram.destination != self.arguments.port:
            raise ProtocolError("other port")
        return self._open_datagram(datagram.payload, source, now)

    def _open_datagram(self, datagram: memoryview, source: str, now: float) -> memoryview:
        """The frame in a datagram; its sender's remote is learned (RFC 7348 section 4.1)."""
        content = vxlan.open_frame(datagram, self.arguments.vni)
        station = bytes(content[6:12])
        if len(self._remotes) > 1 and not station[0] & 1:
            self._stations.pop(station, None)
            if len(self._stations) >= STATIONS:
                del self._stations[next(iter(self._stations))]
            self._stations[station] = source, now + AGEING
        return content
