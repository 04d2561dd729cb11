"""IP nodes that also forward between their Ethernet and a tunnel of IP packets (RFC 1812, RFC 8200).

The node's own network is on the Ethernet, everything else is behind the tunnel. Fragments are forwarded as
they are, and reassembled only where they are for the node itself. Pure: packets for the tunnel collect in a
`TunnelSide`. Rules for options and redirects do not apply to a router of one network. The fast path handles
ordinary packets only, and leaves all others to the slow path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from struct import Struct

from tmelink import ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame, Gso
from tmelink.offload.headers import locate
from tmelink.offload.virtio import NONE
from tmelink.stack import icmp
from tmelink.stack.fragments import fragments_v4
from tmelink.stack.ipv4 import Ipv4
from tmelink.stack.ipv6 import Ipv6
from tmelink.stack.node import NodeState

TUNNEL = b""
"""The next hop of packets into the tunnel, which needs no address resolution."""

TTL = 8
CHECKSUM = 10
"""Where both stand in an IPv4 header."""

HOP_LIMIT = 7
"""Where it stands in an IPv6 header."""

_WORD = Struct("!H")
_LINK_LOCAL_V4 = b"\xa9\xfe"
_UNSPECIFIED_OR_LOOPBACK = (bytes(16), bytes(15) + b"\x01")


@dataclass(slots=True)
class TunnelSide:
    """The tunnel side: its MTU, and the packets that are to go into it.

    `labels` are the labels of super-frames in `out`, by index.
    """

    mtu: int
    out: list[Frame] = field(default_factory=list)
    labels: dict[int, Gso] = field(default_factory=dict)
    drops: Counter[str] = field(default_factory=Counter)


def decrement_ttl(packet: bytearray, at: int = 0) -> None:
    """Take one off the TTL of the IPv4 packet at `at`, its header checksum adjusted (RFC 1624)."""
    packet[at + TTL] -= 1
    (check,) = _WORD.unpack_from(packet, at + CHECKSUM)
    check += 0x100
    _WORD.pack_into(packet, at + CHECKSUM, (check + (check >= 0xFFFF)) & 0xFFFF)


def piece_size(packet: Frame, gso: Gso | None) -> int | None:
    """The size of the largest packet that `packet` becomes on a wire; None if its label does not fit."""
    if gso is None or gso.kind == NONE:
        return len(packet)
    at = locate(packet, ip=True)
    return None if at is None or at.end != len(packet) else min(at.end, at.payload + gso.size)


class ForwardingV4(Ipv4):
    """One IPv4 address on an interface, and everything beyond its network behind a tunnel."""

    def __init__(self, wire: NodeState, interface: IPv4Interface, tunnel: TunnelSide) -> None:
        super().__init__(wire, interface)
        self._tunnel = tunnel
        self._ends = {interface.network.network_address.packed, interface.network.broadcast_address.packed}
        if interface.network.prefixlen > 30:
            self._ends = set()

    def quick(self, packet: Frame, gso: Gso | None, *, outward: bool) -> bytes | None:
        """The destination of a packet that only needs its hop count decreased; None for any other.

        `packet` may be a super-frame; `outward` is true for packets into the tunnel.
        """
        length = len(packet)
        if length < ip.IPV4_HEADER or packet[0] != 0x45 or packet[TTL] <= 1:
            return None
        if packet[2] << 8 | packet[3] != length or ip.total(packet[: ip.IPV4_HEADER]):
            return None
        size = piece_size(packet, gso)
        if size is None or size > (self._tunnel.mtu if outward else self.wire.mtu):
            return None
        source, destination = bytes(packet[12:16]), bytes(packet[16:20])
        return destination if self._passes(source, destination, outward) else None

    def _passes(self, source: bytes, destination: bytes, outward: bool) -> bool:
        if not (self._is_host(source) and self._is_host(destination)) or self.address in (
            source,
            destination,
        ):
            return False
        if _LINK_LOCAL_V4 in (source[:2], destination[:2]) or destination in self._ends:
            return False
        near = self._is_near(destination)
        return not near if outward else near and not self._is_near(source)

    def receive(self, packet: Frame, now: float, *, group: bool = False) -> None:
        """Take a packet from the Ethernet; raises `ProtocolError` for one that is dropped."""
        parsed = ip.parse_ipv4(packet)
        if not group and self._passes(parsed.source, parsed.destination, outward=True):
            self._forward(parsed, packet, now, self._tunnel.mtu, TUNNEL)
        else:
            super().receive(packet, now, group=group)

    def receive_from_tunnel(self, packet: Frame, now: float) -> None:
        """Take a packet from the tunnel; raises `ProtocolError` for one that is dropped."""
        parsed = ip.parse_ipv4(packet)
        if self._is_near(parsed.source) or not self._is_host(parsed.source):
            raise ProtocolError("IPv4: bad source")
        if parsed.destination == self.address:
            self._deliver(parsed, packet, now, True)
        elif self._passes(parsed.source, parsed.destination, outward=False):
            self._forward(parsed, packet, now, self.wire.mtu, parsed.destination)
        else:
            raise ProtocolError("IPv4: other destination")

    def _forward(self, packet: ip.IPv4, raw: Frame, now: float, mtu: int, hop: bytes) -> None:
        if packet.ttl <= 1:
            self._complain(packet, raw, icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, now)
            raise ProtocolError("IPv4: time to live exceeded")
        onward = bytearray(raw[: packet.header + len(packet.payload)])
        if len(onward) > mtu and packet.dont_fragment:
            self._complain(packet, raw, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, now, mtu)
            raise ProtocolError("IPv4: too big, and not to be fragmented")
        decrement_ttl(onward)
        self.transmit(fragments_v4(bytes(onward), mtu), hop, now)

    def _complain(
        self, packet: ip.IPv4, raw: Frame, kind: int, code: int, now: float, value: int = 0
    ) -> None:
        # RFC 1812 section 4.3.2.7: for a datagram in fragments, only the first causes an error.
        if packet.offset == 0:
            self._error(packet, raw, kind, code, now, value)

    def _may_report(self, icmp_type: Frame) -> bool:
        # A router ignores what other hosts send to each other, except errors.
        return not icmp_type or icmp_type[0] not in icmp.ERROR_TYPES

    def failed(self, address: bytes, packets: Sequence[bytes], now: float) -> None:
        """`address` does not answer: send errors to the senders of the `packets`."""
        super().failed(address, packets, now)
        for raw in packets:
            packet = ip.parse_ipv4(raw)
            if packet.source != self.address:
                self._complain(packet, raw, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, now)

    def next_hop(self, destination: bytes) -> bytes | None:
        """The neighbour itself, or the tunnel."""
        hop = super().next_hop(destination)
        return TUNNEL if hop is None else hop

    def transmit(self, packets: Iterable[bytes], hop: bytes, now: float) -> None:
        """Send finished packets to a neighbour or into the tunnel, fragmented again if its MTU is smaller."""
        if hop != TUNNEL:
            super().transmit(packets, hop, now)
            return
        for packet in packets:
            self._tunnel.out.extend(fragments_v4(packet, self._tunnel.mtu))


class ForwardingV6(Ipv6):
    """One IPv6 address beside the link-local one, and everything beyond its network behind a tunnel."""

    def __init__(self, wire: NodeState, interface: IPv6Interface, tunnel: TunnelSide) -> None:
        super().__init__(wire, interface)
        self._tunnel = tunnel

    def quick(self, packet: Frame, gso: Gso | None, *, outward: bool) -> bytes | None:
        """The destination of a packet that only needs its hop count decreased; None for any other."""
        length = len(packet)
        if length < ip.IPV6_HEADER or packet[0] >> 4 != 6 or packet[HOP_LIMIT] <= 1:
            return None
        if (packet[4] << 8 | packet[5]) + ip.IPV6_HEADER != length:
            return None
        size = piece_size(packet, gso)
        if size is None or size > (self._tunnel.mtu if outward else self.wire.mtu):
            return None
        source, destination = bytes(packet[8:24]), bytes(packet[24:40])
        return destination if self._passes(source, destination, outward) else None

    def _passes(self, source: bytes, destination: bytes, outward: bool) -> bool:
        if not (_travels(source) and _travels(destination)) or self.address in (source, destination):
            return False
        near = self._is_near(destination)
        return not near if outward else near and not self._is_near(source)

    def receive(self, packet: Frame, now: float, *, group: bool = False) -> None:
        """Take a packet from the Ethernet; raises `ProtocolError` for one that is dropped."""
        parsed = ip.parse_ipv6(packet)
        if not group and self._passes(parsed.source, parsed.destination, outward=True):
            self._forward(parsed, packet, now, self._tunnel.mtu, TUNNEL)
        else:
            super().receive(packet, now, group=group)

    def receive_from_tunnel(self, packet: Frame, now: float) -> None:
        """Take a packet from the tunnel; raises `ProtocolError` for one that is dropped."""
        parsed = ip.parse_ipv6(packet)
        if not _travels(parsed.source) or self._is_near(parsed.source):
            raise ProtocolError("IPv6: bad source")
        if parsed.destination == self.address:
            self._deliver(parsed, packet, now, True)
        elif self._passes(parsed.source, parsed.destination, outward=False):
            self._forward(parsed, packet, now, self.wire.mtu, parsed.destination)
        else:
            raise ProtocolError("IPv6: other destination")

    def _forward(self, packet: ip.IPv6, raw: Frame, now: float, mtu: int, hop: bytes) -> None:
        if packet.hop_limit <= 1:
            self._error(packet, raw, icmp.TIME_EXCEEDED_V6, icmp.TTL_EXCEEDED, now)
            raise ProtocolError("IPv6: hop limit exceeded")
        onward = bytearray(raw[: ip.IPV6_HEADER + len(packet.payload)])
        if len(onward) > mtu:
            # Only the source may fragment an IPv6 packet.
            self._error(packet, raw, icmp.TOO_BIG_V6, 0, now, mtu)
            raise ProtocolError("IPv6: too big")
        onward[HOP_LIMIT] -= 1
        self.transmit([bytes(onward)], hop, now)

    def failed(self, address: bytes, packets: Sequence[bytes], now: float) -> None:
        """`address` does not answer: send errors to the senders of the `packets`."""
        super().failed(address, packets, now)
        for raw in packets:
            packet = ip.parse_ipv6(raw)
            if packet.source not in self.addresses:
                self._error(packet, raw, icmp.UNREACHABLE_V6, icmp.ADDRESS_UNREACHABLE_V6, now)

    def next_hop(self, destination: bytes) -> bytes | None:
        """The neighbour itself, or the tunnel; what is local to a link does not leave it."""
        hop = super().next_hop(destination)
        return TUNNEL if hop is None and _travels(destination) else hop

    def transmit(self, packets: Iterable[bytes], hop: bytes, now: float) -> None:
        """Send finished packets to a neighbour, or into the tunnel."""
        if hop == TUNNEL:
            self._tunnel.out.extend(packets)
        else:
            super().transmit(packets, hop, now)

    def _path_mtu(self, destination: bytes, now: float) -> int:
        path = super()._path_mtu(destination, now)
        return path if self._is_near(destination) else min(path, self._tunnel.mtu)


def _travels(address: bytes) -> bool:
    """Whether a packet with this address may be forwarded: unicast, and not link-local."""
    if address[0] == 0xFF or (address[0] == 0xFE and address[1] & 0xC0 == 0x80):
        return False
    return address not in _UNSPECIFIED_OR_LOOPBACK
