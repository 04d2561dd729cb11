"""What a payload is: a frame of the machine's, a ping, or a message about options (OCC).

All travel alike on a link. A payload of a frame's length is plainly a frame if one byte shows that it is
neither ping nor message; only the others are compared byte by byte. Knows no key and no session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeGuard

from tmelink.frame import MIN_FRAME, Frame, Kind, Run
from tmelink.openvpn.liveness import PING
from tmelink.openvpn.occ import MAGIC
from tmelink.openvpn.session import Item

TAGS: Final = 8
"""Two VLAN tags, which --tun-mtu does not count."""

MIN_PACKET: Final = 20
"""An IPv4 header; nothing shorter is an IP packet."""

MARK: Final = 12
"""The byte that tells an OCC message from an Ethernet frame at a glance: there it is 0xaf, where a frame has
the high byte of its EtherType, which no protocol on an Ethernet uses with that value."""

PayloadKind = Literal["frame", "ping", "message", "too short", "too long", "not IP"]
"""What a payload is, or the reason why it is dropped."""

_ALL: Final = bytes(range(256))
_NOT_MAGIC: Final = _ALL.replace(MAGIC[MARK : MARK + 1], b"")
_IP_FIRST: Final = bytes((*range(0x40, 0x50), *range(0x60, 0x70)))


def link_header(kind: Kind) -> int:
    """Bytes by which a frame may be longer than the IP packet that it holds."""
    return MIN_FRAME + TAGS if kind == "ethernet" else 0


def shortest_frame(kind: Kind) -> int:
    """Bytes that a frame has at least."""
    return MIN_FRAME if kind == "ethernet" else MIN_PACKET


class FrameFilter:
    """The frames of one link, of which none holds an IP packet of more than `mtu` bytes."""

    __slots__ = ("_ip", "_least", "_mark", "_ordinary", "_shortest", "longest")

    def __init__(self, kind: Kind, mtu: int) -> None:
        self.longest = mtu + link_header(kind)
        self._ip = kind == "ip"
        self._shortest = shortest_frame(kind)
        self._least = max(self._shortest, len(PING) + 1)  # a payload of a ping's length has to be compared
        self._mark = 0 if self._ip else MARK
        self._ordinary = _IP_FIRST if self._ip else _NOT_MAGIC

    def is_plain(self, payload: Item) -> TypeGuard[Frame]:
        """Whether a single payload is plainly a frame."""
        return (
            type(payload) is not Run
            and self._least <= len(payload) <= self.longest
            and payload[self._mark] in self._ordinary
        )

    def are_plain(self, items: Sequence[Item]) -> bool:
        """Whether every payload, and each of a run, is plainly a frame."""
        least, longest, mark, ordinary = self._least, self.longest, self._mark, self._ordinary
        for item in items:
            if type(item) is Run:
                data, size = item
                if not least <= size <= longest or 0 < len(data) % size < least:
                    return False
                if bytes(data[mark::size]).translate(None, ordinary):
                    return False
            elif not least <= len(item) <= longest or item[mark] not in ordinary:
                return False
        return True

    def kind_of(self, payload: Frame) -> PayloadKind:
        """What a payload is that is not plainly a frame."""
        size = len(payload)
        if size >= len(MAGIC) and payload[: len(MAGIC)] == MAGIC:
            return "message"
        if size == len(PING) and payload == PING:
            return "ping"
        if size < self._shortest:
            return "too short"
        if size > self.longest:
            return "too long"
        if self._ip and payload[0] not in _IP_FIRST:
            return "not IP"
        return "frame"
