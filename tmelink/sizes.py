"""What becomes of a packet's size: the headers added to it, and its fragments on a path with a smaller MTU.

Arithmetic only, in bytes; fragments are those of RFC 791 section 2.3 and RFC 8200 section 4.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tmelink.ethernet import HEADER as ETHERNET_HEADER
from tmelink.ip import IPV4_HEADER, IPV6_HEADER
from tmelink.routing.facts import IPVersion

IP_HEADER: dict[int, int] = {4: IPV4_HEADER, 6: IPV6_HEADER}

ICMP_HEADER = 8
UDP_HEADER = 8
FRAGMENT_HEADER = 8
"""The extension header of an IPv6 fragment; IPv4 has these fields in its header."""

UNIT = 8
"""Every fragment but the last has a multiple of this many bytes."""

PATH = 1500
"""The MTU that is assumed between computers: that of Ethernet."""

LOOPBACK = 65536
"""The MTU of the loopback interface (Linux)."""


class HeaderSize(NamedTuple):
    """A header before a packet, or a trailer behind it."""

    name: str
    bytes: int


ETHERNET = HeaderSize("Ethernet", ETHERNET_HEADER)


@dataclass(frozen=True, slots=True)
class PingSize:
    """An ICMP echo request with `data` bytes; with `df` it must not be fragmented."""

    version: IPVersion
    data: int
    df: bool = False

    @property
    def packet(self) -> int:
        """Bytes of the IP packet."""
        return IP_HEADER[self.version] + ICMP_HEADER + self.data


def fragments(packet: int, mtu: int, version: IPVersion) -> list[int]:
    """The sizes of the IP packets that a packet becomes on a path with this MTU."""
    if packet <= mtu:
        return [packet]
    header = IP_HEADER[version]
    each = header if version == 4 else header + FRAGMENT_HEADER
    room = (mtu - each) // UNIT * UNIT
    if room <= 0:
        return []
    data = packet - header
    return [each + min(room, data - at) for at in range(0, data, room)]


def cut(packets: Sequence[int], mtu: int, version: IPVersion) -> list[int]:
    """The same for several packets, which may be fragments already."""
    return [piece for packet in packets for piece in fragments(packet, mtu, version)]


def listed(sizes: Sequence[int]) -> str:
    """Sizes for a person to read, with repetitions joined: `6 x (1500, 62), 190`."""
    said, at = [], 0
    while at < len(sizes):
        period, times = max(
            ((period, _times(sizes, at, period)) for period in PERIODS),
            key=lambda found: found[0] * found[1] if found[1] > 1 else 0,
        )
        if times == 1:
            period = 1
        part = ", ".join(map(str, sizes[at : at + period]))
        said.append(part if times == 1 else f"{times} x {part}" if period == 1 else f"{times} x ({part})")
        at += period * times
    return ", ".join(said)


PERIODS = (1, 2, 3)
"""How many sizes may repeat together: one packet seldom becomes more underlay packets."""


def _times(sizes: Sequence[int], at: int, period: int) -> int:
    times = 1
    while list(sizes[at + times * period : at + (times + 1) * period]) == list(sizes[at : at + period]):
        times += 1
    return times
