"""The IPv4 side of a host on one Ethernet: ARP, echo, fragments, UDP echo and ICMP errors.

Pure, and no router: packets for others are counted and dropped. Options are skipped. Rules are those of
RFC 1122 for hosts, RFC 826 for ARP, RFC 5227 for address conflicts.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from tmelink import ethernet, ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.stack import arp, icmp
from tmelink.stack.fragments import TIMEOUT_V4, fragments_v4
from tmelink.stack.icmp import Quoted
from tmelink.stack.node import Answer, Node, NodeState

DEFEND = 10.0
"""Seconds between two defences of an address that another host uses (RFC 5227's DEFEND_INTERVAL)."""

_LIMITED_BROADCAST = b"\xff\xff\xff\xff"
_ALL_SYSTEMS = bytes((224, 0, 0, 1))


class Ipv4(Node):
    """One IPv4 address on an interface, and the gateway to other networks."""

    ethertype = ethernet.IPV4

    def __init__(self, wire: NodeState, interface: IPv4Interface, gateway: IPv4Address | None = None) -> None:
        super().__init__(wire, TIMEOUT_V4)
        self.address = interface.ip.packed
        self.gateway = gateway.packed if gateway else None
        network = interface.network
        self._mask = int(network.netmask)
        self._network = int(network.network_address)
        self._broadcasts = {_LIMITED_BROADCAST}
        if network.prefixlen <= 30:
            self._broadcasts.add(network.broadcast_address.packed)
        self._identification = 0
        self._defended: float | None = None

    # ARP

    def receive_arp(self, payload: memoryview, now: float) -> None:
        """Take an ARP message: learn from it, answer it, defend the address."""
        message = arp.parse(payload)
        if message.sender == self.address:
            self._defend(now)
            raise ProtocolError("ARP: address conflict")
        for_us = message.target == self.address
        if message.sender != arp.NOBODY:
            self._learn(message.sender, message.sender_mac, now, create=for_us)
        if for_us and message.operation == arp.REQUEST:
            self.wire.out.append(arp.reply(message, self.wire.mac))

    def announce(self) -> None:
        """Announce this address to all (RFC 5227's announcement, a gratuitous ARP)."""
        self.wire.out.append(arp.request(self.wire.mac, self.address, self.address))

    def ask(self, address: bytes, mac: bytes | None) -> None:
        """Put an ARP request on the wire."""
        request = arp.request(self.wire.mac, self.address, address, mac or ethernet.BROADCAST)
        self.wire.out.append(request)

    def _learn(self, address: bytes, mac: bytes, now: float, *, create: bool) -> None:
        # An address of another network is not a neighbour: a false sender must not fill the cache.
        if not self._is_near(address) and address != self.gateway:
            return
        waiting = self.neighbours.learn(address, mac, now, create=create)
        if waiting:
            self.transmit(waiting, address, now)

    def _defend(self, now: float) -> None:
        if self._defended is None or now >= self._defended + DEFEND:
            self._defended = now
            self.announce()

    # Receiving

    def receive(self, packet: Frame, now: float, *, group: bool = False) -> None:
        """Take a packet; `group` says that its frame was sent to a group of stations.

        Raises `ProtocolError` for one that is dropped.
        """
        parsed = ip.parse_ipv4(packet)
        if parsed.destination == self.address:
            alone = not group
        elif parsed.destination in self._broadcasts or parsed.destination == _ALL_SYSTEMS:
            alone = False
        else:
            raise ProtocolError("IPv4: other destination")
        if not self._is_host(parsed.source) or parsed.source == self.address:
            raise ProtocolError("IPv4: bad source")
        self._deliver(parsed, packet, now, alone)

    def _deliver(self, packet: ip.IPv4, raw: Frame, now: float, alone: bool) -> None:
        payload = packet.payload
        if packet.is_fragment:
            key = (packet.source, packet.destination, packet.protocol, packet.identification)
            whole = self.reassembly.add(key, packet.offset, payload, packet.more_fragments, raw, now)
            if whole is None:
                return
            payload = memoryview(whole)
            # An error must quote the ports, which are only in the first piece.
            raw = ip.build_ipv4(
                packet.source,
                packet.destination,
                packet.protocol,
                whole,
                ttl=packet.ttl,
                tos=packet.tos,
                identification=packet.identification,
            )
            packet = ip.parse_ipv4(raw)
        if packet.protocol == ip.ICMP:
            self._icmp(packet, payload, now, alone)
        elif packet.protocol == ip.UDP:
            datagram = ip.parse_udp(payload, packet.source, packet.destination)
            if not alone:
                raise ProtocolError("UDP: broadcast")
            if not self.serve_udp(packet.source, self.address, datagram, now):
                self._error(packet, raw, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, now)
                raise ProtocolError("UDP: no such port")
        else:
            if alone:
                self._error(packet, raw, icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, now)
            raise ProtocolError("IPv4: unknown protocol")

    def _icmp(self, packet: ip.IPv4, payload: memoryview, now: float, alone: bool) -> None:
        message = icmp.parse(payload)
        if message.type == icmp.ECHO:
            if not alone:
                # RFC 1122 section 3.2.2.6 allows silence, so that the host cannot be used to flood others.
                raise ProtocolError("ICMP: echo to a group")
            reply = icmp.build(icmp.ECHO_REPLY, 0, message.first, message.second, message.data)
            self.send(self.address, packet.source, ip.ICMP, reply, now, tos=packet.tos)
        elif message.type == icmp.ECHO_REPLY:
            size = len(message.data)
            heard = Answer(packet.source, packet.source, message.first, message.second, size, packet.ttl)
            self.wire.answers.append(heard)
        elif message.type in (icmp.UNREACHABLE, icmp.TIME_EXCEEDED, icmp.PARAMETER_PROBLEM):
            words = icmp.ERRORS_V4.get((message.type, message.code), f"ICMP type {message.type}")
            self.refused(message.data, words, packet.source)
        else:
            raise ProtocolError("ICMP: type not served")

    def _error(self, packet: ip.IPv4, raw: Frame, kind: int, code: int, now: float, value: int = 0) -> None:
        """Send an error about `raw` to its sender, within the rate limit."""
        if packet.protocol == ip.ICMP and not self._may_report(packet.payload[:1]):
            return
        if not self.errors.take(now):
            self.wire.drops["ICMP: error not sent, too many"] += 1
            return
        quote = bytes(raw[: min(icmp.QUOTE_V4, packet.header + len(packet.payload))])
        message = icmp.build(kind, code, 0, value, quote)
        self.send(self.address, packet.source, ip.ICMP, message, now)

    def _may_report(self, icmp_type: Frame) -> bool:
        """Whether an error may be sent about an ICMP message of this type (one byte, or empty)."""
        # RFC 1122 section 3.2.2: no error about an error; of the other messages, only echo is served.
        return icmp_type in (bytes((icmp.ECHO,)), b"")

    def expired(self, first: bytes, now: float) -> None:
        """Send ICMP's reassembly time exceeded."""
        packet = ip.parse_ipv4(first)
        if packet.destination == self.address:
            self._error(packet, first, icmp.TIME_EXCEEDED, icmp.REASSEMBLY_EXCEEDED, now)

    # Sending

    def send(
        self,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload: Frame,
        now: float,
        *,
        ttl: int = ip.DEFAULT_TTL,
        tos: int = 0,
    ) -> bool:
        """Send a payload of at most 65515 bytes; False, counted, if no route leads to `destination`."""
        hop = self.next_hop(destination)
        if hop is None:
            self.wire.drops["IPv4: no route"] += 1
            return False
        self._identification = (self._identification + 1) & 0xFFFF
        packet = ip.build_ipv4(
            source, destination, protocol, payload, ttl=ttl, tos=tos, identification=self._identification
        )
        if destination == self.address:
            self._deliver(ip.parse_ipv4(packet), packet, now, True)
        else:
            self.transmit(fragments_v4(packet, self.wire.mtu), hop, now)
        return True

    def ping(self, destination: bytes, identifier: int, sequence: int, data: Frame, now: float) -> None:
        """Send an echo request; the result goes to `NodeState.answers`."""
        request = icmp.build(icmp.ECHO, 0, identifier, sequence, data)
        if not self.send(self.address, destination, ip.ICMP, request, now):
            lost = Answer(destination, self.address, identifier, sequence, error="no route to host")
            self.wire.answers.append(lost)

    def next_hop(self, destination: bytes) -> bytes | None:
        """The neighbour that gets packets to `destination`; None without a route."""
        if self._is_near(destination) or destination == _LIMITED_BROADCAST or destination[0] >> 4 == 14:
            return destination
        return self.gateway

    def multicast_mac(self, address: bytes) -> bytes | None:
        """The group MAC address of a multicast or broadcast address."""
        if address[0] >> 4 == 14:
            return ethernet.multicast_ipv4(address)
        return ethernet.BROADCAST if address in self._broadcasts else None

    def is_own(self, address: bytes) -> bool:
        """Whether it is this host's address."""
        return address == self.address

    def quoted(self, packet: Frame) -> Quoted | None:
        """The echo request at the start of `packet`, or None."""
        return icmp.quoted_v4(packet)

    def _is_near(self, address: bytes) -> bool:
        return int.from_bytes(address, "big") & self._mask == self._network

    def _is_host(self, address: bytes) -> bool:
        """Whether it can be a host's address: not multicast, broadcast, loopback or unspecified."""
        return 0 < address[0] < 224 and address[0] != 127 and address not in self._broadcasts
