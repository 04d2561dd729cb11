"""Bridge protocol data units: what bridges say of the spanning tree (IEEE 802.1D-2004, clause 9).

Bytes in, values out. Times are seconds, on the wire 256ths of them. What a message is for is
`tmelink.elements.builtin.spanning_tree`'s.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Literal, NamedTuple

from tmelink import ethernet
from tmelink.frame import Frame

GROUP: Final = ethernet.RESERVED + b"\0"
"""Where all bridges listen."""

_LLC: Final = b"\x42\x42\x03"
"""The LLC header of the spanning tree protocol (IEEE 802.2), behind a length in place of an EtherType."""
_START: Final = ethernet.HEADER + len(_LLC)
_MIN_SIZE: Final = 60

_HEAD: Final = Struct("!HBB")
_BODY: Final = Struct("!BQIQHHHHH")
_CONFIGURATION, _RAPID, _CHANGE = 0x00, 0x02, 0x80

TOPOLOGY_CHANGE, PROPOSAL, LEARNING, FORWARDING, AGREEMENT, CHANGE_ACKNOWLEDGED = 1, 2, 16, 32, 64, 128
_ROLE_SHIFT: Final = 2

SenderRole = Literal["unknown", "alternate", "root", "designated"]
_ROLES: Final[tuple[SenderRole, ...]] = ("unknown", "alternate", "root", "designated")


class Vector(NamedTuple):
    """A priority vector (clause 17.5): of two the smaller is the better one.

    The root's identifier, the cost of the path to it, and the bridge and its port that say so.
    """

    root: int
    cost: int
    bridge: int
    port: int


class Times(NamedTuple):
    """How old the root's word is, and the times that it sets for all, in seconds (clause 17.13)."""

    age: float
    max_age: float
    hello: float
    forward_delay: float


class Bpdu(NamedTuple):
    """A message of the rapid protocol or, with `rapid` False, of the one before it (version 0)."""

    rapid: bool
    flags: int
    vector: Vector
    times: Times

    @property
    def role(self) -> SenderRole:
        """What its sender's port is; in the older protocol only designated ports speak."""
        return _ROLES[self.flags >> _ROLE_SHIFT & 3] if self.rapid else "designated"


class ChangeNotice(NamedTuple):
    """The older protocol's message to the root that stations may be elsewhere now."""


def role_flags(role: SenderRole) -> int:
    """The two bits that say a port's role."""
    return _ROLES.index(role) << _ROLE_SHIFT


def parse(frame: Frame) -> Bpdu | ChangeNotice | None:
    """The message in a frame to `GROUP`; None for anything else, and for one that contradicts itself."""
    if len(frame) < _START + _HEAD.size or bytes(frame[ethernet.HEADER : _START]) != _LLC:
        return None
    protocol, version, kind = _HEAD.unpack_from(frame, _START)
    if protocol:
        return None
    if kind == _CHANGE:
        return ChangeNotice()
    rapid = kind == _RAPID and version >= 2
    at = _START + _HEAD.size
    if not (rapid or kind == _CONFIGURATION) or len(frame) < at + _BODY.size:
        return None
    flags, root, cost, bridge, port, *times = _BODY.unpack_from(frame, at)
    age, max_age, hello, forward_delay = (each / 256 for each in times)
    if age >= max_age or hello < 1 or forward_delay < 1:
        return None
    return Bpdu(rapid, flags, Vector(root, cost, bridge, port), Times(age, max_age, hello, forward_delay))


def build(message: Bpdu | ChangeNotice, source: bytes) -> bytes:
    """The frame of a message from a port with the MAC address `source`."""
    if isinstance(message, ChangeNotice):
        body = _HEAD.pack(0, 0, _CHANGE)
    else:
        times = (min(round(each * 256), 0xFFFF) for each in message.times)
        head = _HEAD.pack(0, 2, _RAPID) if message.rapid else _HEAD.pack(0, 0, _CONFIGURATION)
        body = head + _BODY.pack(message.flags, *message.vector, *times) + (b"\0" if message.rapid else b"")
    return ethernet.build(GROUP, source, len(_LLC) + len(body), _LLC + body).ljust(_MIN_SIZE, b"\0")
