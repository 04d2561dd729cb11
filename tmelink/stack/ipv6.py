"""The IPv6 side of a host on one Ethernet: neighbour discovery, echo, fragments, UDP echo and ICMPv6 errors.

Pure, and no router: packets for others are counted and dropped. Every node has a link-local address made
from its MAC address; a second address and a gateway are given, as no router advertisement is listened to.
Rules are those of RFC 8200, 4443, 4861 and 8201.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Interface

from tmelink import ethernet, ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.stack import icmp, mld, ndp
from tmelink.stack.fragments import TIMEOUT_V6, fragments_v6
from tmelink.stack.icmp import Quoted
from tmelink.stack.node import Answer, Node, NodeState

MIN_MTU = ip.MIN_MTU_V6

PATHS = 64
"""The most destinations with a known path MTU below the link's; the oldest is dropped for a new one."""

PATH_LIFETIME = 600.0
"""Seconds until a larger path MTU is tried again (RFC 8201 section 4)."""

_LINK_LOCAL_PREFIX = b"\xfe\x80" + bytes(6)


REPORTS = 4
REPORT_RATE = 1.0
"""Answers to multicast queries at once, and then per second; queriers ask every two minutes."""


class Ipv6(Node):
    """A link-local and optionally another IPv6 address on an interface, and the gateway to other networks."""

    ethertype = ethernet.IPV6

    def __init__(
        self, wire: NodeState, interface: IPv6Interface | None = None, gateway: IPv6Address | None = None
    ) -> None:
        super().__init__(wire, TIMEOUT_V6)
        self.link_local = ndp.link_local(wire.mac)
        self.address = interface.ip.packed if interface else self.link_local
        self.addresses = tuple(dict.fromkeys((self.link_local, self.address)))
        self.groups = {ndp.ALL_NODES, *map(ndp.solicited_node, self.addresses)}
        self.gateway = gateway.packed if gateway else None
        self._mask = int(interface.network.netmask) if interface else 0
        self._network = int(interface.network.network_address) if interface else -1
        self._reports = icmp.Allowance(REPORTS, REPORT_RATE)
        self._paths: dict[bytes, tuple[int, float]] = {}
        self._identification = 0

    # Neighbour discovery

    def announce(self) -> None:
        """Announce these addresses (RFC 4861 section 7.2.6) and the multicast groups."""
        self._multicast(mld.report(self.link_local, self._reported(), asked=False), mld.ALL_ROUTERS_V2)
        for address in self.addresses:
            packet = ndp.advertisement(address, self.wire.mac, ndp.ALL_NODES, solicited=False)
            self._multicast(packet, ndp.ALL_NODES)

    def ask(self, address: bytes, mac: bytes | None) -> None:
        """Put a neighbour solicitation on the wire."""
        destination = address if mac else ndp.solicited_node(address)
        packet = ndp.solicitation(self.source_for(address), self.wire.mac, address, destination)
        if mac:
            self.wire.out.append(ethernet.build(mac, self.wire.mac, ethernet.IPV6, packet))
        else:
            self._multicast(packet, destination)

    def _multicast(self, packet: bytes, group: bytes) -> None:
        mac = ethernet.multicast_ipv6(group)
        self.wire.out.append(ethernet.build(mac, self.wire.mac, ethernet.IPV6, packet))

    def _solicited(self, message: ndp.Solicitation, packet: ip.IPv6, now: float) -> None:
        if message.target not in self.addresses:
            return
        if packet.source == ndp.UNSPECIFIED:
            # A host checks whether the address is free: all must hear that it is not.
            answer = ndp.advertisement(message.target, self.wire.mac, ndp.ALL_NODES, solicited=False)
            self._multicast(answer, ndp.ALL_NODES)
            return
        if not self._is_near(packet.source):
            raise ProtocolError("ND: from another network")
        if message.mac is not None:
            self._learn(packet.source, message.mac, now, create=True, confirmed=False)
        answer = ndp.advertisement(message.target, self.wire.mac, packet.source, solicited=True)
        self.transmit([answer], packet.source, now)

    def _advertised(self, message: ndp.Advertisement, now: float) -> None:
        """RFC 4861 section 7.2.5: an advertisement about a known neighbour."""
        if message.target in self.addresses:
            raise ProtocolError("ND: address conflict")
        known = self.neighbours.known(message.target)
        mac = message.mac or known
        if mac is None:
            return
        if known is not None and known != mac and not message.override:
            self.neighbours.stale(message.target, now)
            return
        self._learn(message.target, mac, now, create=False, confirmed=message.solicited)

    def _learn(self, address: bytes, mac: bytes, now: float, *, create: bool, confirmed: bool) -> None:
        if not self._is_near(address) and address != self.gateway:
            return
        waiting = self.neighbours.learn(address, mac, now, create=create, confirmed=confirmed)
        if waiting:
            self.transmit(waiting, address, now)

    def _reported(self) -> list[bytes]:
        """The groups to report: all but the all-nodes group (RFC 3810 section 6)."""
        return sorted(self.groups - {ndp.ALL_NODES})

    def _queried(self, message: icmp.Icmp, packet: ip.IPv6, now: float) -> None:
        """Answer a multicast router's query for listeners."""
        if packet.hop_limit != 1 or packet.source[:8] != _LINK_LOCAL_PREFIX:
            raise ProtocolError("MLD: from beyond the link")
        if len(message.data) < mld.QUERY_DATA_V1:
            raise ProtocolError("MLD: short message")
        asked = bytes(message.data[: mld.QUERY_DATA_V1])
        groups = [group for group in self._reported() if asked in (group, ndp.UNSPECIFIED)]
        if not groups:
            return
        if not self._reports.take(now):
            raise ProtocolError("MLD: too many queries")
        if len(message.data) > mld.QUERY_DATA_V1:
            self._multicast(mld.report(self.link_local, groups, asked=True), mld.ALL_ROUTERS_V2)
        else:
            for group in groups:
                self._multicast(mld.report_v1(self.link_local, group), group)

    # Receiving

    def receive(self, packet: Frame, now: float, *, group: bool = False) -> None:
        """Take a packet; `group` says that its frame was sent to a group of stations.

        Raises `ProtocolError` for one that is dropped.
        """
        parsed = ip.parse_ipv6(packet)
        if parsed.destination in self.addresses:
            alone = not group
        elif parsed.destination in self.groups:
            alone = False
        else:
            raise ProtocolError("IPv6: other destination")
        if parsed.source[0] == 0xFF or parsed.source in self.addresses:
            raise ProtocolError("IPv6: bad source")
        self._deliver(parsed, packet, now, alone)

    def _deliver(self, packet: ip.IPv6, raw: Frame, now: float, alone: bool) -> None:
        try:
            above = ip.upper(packet)
            if above.fragment is not None:
                whole = self._reassembled(above, packet, raw, now)
                if whole is None:
                    return
                packet, raw = ip.parse_ipv6(whole), whole
                above = ip.upper(packet)
                if above.fragment is not None:
                    raise ProtocolError("IPv6: fragment in a fragment")
            self._serve(packet, above, raw, now, alone)
        except ip.ParameterProblem as problem:
            if alone or problem.even_multicast:
                self._error(packet, raw, icmp.PARAMETER_PROBLEM_V6, problem.code, now, problem.pointer)
            raise

    def _reassembled(self, above: ip.Upper, packet: ip.IPv6, raw: Frame, now: float) -> bytes | None:
        """The packet that a fragment completes, as if it had arrived whole; None while pieces are missing."""
        piece = above.fragment
        assert piece is not None
        if not piece.more and piece.offset == 0:
            # An atomic fragment is a whole packet of its own (RFC 6946).
            whole: Frame | None = above.payload
        else:
            if piece.more and len(above.payload) % 8:
                raise ip.ParameterProblem("fragment: bad length", 0, 4)
            if piece.offset + len(above.payload) > ip.MAX_PACKET:
                raise ip.ParameterProblem("fragment: bad length", 0, above.at + 2)
            key = (packet.source, packet.destination, piece.identification)
            whole = self.reassembly.add(key, piece.offset, above.payload, piece.more, raw, now)
        if whole is None:
            return None
        length = above.at - ip.IPV6_HEADER + len(whole)
        if length > ip.MAX_PACKET:
            raise ProtocolError("IPv6: too long when whole")
        head = bytearray(raw[: above.at])
        head[4:6] = length.to_bytes(2, "big")
        head[above.named] = piece.next_header
        return bytes(head) + whole

    def _serve(self, packet: ip.IPv6, above: ip.Upper, raw: Frame, now: float, alone: bool) -> None:
        if above.protocol == ip.ICMPV6:
            self._icmp(packet, above.payload, now, alone)
        elif above.protocol == ip.UDP:
            datagram = ip.parse_udp(above.payload, packet.source, packet.destination)
            if not alone:
                raise ProtocolError("UDP: multicast")
            if not self.serve_udp(packet.source, packet.destination, datagram, now):
                self._error(packet, raw, icmp.UNREACHABLE_V6, icmp.PORT_UNREACHABLE_V6, now)
                raise ProtocolError("UDP: no such port")
        elif above.protocol != ip.NO_NEXT_HEADER:
            raise ip.ParameterProblem("IPv6: unknown protocol", 1, above.named)

    def _icmp(self, packet: ip.IPv6, payload: memoryview, now: float, alone: bool) -> None:
        start = icmp.pseudo_v6(packet.source, packet.destination, len(payload))
        message = icmp.parse(payload, start)
        if message.type == icmp.ECHO_V6:
            if not alone:
                raise ProtocolError("ICMPv6: echo to a group")
            fields = (message.first, message.second, message.data)
            own = packet.destination
            reply = icmp.build_v6(own, packet.source, icmp.ECHO_REPLY_V6, 0, *fields)
            self.send(own, packet.source, ip.ICMPV6, reply, now, traffic_class=packet.traffic_class)
        elif message.type == icmp.ECHO_REPLY_V6:
            size, limit = len(message.data), packet.hop_limit
            heard = Answer(packet.source, packet.source, message.first, message.second, size, limit)
            self.wire.answers.append(heard)
        elif message.type in (ndp.SOLICITATION, ndp.ADVERTISEMENT):
            discovery = ndp.parse(message, packet)
            if isinstance(discovery, ndp.Solicitation):
                self._solicited(discovery, packet, now)
            else:
                self._advertised(discovery, now)
        elif message.type == mld.QUERY:
            self._queried(message, packet, now)
        elif message.type < 128:
            if message.type == icmp.TOO_BIG_V6:
                self._narrow(message, now)
            words = icmp.ERRORS_V6.get((message.type, message.code), f"ICMPv6 type {message.type}")
            self.refused(message.data, words, packet.source)
        else:
            raise ProtocolError("ICMPv6: type not served")

    def _narrow(self, message: icmp.Icmp, now: float) -> None:
        """Learn the path MTU to the destination of one of our packets from a router's error."""
        quote = message.data
        if len(quote) < ip.IPV6_HEADER or bytes(quote[8:24]) not in self.addresses:
            raise ProtocolError("ICMPv6: error about an unknown packet")
        mtu = max(MIN_MTU, message.first << 16 | message.second)
        if mtu < self.wire.mtu:
            destination = bytes(quote[24:40])
            self._paths.pop(destination, None)
            if len(self._paths) >= PATHS:
                del self._paths[next(iter(self._paths))]
            self._paths[destination] = (mtu, now + PATH_LIFETIME)

    def _error(self, packet: ip.IPv6, raw: Frame, kind: int, code: int, now: float, value: int = 0) -> None:
        """Send an error about `raw` to its sender, within the rate limit."""
        if packet.source == ndp.UNSPECIFIED or _is_error(packet):
            return
        if not self.errors.take(now):
            self.wire.drops["ICMPv6: error not sent, too many"] += 1
            return
        own = packet.destination if packet.destination in self.addresses else self.source_for(packet.source)
        quote = bytes(raw[: min(icmp.QUOTE_V6, ip.IPV6_HEADER + len(packet.payload))])
        message = icmp.build_v6(own, packet.source, kind, code, value >> 16, value & 0xFFFF, quote)
        self.send(own, packet.source, ip.ICMPV6, message, now)

    def expired(self, first: bytes, now: float) -> None:
        """Send ICMPv6's reassembly time exceeded."""
        packet = ip.parse_ipv6(first)
        if packet.destination in self.addresses:
            self._error(packet, first, icmp.TIME_EXCEEDED_V6, icmp.REASSEMBLY_EXCEEDED, now)

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
        traffic_class: int = 0,
    ) -> bool:
        """Send a payload of at most 65535 bytes; False, counted, if no route leads to `destination`."""
        hop = self.next_hop(destination)
        if hop is None:
            self.wire.drops["IPv6: no route"] += 1
            return False
        packet = ip.build_ipv6(
            source, destination, protocol, payload, hop_limit=ttl, traffic_class=traffic_class
        )
        if destination in self.addresses:
            self._deliver(ip.parse_ipv6(packet), packet, now, True)
        else:
            self.transmit(self._cut(packet, self._path_mtu(destination, now)), hop, now)
        return True

    def _cut(self, packet: bytes, mtu: int) -> Iterator[bytes]:
        if len(packet) > mtu:
            self._identification = (self._identification + 1) & 0xFFFFFFFF
        return fragments_v6(packet, mtu, self._identification)

    def _path_mtu(self, destination: bytes, now: float) -> int:
        path = self._paths.get(destination)
        if path is not None and now >= path[1]:
            del self._paths[destination]
            path = None
        return path[0] if path else self.wire.mtu

    def ping(self, destination: bytes, identifier: int, sequence: int, data: Frame, now: float) -> None:
        """Send an echo request; the result goes to `NodeState.answers`."""
        source = destination if destination in self.addresses else self.source_for(destination)
        request = icmp.build_v6(source, destination, icmp.ECHO_V6, 0, identifier, sequence, data)
        if not self.send(source, destination, ip.ICMPV6, request, now):
            lost = Answer(destination, source, identifier, sequence, error="no route to host")
            self.wire.answers.append(lost)

    def source_for(self, destination: bytes) -> bytes:
        """The source address for `destination`: the link-local one only on the link."""
        local = destination[:8] == _LINK_LOCAL_PREFIX or destination[:2] == b"\xff\x02"
        return self.link_local if local else self.address

    def next_hop(self, destination: bytes) -> bytes | None:
        """The neighbour that gets packets to `destination`; None without a route."""
        if self._is_near(destination) or destination[0] == 0xFF:
            return destination
        return self.gateway

    def multicast_mac(self, address: bytes) -> bytes | None:
        """The group MAC address of a multicast address."""
        return ethernet.multicast_ipv6(address) if address[0] == 0xFF else None

    def is_own(self, address: bytes) -> bool:
        """Whether it is one of this host's addresses."""
        return address in self.addresses

    def quoted(self, packet: Frame) -> Quoted | None:
        """The echo request at the start of `packet`, or None."""
        return icmp.quoted_v6(packet)

    def _is_near(self, address: bytes) -> bool:
        if address[:8] == _LINK_LOCAL_PREFIX:
            return True
        return int.from_bytes(address, "big") & self._mask == self._network


def _is_error(packet: ip.IPv6) -> bool:
    """Whether it carries an ICMPv6 error, which must not be answered by another (RFC 4443 section 2.4 e)."""
    try:
        above = ip.upper(packet)
    except ProtocolError:
        return False
    return above.protocol == ip.ICMPV6 and (not above.payload or above.payload[0] < 128)
