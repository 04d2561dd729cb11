"""Explicit congestion notification through tunnels (RFC 6040): the two low bits of TOS and traffic class.

On entry, the outer header gets the bits of the inner one (normal mode, section 4.1); on exit, what a router
has marked on the outer header goes to the inner one, or the packet is dropped (section 4.2, figure 4).
"""

from __future__ import annotations

from struct import Struct

from tmelink import ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame

NOT_ECT, ECT_1, ECT_0, CE = range(4)
MASK = 3

_WORD = Struct("!H")

_OUT: dict[tuple[int, int], int] = {
    (ECT_0, ECT_1): ECT_1,
    (ECT_0, CE): CE,
    (ECT_1, CE): CE,
}
"""By inner and outer bits, where the outer ones change the inner."""


def traffic_class(packet: Frame) -> int:
    """The TOS byte of an IPv4 packet, the traffic class of an IPv6 one."""
    return packet[1] if packet[0] >> 4 == 4 else (packet[0] << 4 | packet[1] >> 4) & 0xFF


def merged(packet: Frame, outer: int) -> Frame:
    """The inner packet as it leaves a tunnel whose outer header had the ECN bits `outer`.

    The packet itself where nothing changes. Raises `ProtocolError` if a router meant to signal congestion
    to ends that do not understand it, and so would have dropped the packet.
    """
    inner = traffic_class(packet) & MASK
    if inner == NOT_ECT and outer == CE:
        raise ProtocolError("ECN: congestion marked on a packet without ECN support")
    told = _OUT.get((inner, outer))
    if told is None:
        return packet
    changed = bytearray(packet)
    if packet[0] >> 4 == 6:
        changed[1] = changed[1] & 0xCF | told << 4
        return changed
    changed[1] = changed[1] & ~MASK & 0xFF | told
    size = (changed[0] & 15) * 4
    changed[10:12] = bytes(2)
    _WORD.pack_into(changed, 10, ip.checksum(changed[:size]))
    return changed
