"""The outer IPv4 header: added at one end of a tunnel, and removed at the other.

Pure. Outer packets that came in fragments are put together here, as the end of a tunnel is their destination
(RFC 2003 section 5.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tmelink import ip
from tmelink.encapsulation.ecn import MASK
from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.stack import icmp
from tmelink.stack.fragments import TIMEOUT_V4, Reassembly, fragments_v4


class Arrived(NamedTuple):
    """The content of an outer packet; `ecn` are the two bits that routers may have marked."""

    source: bytes
    protocol: int
    ecn: int
    payload: memoryview


class Outer:
    """The end of a tunnel at the address `local`, of 4 bytes; packets leave with `ttl`."""

    def __init__(self, local: bytes, ttl: int, drops: Counter[str]) -> None:
        self.local = local
        self._ttl = ttl
        self._reassembly = Reassembly(TIMEOUT_V4, drops)
        self._identification = 0

    def wrap(
        self,
        destination: bytes,
        protocol: int,
        payload: Frame,
        mtu: int,
        *,
        tos: int,
        dont_fragment: bool,
    ) -> Iterator[bytes]:
        """The outer packet to `destination`, fragmented where it is larger than `mtu` and that is allowed."""
        if ip.IPV4_HEADER + len(payload) > ip.MAX_PACKET:
            raise ProtocolError("too big for an outer packet")
        self._identification = (self._identification + 1) & 0xFFFF
        packet = ip.build_ipv4(
            self.local,
            destination,
            protocol,
            payload,
            ttl=self._ttl,
            tos=tos,
            identification=self._identification,
            dont_fragment=dont_fragment,
        )
        if len(packet) <= mtu:
            return iter((packet,))
        if dont_fragment:
            raise ProtocolError("too big for the path")
        return fragments_v4(packet, mtu)

    def unwrap(self, packet: Frame, now: float) -> Arrived | None:
        """The content of a packet to this end; None for a fragment while others are missing.

        Raises `ProtocolError` for what is malformed or for somebody else.
        """
        for _first in self._reassembly.expire(now):
            pass
        parsed = ip.parse_ipv4(packet)
        if parsed.destination != self.local:
            raise ProtocolError("for another address")
        payload = parsed.payload
        if parsed.is_fragment:
            key = (parsed.source, parsed.protocol, parsed.identification)
            whole = self._reassembly.add(key, parsed.offset, payload, parsed.more_fragments, packet, now)
            if whole is None:
                return None
            payload = memoryview(whole)
        return Arrived(parsed.source, parsed.protocol, parsed.tos & MASK, payload)

    def narrowed(self, arrived: Arrived, remotes: frozenset[bytes]) -> int | None:
        """The path MTU in an ICMP message to this end; None for any other message.

        Raises `ProtocolError` for one that does not quote a packet from here to one of `remotes`.
        """
        message = icmp.parse(arrived.payload)
        if (message.type, message.code) != (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED):
            return None
        quote = message.data
        if len(quote) < ip.IPV4_HEADER or bytes(quote[12:16]) != self.local:
            raise ProtocolError("ICMP: error about an unknown packet")
        if bytes(quote[16:20]) not in remotes:
            raise ProtocolError("ICMP: error about an unknown packet")
        return message.second or None
