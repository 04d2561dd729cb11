"""`tmelink/vxlan`: Ethernet frames in UDP, for one of many networks, by its number (RFC 7348).

Knows which remote has which station, as it has learned; the header is `tmelink.encapsulation.vxlan`'s. The
remotes are a list of single hosts: there are no multicast groups.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tmelink import ip, values
from tmelink.arguments import ArgumentError, flag, keyword, keywords
from tmelink.element import Claim, Element, Port
from tmelink.elements.tunnels.arguments import ttl
from tmelink.elements.tunnels.base import ETHERNET, MAX_DEPTH
from tmelink.encapsulation import vxlan
from tmelink.encapsulation.outer import Outer
from tmelink.errors import PortError, ProtocolError
from tmelink.frame import MIN_FRAME, Burst, Counters, Frame, Run
from tmelink.offload import coalesce, cut
from tmelink.source import Word
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address, Datagrams

STATIONS = 4096
"""The most known stations; the one heard of longest ago is dropped."""

AGEING = 300.0
"""Seconds until a silent station is forgotten, as bridges and Linux's vxlan do."""

_UDP_NO_CHECK6_RX = 102
_WORDS = sockets.Words("'port'", "'local'")
_vni = values.integer(0, vxlan.MAX_VNI, "network number")


class Vxlan(Element):
    """VXLAN: Ethernet frames in UDP to one or several remotes, as Linux's vxlan devices speak it.

    With several remotes it learns which station is behind which. It floods broadcasts and frames for unknown
    stations to all. Datagrams use the host's network, or the element that is connected to its side
    `outer`: a link with --dev tun, a TUN, or another tunnel; that one needs `local`.
    """

    @dataclass(frozen=True)
    class Arguments:
        """The network, and its ends."""

        vni: int = keyword("NUMBER", _vni, help="the network's number, 0 to 16777215")
        remote: tuple[IPv4Address | IPv6Address, ...] = keywords(
            "ADDR", values.address, help="another end's address; may be given several times"
        )
        local: IPv4Address | IPv6Address | None = keyword(
            "ADDR", values.address, default=None, help="this end's address; otherwise any"
        )
        port: int = keyword("PORT", values.port, default=vxlan.PORT, help="the UDP port of all ends (4789)")
        ttl: int = keyword(
            "HOPS", ttl, default=ip.DEFAULT_TTL, help="time to live of datagrams, in hops (64)"
        )
        mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="the largest inner packet; otherwise the path MTU less the headers",
        )
        fragment: bool = flag(help="send datagrams that are too large in fragments; RFC 7348 drops them")

        def __post_init__(self) -> None:
            if not self.remote:
                raise ArgumentError("remote", "a vxlan needs a remote ADDR, or several")
            ends = self.remote if self.local is None else (*self.remote, self.local)
            for address in ends:
                if address.is_multicast or address.is_unspecified:
                    raise ArgumentError("remote", f"{address} is not a unicast address")
            if len({address.version for address in ends}) > 1:
                raise ArgumentError("remote", "all ends must be of one IP version")
            if self.local in self.remote:
                raise ArgumentError("remote", f"{self.local} is this end's own address")
            if len(set(self.remote)) < len(self.remote):
                raise ArgumentError("remote", "a remote is given twice")

    capacity = 2
    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.outer: Port | None = None
        self.inner: Port | None = None
        self.sent = Counters()
        self.received = Counters()
        self._header = vxlan.header(arguments.vni)
        self._remotes = tuple(str(remote) for remote in arguments.remote)
        # As the kernel writes the addresses of those that send.
        self._addresses: dict[str, Address] = {
            str(remote): (str(remote), arguments.port, *((0, 0) if remote.version == 6 else ()))
            for remote in arguments.remote
        }
        self._stations: dict[bytes, tuple[str, float]] = {}
        self._socket: Datagrams | None = None
        self._end: Outer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._depth = 0

    # Its two sides

    def port(self, words: Sequence[Word] = ()) -> Port:
        """The inner side; with the word `outer`, the side that carries the datagrams."""
        if words and words[0].text != "outer":
            raise PortError(f"{self.name} takes the connection argument 'outer', and got '{words[0]}'")
        if (self.outer if words else self.inner) is not None:
            raise PortError(f"{self.name} has its {'outer' if words else 'inner'} side connected already")
        if words and not isinstance(self.arguments.local, IPv4Address):
            raise PortError(f"{self.name} needs 'local ADDR', an IPv4 address, to use a connection")
        port = super().port(words[1:])
        if words:
            self.outer = self.carried_by = port
            port.kind, port.offload = "ip", False
        else:
            self.inner = port
        return port

    def make_port(self) -> Port:
        """A port that takes super-frames, which are cut here."""
        return Port(self, offload=True)

    def claims(self) -> list[Claim]:
        """The UDP port, where the host carries the datagrams."""
        local = self.arguments.local
        return (
            [] if self.outer else [Claim("udp", ("" if local is None else str(local), self.arguments.port))]
        )

    @property
    def overhead(self) -> int:
        """Bytes that an inner IP packet gains: IP, UDP and VXLAN headers, and the inner Ethernet header."""
        header = ip.IPV4_HEADER if self.arguments.remote[0].version == 4 else ip.IPV6_HEADER
        return header + ip.UDP_HEADER + vxlan.HEADER + MIN_FRAME

    def mtu(self, port: Port) -> int | None:
        """The largest inner IP packet that crosses unfragmented; None for the outer side."""
        return None if port is self.outer else self.arguments.mtu or self.path_mtu() - self.overhead

    def path_mtu(self) -> int:
        """The largest outer packet that the connection takes; without one, an Ethernet's."""
        peer = None if self.outer is None else self.outer.peer
        told = None if peer is None else peer.element.mtu(peer)
        return told or ETHERNET

    # Running

    async def open(self) -> None:
        """Bind the UDP port, unless a connection carries the datagrams."""
        self._loop = asyncio.get_running_loop()
        arguments = self.arguments
        if self.outer is not None:
            assert isinstance(arguments.local, IPv4Address), "port() sees to it"
            self._end = Outer(arguments.local.packed, arguments.ttl, self.received.drops)
            return
        version = arguments.remote[0].version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        options = sockets.SocketOptions(
            receive_buffer=sockets.RECEIVE_BUFFER,
            mtu_disc="no" if arguments.fragment else "yes",
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
        self._socket = Datagrams(sock, self._heard, self._hold_machine, self.log, self.sent, self.received)

    async def close(self) -> None:
        """Close the port, and forget the stations."""
        self._loop = self._end = None
        self._stations.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def counters(self) -> dict[str, Counters]:
        """The outer datagrams, and what was dropped of them."""
        return {"outer sent": self.sent, "outer received": self.received}

    def hold(self, port: Port, held: bool) -> None:
        """The carrier of the datagrams is full, or has room again: the inner side stops, or continues."""
        if port is self.outer:
            self._hold_machine(held)

    def _hold_machine(self, held: bool) -> None:
        if self.inner is not None:
            self.inner.hold(held)

    def receive(self, port: Port, burst: Burst) -> None:
        """Send frames to their remotes; remove the headers of outer packets."""
        if self._loop is None:
            port.drop("not open", len(burst.frames))
        elif port is self.outer:
            self._arrived(burst.frames)
        elif self._depth >= MAX_DEPTH:
            port.drop("led into itself", len(burst.frames))
        else:
            self._depth += 1
            try:
                self._enter(port, burst, self._loop.time())
            finally:
                self._depth -= 1

    def _enter(self, port: Port, burst: Burst, now: float) -> None:
        header = self._header
        by_remote: dict[str, list[Frame | Run]] = {}
        for item in cut(burst, port.sent):
            for frame in item.pieces() if isinstance(item, Run) else (item,):
                if len(frame) < MIN_FRAME:
                    port.drop("too short")
                    continue
                datagram = header + frame
                for remote in self._towards(bytes(frame[:6]), now):
                    by_remote.setdefault(remote, []).append(datagram)
        for remote, datagrams in by_remote.items():
            if self._socket is not None:
                self._socket.send(datagrams, self._addresses[remote])
            else:
                self._send_by_connection(remote, datagrams)

    def _towards(self, station: bytes, now: float) -> Sequence[str]:
        """The remote of a station, or all remotes."""
        known = self._stations.get(station)
        if known is None or known[1] < now:
            return self._remotes
        return (known[0],)

    def _send_by_connection(self, remote: str, datagrams: Sequence[Frame | Run]) -> None:
        assert self._end is not None, "open chose a carrier"
        assert self.outer is not None
        destination, port = ipaddress.IPv4Address(remote).packed, self.arguments.port
        path, packets = self.path_mtu(), list[Frame]()
        for datagram in datagrams:
            assert not isinstance(datagram, Run), "made above"
            udp = ip.build_udp(self._end.local, port, destination, port, datagram)
            try:
                whole = not self.arguments.fragment
                packets += self._end.wrap(destination, ip.UDP, udp, path, tos=0, dont_fragment=whole)
            except ProtocolError as reason:
                self.sent.drops[str(reason)] += 1
        if packets:
            self.sent.frames += len(packets)
            self.sent.bytes += sum(map(len, packets))
            self.outer.send(Burst(packets))

    # From the remotes

    def _heard(self, items: list[Frame | Run], address: Address) -> None:
        source = address[0].partition("%")[0]
        if source not in self._remotes:
            count = sum(math.ceil(len(i.data) / i.size) if isinstance(i, Run) else 1 for i in items)
            self.received.drops["not a remote"] += count
            return
        assert self._loop is not None, "a socket reads while it is open"
        frames: list[Frame] = []
        for item in items:
            for datagram in item.pieces() if isinstance(item, Run) else (memoryview(item),):
                self._take(datagram, source, frames)
        self._deliver(frames)

    def _arrived(self, packets: Sequence[Frame]) -> None:
        assert self._end is not None, "open chose a carrier"
        assert self._loop is not None
        drops: Counter[str] = self.received.drops
        frames: list[Frame] = []
        self.received.frames += len(packets)
        self.received.bytes += sum(map(len, packets))
        for packet in packets:
            try:
                arrived = self._end.unwrap(packet, self._loop.time())
                if arrived is None:
                    continue
                source = str(IPv4Address(arrived.source))
                if arrived.protocol != ip.UDP:
                    raise ProtocolError("other protocol")
                if source not in self._remotes:
                    raise ProtocolError("not a remote")
                datagram = ip.parse_udp(arrived.payload, arrived.source, self._end.local)
                if datagram.destination != self.arguments.port:
                    raise ProtocolError("other port")
            except ProtocolError as reason:
                drops[str(reason)] += 1
                continue
            self._take(datagram.payload, source, frames)
        self._deliver(frames)

    def _take(self, datagram: memoryview, source: str, frames: list[Frame]) -> None:
        """Add the frame in a datagram, and learn its sender's remote (RFC 7348 section 4.1)."""
        try:
            frame = vxlan.open_frame(datagram, self.arguments.vni)
        except ProtocolError as reason:
            self.received.drops[str(reason)] += 1
            return
        frames.append(frame)
        station = bytes(frame[6:12])
        if len(self._remotes) > 1 and not station[0] & 1 and self._loop is not None:
            self._stations.pop(station, None)
            if len(self._stations) >= STATIONS:
                del self._stations[next(iter(self._stations))]
            self._stations[station] = source, self._loop.time() + AGEING

    def _deliver(self, frames: list[Frame]) -> None:
        port = self.inner
        if not frames:
            return
        if port is None:
            self.received.drops["not connected"] += len(frames)
        elif port.peer is not None and port.peer.offload:
            port.send(coalesce(frames))
        else:
            port.send(Burst(frames))
