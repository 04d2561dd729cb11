"""A router between one Ethernet and a tunnel of IP packets, with a MAC address and an address of each family.

Pure: bursts and the time go in by `from_ethernet`, `from_tunnel` and `tick`; frames to send collect in
`wire`, packets in `tunnel`. Super-frames pass as such, with their labels; where they must be looked at more
closely they are cut first.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from tmelink import ethernet
from tmelink.errors import ProtocolError
from tmelink.frame import Burst, Frame, Gso
from tmelink.offload import segment
from tmelink.stack.forwarding import HOP_LIMIT, ForwardingV4, ForwardingV6, TunnelSide, decrement_ttl
from tmelink.stack.interface import Interface
from tmelink.stack.ipv4 import Ipv4
from tmelink.stack.ipv6 import Ipv6

_IPV4 = ethernet.IPV4.to_bytes(2, "big")
_IPV6 = ethernet.IPV6.to_bytes(2, "big")


class Router(Interface):
    """A router: `inet` and `inet6` are its addresses and networks on the Ethernet."""

    def __init__(
        self,
        mac: bytes,
        *,
        inet: IPv4Interface | None = None,
        inet6: IPv6Interface | None = None,
        mtu: int = 1500,
        tunnel_mtu: int = 1500,
    ) -> None:
        self.tunnel = TunnelSide(tunnel_mtu)
        self.labels: dict[int, Gso] = {}
        """Labels of the super-frames in `wire.out`, by index."""
        self._v4: ForwardingV4 | None = None
        self._v6: ForwardingV6 | None = None
        super().__init__(mac, inet=inet, inet6=inet6, mtu=mtu)

    def make_ipv4(self, inet: IPv4Interface, gateway: IPv4Address | None) -> Ipv4:
        """The IPv4 side, which forwards."""
        self._v4 = ForwardingV4(self.wire, inet, self.tunnel)
        return self._v4

    def make_ipv6(self, inet6: IPv6Interface | None, gateway: IPv6Address | None) -> Ipv6:
        """The IPv6 side, which forwards where it has a network to forward for."""
        if inet6 is None:
            return super().make_ipv6(inet6, gateway)
        self._v6 = ForwardingV6(self.wire, inet6, self.tunnel)
        return self._v6

    def from_ethernet(self, burst: Burst, now: float) -> None:
        """Take frames; faults are counted in `wire.drops`."""
        mac = self.wire.mac
        for frame, gso in _labelled(burst):
            if frame[:6] == mac:
                view = memoryview(frame)
                if self._out(bytes(view[12:14]), view[ethernet.HEADER :], gso):
                    continue
            pieces = _cut(frame, gso, ip=False)
            if pieces is None:
                self.wire.drops["malformed super-frame"] += 1
            else:
                self.receive(pieces, now)

    def _out(self, ethertype: bytes, packet: memoryview, gso: Gso | None) -> bool:
        """Send a packet into the tunnel, where nothing else needs to be done."""
        label = None if gso is None else _shifted(gso, -ethernet.HEADER)
        if ethertype == _IPV4:
            if self._v4 is None or self._v4.quick(packet, label, outward=True) is None:
                return False
            onward = bytearray(packet)
            decrement_ttl(onward)
        elif ethertype == _IPV6:
            if self._v6 is None or self._v6.quick(packet, label, outward=True) is None:
                return False
            onward = bytearray(packet)
            onward[HOP_LIMIT] -= 1
        else:
            return False
        tunnel = self.tunnel
        if label is not None:
            tunnel.labels[len(tunnel.out)] = label
        tunnel.out.append(onward)
        return True

    def from_tunnel(self, burst: Burst, now: float) -> None:
        """Take IP packets; faults are counted in `tunnel.drops`."""
        for packet, gso in _labelled(burst):
            version = packet[0] >> 4 if len(packet) else 0
            node = self._v4 if version == 4 else self._v6 if version == 6 else None
            if node is None:
                self.tunnel.drops["protocol not spoken"] += 1
                continue
            if self._in(node, packet, gso, now):
                continue
            pieces = _cut(packet, gso, ip=True)
            if pieces is None:
                self.tunnel.drops["malformed super-frame"] += 1
                continue
            for piece in pieces:
                try:
                    node.receive_from_tunnel(piece, now)
                except ProtocolError as reason:
                    self.tunnel.drops[str(reason)] += 1

    def _in(self, node: ForwardingV4 | ForwardingV6, packet: Frame, gso: Gso | None, now: float) -> bool:
        """Send a packet to a known neighbour, where nothing else needs to be done."""
        destination = node.quick(packet, gso, outward=False)
        mac = None if destination is None else node.neighbours.lookup(destination, now)
        if mac is None:
            return False
        wire = self.wire
        frame = bytearray(ethernet.build(mac, wire.mac, node.ethertype))
        frame += packet
        if node is self._v4:
            decrement_ttl(frame, ethernet.HEADER)
        else:
            frame[ethernet.HEADER + HOP_LIMIT] -= 1
        if gso is not None:
            self.labels[len(wire.out)] = _shifted(gso, ethernet.HEADER)
        wire.out.append(frame)
        return True

    def take_frames(self) -> Burst | None:
        """Take out the frames for the Ethernet; None if there are none."""
        wire = self.wire
        wire.answers.clear()  # to pings, of which a router sends none
        burst = _burst(wire.out, self.labels)
        wire.out, self.labels = [], {}
        return burst

    def take_packets(self) -> Burst | None:
        """Take out the packets for the tunnel; None if there are none."""
        tunnel = self.tunnel
        burst = _burst(tunnel.out, tunnel.labels)
        tunnel.out, tunnel.labels = [], {}
        return burst


def _labelled(burst: Burst) -> Iterator[tuple[Frame, Gso | None]]:
    if burst.gso is None:
        return ((frame, None) for frame in burst.frames)
    return iter(zip(burst.frames, burst.gso, strict=True))


def _burst(out: list[Frame], labels: dict[int, Gso]) -> Burst | None:
    if not out:
        return None
    return Burst(out, [labels.get(index) for index in range(len(out))] if labels else None)


def _cut(frame: Frame, gso: Gso | None, *, ip: bool) -> list[Frame] | None:
    if gso is None:
        return [frame]
    run = segment(frame, gso, ip=ip)
    return None if run is None else [*run.pieces()]


def _shifted(gso: Gso, by: int) -> Gso:
    """The label for a frame that begins `by` bytes earlier."""
    start = gso.checksum_start + by if gso.checksum_start or gso.checksum_offset else 0
    return gso._replace(header=max(0, gso.header + by), checksum_start=max(0, start))
