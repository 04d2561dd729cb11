"""The base of tunnel elements: they add a header to what they carry and send it to one other address.

Its inner side is a connection; its outer side a raw socket of the host, or a connection too, so that tunnels
stand inside each other in user space. What the headers are is `tmelink.encapsulation`'s; the elements built
on this have arguments and a codec of their own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from tmelink import ip
from tmelink.element import Claim, Element, Port
from tmelink.encapsulation import ecn
from tmelink.encapsulation.codec import TunnelCodec
from tmelink.encapsulation.outer import Arrived, Outer
from tmelink.errors import PortError, ProtocolError
from tmelink.frame import Burst, Counters, Frame, Run
from tmelink.offload import coalesce, cut
from tmelink.source import Word
from tmelink.stack import icmp
from tmelink.stack.fragments import fragments_v4
from tmelink.stack.ipv6 import MIN_MTU
from tmelink.system.namespaces import require_linux
from tmelink.transport.raw import RawSocket

MAX_DEPTH = 16
"""How often a packet may come by before the first time is over: everything in a process is handed on by
synchronous calls, so a tunnel that is led into itself would never return. Answers of built-in machines come
by too, and need a few."""

MIN_PATH = 68 + ip.IPV4_HEADER
"""The smallest path MTU that is accepted: it leaves 68 bytes for an inner packet, as every IPv4 path does."""

PATH_LIFETIME = 600.0
"""Seconds until a larger path MTU is tried again (RFC 1191 section 6.3)."""

ETHERNET = 1500
"""The MTU that is assumed for an outer side that does not give its own."""


class TunnelElement(Element):
    """A tunnel between `local` and `remote`; see the module.

    `capacity` is 2: the inner side and, named `outer` before `at`, the one that carries the outer packets.
    """

    capacity = 2
    rewires = False

    def __init__(
        self,
        name: str,
        arguments: Any,
        codec: TunnelCodec,
        *,
        local: IPv4Address,
        remote: IPv4Address,
        ttl: int,
        mtu: int | None,
    ) -> None:
        super().__init__(name, arguments)
        self.codec = codec
        self.outer: Port | None = None
        self.inner: Port | None = None
        self.sent = Counters()
        self.received = Counters()
        self._local, self._remote = local, remote
        self._asked_mtu = mtu
        self._end = Outer(local.packed, ttl, self.received.drops)
        self._sockets: dict[int, RawSocket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._errors = icmp.Allowance()
        self._path: tuple[int, float] | None = None
        self._depth = 0

    # Its two sides

    def port(self, words: Sequence[Word] = ()) -> Port:
        """The inner side; with the word `outer`, the side that carries the outer packets."""
        if words and words[0].text != "outer":
            raise PortError(f"{self.name} takes the connection argument 'outer', and got '{words[0]}'")
        if (self.outer if words else self.inner) is not None:
            raise PortError(f"{self.name} has its {'outer' if words else 'inner'} side connected already")
        port = super().port(words[1:])
        if words:
            self.outer = self.carried_by = port
            port.kind, port.offload = "ip", False
            port.sent.drops = self.sent.drops
        else:
            self.inner = port
        return port

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

    def mtu(self, port: Port) -> int | None:
        """The largest inner IP packet that crosses unfragmented; None for the outer side."""
        return None if port is self.outer else self.inner_mtu()

    def inner_mtu(self) -> int:
        """The MTU given, else what the outer path leaves."""
        return self._asked_mtu if self._asked_mtu is not None else self.path_mtu() - self.overhead

    def path_mtu(self) -> int:
        """The largest outer packet, as far as it is known."""
        widest = ETHERNET
        if self.outer is not None and self.outer.peer is not None:
            widest = self.outer.peer.element.mtu(self.outer.peer) or ETHERNET
        elif self._sockets:
            widest = next(iter(self._sockets.values())).mtu
        if self._path is not None and self._loop is not None:
            if self._loop.time() < self._path[1]:
                return min(widest, self._path[0])
            self._path = None
        return widest

    # Running

    def capabilities(self) -> frozenset[str]:
        """For a raw socket, unless something of the same file carries its packets."""
        return frozenset() if self.carried_by is not None else frozenset(("CAP_NET_RAW",))

    async def open(self) -> None:
        """Open the host's raw sockets, unless a connection carries the outer packets."""
        self._loop = asyncio.get_running_loop()
        if self.outer is not None:
            return
        require_linux(f"{self.name} without an outer connection")
        for protocol in self.codec.protocols:
            self._sockets[protocol] = RawSocket(
                protocol, str(self._local), str(self._remote), self._arrived, self.sent, self.received
            )

    async def close(self) -> None:
        """Close the sockets."""
        self._loop = None
        for raw in self._sockets.values():
            raw.close()
        self._sockets.clear()

    def counters(self) -> dict[str, Counters]:
        """The outer packets, and what was dropped of them."""
        return {"outer sent": self.sent, "outer received": self.received}

    def hold(self, port: Port, held: bool) -> None:
        """The carrier of the outer packets is full, or has room again: the inner side stops, or continues."""
        if port is self.outer and self.inner is not None:
            self.inner.hold(held)

    def receive(self, port: Port, burst: Burst) -> None:
        """Send inner packets with the tunnel's headers; remove the headers of outer packets."""
        if self._loop is None:
            port.drop("not open", len(burst.frames))
            return
        if port is self.outer:
            self._arrived(burst.frames)
            return
        if self._depth >= MAX_DEPTH:
            port.drop("led into itself", len(burst.frames))
            return
        self._depth += 1
        try:
            self._enter(port, burst)
        finally:
            self._depth -= 1

    def _enter(self, port: Port, burst: Burst) -> None:
        path, inner = self.path_mtu(), self.inner_mtu()
        by_protocol: dict[int, list[Frame]] = {}
        drops = port.sent.drops
        for item in cut(burst, port.sent, ip=port.kind == "ip"):
            for frame in item.pieces() if isinstance(item, Run) else (item,):
                try:
                    pieces, tos, whole = self._fitted(port, frame, inner)
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
                self.outer.send(Burst(packets))
                self.sent.frames, self.sent.bytes = self.outer.sent.frames, self.outer.sent.bytes
            else:
                self._sockets[protocol].send(packets)

    def _fitted(self, port: Port, frame: Frame, mtu: int) -> tuple[Sequence[Frame], int, bool]:
        """The payloads for a frame, the outer TOS, and whether outer packets must not be fragmented."""
        if port.kind == "ethernet":
            # A frame's content is not looked at; a large frame travels in outer fragments.
            return (frame,), 0, False
        version = frame[0] >> 4 if len(frame) else 0
        if version == 4 and len(frame) >= ip.IPV4_HEADER:
            return self._fitted_v4(port, frame, mtu)
        if version == 6 and len(frame) >= ip.IPV6_HEADER:
            return self._fitted_v6(port, frame, mtu)
        raise ProtocolError("no IP packet")

    def _fitted_v4(self, port: Port, packet: Frame, mtu: int) -> tuple[Sequence[Frame], int, bool]:
        """RFC 2003: fragment inner packets that allow it; send an ICMP error for the others."""
        source, destination = bytes(packet[12:16]), bytes(packet[16:20])
        if not packet[8]:
            raise ProtocolError("time to live exceeded")
        if source == self._local.packed and destination == self._remote.packed:
            # RFC 2003 section 4.4: such a packet is an outer packet, or will be taken for one.
            raise ProtocolError("led into itself")
        whole = bool(packet[6] & 0x40)
        if len(packet) <= mtu:
            return (packet,), packet[1], whole
        if whole:
            self._refuse_v4(port, packet, mtu)
            raise ProtocolError("too big, and not to be fragmented")
        return [*fragments_v4(bytes(packet), mtu)], packet[1], False

    def _fitted_v6(self, port: Port, packet: Frame, mtu: int) -> tuple[Sequence[Frame], int, bool]:
        """RFC 4213 section 3.2: send an ICMPv6 error, but fragment packets of IPv6's smallest MTU."""
        if len(packet) > max(mtu, MIN_MTU):
            self._refuse_v6(port, packet, max(mtu, MIN_MTU))
            raise ProtocolError("too big")
        return (packet,), ecn.traffic_class(packet), len(packet) <= mtu

    def _refuse_v4(self, port: Port, packet: Frame, mtu: int) -> None:
        parsed = ip.parse_ipv4(packet)
        error = parsed.protocol == ip.ICMP and len(parsed.payload) and parsed.payload[0] in icmp.ERROR_TYPES
        # No errors about multicast packets, nor about later fragments (RFC 1122 section 3.2.2).
        if error or parsed.offset or parsed.destination[0] >= 224 or not self._errors.take(self._now()):
            return
        quote = bytes(packet[: icmp.QUOTE_V4])
        message = icmp.build(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 0, mtu, quote)
        # The outer address may be the sender's own, of which it would take nothing from a tunnel; a sender
        # asks only what is quoted.
        port.send(Burst([ip.build_ipv4(parsed.destination, parsed.source, ip.ICMP, message)]))

    def _refuse_v6(self, port: Port, packet: Frame, mtu: int) -> None:
        parsed = ip.parse_ipv6(packet)
        error = parsed.next_header == ip.ICMPV6 and len(parsed.payload) and parsed.payload[0] < 128
        if error or parsed.source[0] == 0xFF or not self._errors.take(self._now()):
            return
        quote = bytes(packet[: icmp.QUOTE_V6])
        if parsed.destination[0] == 0xFF:
            return
        own = parsed.destination
        message = icmp.build_v6(own, parsed.source, icmp.TOO_BIG_V6, 0, mtu >> 16, mtu & 0xFFFF, quote)
        port.send(Burst([ip.build_ipv6(own, parsed.source, ip.ICMPV6, message)]))

    def _arrived(self, packets: Sequence[Frame]) -> None:
        now = self._now()
        drops: Counter[str] = self.received.drops
        frames: list[Frame] = []
        if self.outer is not None:
            self.received.frames += len(packets)
            self.received.bytes += sum(map(len, packets))
        for packet in packets:
            try:
                arrived = self._end.unwrap(packet, now)
                if arrived is not None:
                    frame = self._opened(arrived, now)
                    if frame is not None:
                        frames.append(frame)
            except ProtocolError as reason:
                drops[str(reason)] += 1
        port = self.inner
        if not frames:
            return
        if port is None:
            drops["not connected"] += len(frames)
        elif port.peer is not None and port.peer.offload:
            port.send(coalesce(frames, ip=port.kind == "ip"))
        else:
            port.send(Burst(frames))

    def _opened(self, arrived: Arrived, now: float) -> Frame | None:
        if arrived.protocol == ip.ICMP:
            told = self._end.narrowed(arrived, frozenset((self._remote.packed,)))
            if told is None:
                raise ProtocolError("ICMP: not served")
            self._path = max(told, MIN_PATH), now + PATH_LIFETIME
            return None
        if arrived.protocol not in self.codec.protocols:
            raise ProtocolError("other protocol")
        if arrived.source != self._remote.packed:
            raise ProtocolError("not the remote")
        inner = self.codec.open(arrived.protocol, arrived.payload)
        return ecn.merged(inner, arrived.ecn) if self.codec.kind == "ip" else inner

    def _now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()
