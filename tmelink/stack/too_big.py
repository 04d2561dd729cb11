"""What a router does with a packet that is too big for the next link: ICMP to its sender, or fragments.

Pure. RFC 1191 and RFC 8201, for a point between two links that has no address of its own: the errors come
from the address that the packet was to go to, since a sender asks only what is quoted.
"""

from __future__ import annotations

from collections.abc import Sequence

from tmelink import ethernet, ip
from tmelink.frame import Frame
from tmelink.stack import icmp
from tmelink.stack.fragments import fragments_v4

TOO_BIG = "too big, and not to be fragmented"
"""The name of the counter for what is dropped."""


def refusal_v4(packet: Frame, mtu: int) -> bytes | None:
    """ICMP "fragmentation needed" about a packet; None if there must be no error (RFC 1122, 3.2.2)."""
    parsed = ip.parse_ipv4(packet)
    about_error = parsed.protocol == ip.ICMP and parsed.payload[:1] and parsed.payload[0] in icmp.ERROR_TYPES
    if about_error or parsed.offset or parsed.destination[0] >= 224:
        return None
    quote = bytes(packet[: icmp.QUOTE_V4])
    message = icmp.build(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 0, mtu, quote)
    return ip.build_ipv4(parsed.destination, parsed.source, ip.ICMP, message)


def refusal_v6(packet: Frame, mtu: int) -> bytes | None:
    """ICMPv6 "packet too big" about a packet; None if there must be no error (RFC 4443, 2.4 e)."""
    parsed = ip.parse_ipv6(packet)
    about_error = parsed.next_header == ip.ICMPV6 and parsed.payload[:1] and parsed.payload[0] < 128
    if about_error or 0xFF in (parsed.source[0], parsed.destination[0]):
        return None
    quote = bytes(packet[: icmp.QUOTE_V6])
    own = parsed.destination
    message = icmp.build_v6(own, parsed.source, icmp.TOO_BIG_V6, 0, mtu >> 16, mtu & 0xFFFF, quote)
    return ip.build_ipv6(own, parsed.source, ip.ICMPV6, message)


def fitted_frame(frame: Frame, longest: int) -> tuple[Sequence[bytes], bytes | None]:
    """What to send on for an Ethernet frame of more than `longest` bytes, and an error for its sender.

    IPv4 that may be fragmented is; for any other packet, and for what is no IP packet, nothing is sent on.
    Raises `ProtocolError` for a malformed packet.
    """
    header = ethernet.parse(frame)
    head = bytes(frame[: header.payload])
    packet, mtu = memoryview(frame)[header.payload :], longest - header.payload
    back: bytes | None = None
    if header.ethertype == ethernet.IPV4:
        if not ip.parse_ipv4(packet).dont_fragment:
            return [head + piece for piece in fragments_v4(bytes(packet), mtu)], None
        back = refusal_v4(packet, mtu)
    elif header.ethertype == ethernet.IPV6 and mtu >= ip.MIN_MTU_V6:
        back = refusal_v6(packet, mtu)
    if back is None:
        return (), None
    return (), head[6:12] + head[:6] + head[12:] + back
