"""Signs of loss in what TCP acknowledges: selective acknowledgements (RFC 2018), found at a glance.

Knows one frame at a time and no connection.
"""

from __future__ import annotations

from tmelink.frame import Frame
from tmelink.ip import TCP

LEAST_HEADER = 11
"""32-bit words of a TCP header with time stamps and a block of SACK: a SYN has ten, most others eight."""

LONGEST = 14 + 40 + 60
"""Bytes of the longest such frame: Ethernet, IPv6 and TCP headers, and no payload."""


def reports_loss(frame: Frame, *, ip: bool = False) -> bool:
    """Whether a frame is a TCP acknowledgement that tells of something missing; False for most others.

    With `ip`, it begins with its IP header. Frames with VLAN tags or extension headers are not looked at.
    """
    network = 0 if ip else 14
    if not network + 20 + 4 * LEAST_HEADER <= len(frame) <= LONGEST:
        return False
    first = frame[network]
    if first == 0x45:
        transport, protocol = network + 20, frame[network + 9]
    elif first >> 4 == 6:
        transport, protocol = network + 40, frame[network + 6]
    else:
        return False
    if protocol != TCP or len(frame) < transport + 20:
        return False
    words = frame[transport + 12] >> 4
    return words >= LEAST_HEADER and len(frame) == transport + 4 * words
