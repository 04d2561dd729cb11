"""L2TPv3's data messages: Ethernet frames in sessions (RFC 3931, sections 4.1 and 4.6). No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tmelink.frame import Frame

PROTOCOL = 115
"""The IP protocol number of L2TP over IP (RFC 3931, section 4.1.1)."""

COOKIE_SIZES = (0, 4, 8)

_UDP = b"\x00\x03\x00\x00"
"""Over UDP a data message begins with its version, 3, and 16 reserved bits (RFC 3931, section 4.1.2.1)."""

ANOTHER_SESSION = "another session"
WRONG_COOKIE = "wrong cookie"
NOT_DATA = "not an L2TPv3 data message"


@dataclass(frozen=True, slots=True)
class L2tpSession:
    """One direction of a session: its number, its cookie, and whether 4 bytes of a counter come after that.

    The counter is QEMU's; Linux has the default Layer-2-Specific Sublayer there, whose bits a receiver that
    asked for no sequence does not look at (RFC 3931, section 4.6).
    """

    number: int
    cookie: bytes = b""
    counter: bool = False
    udp: bool = True

    def head(self) -> bytes:
        """What stands before the counter and the frame."""
        return (_UDP if self.udp else b"") + struct.pack("!I", self.number) + self.cookie

    def open(self, message: Frame) -> Frame | str:
        """The frame in a message that has arrived, or the reason why there is none."""
        at = 4 if self.udp else 0
        size = at + 4 + len(self.cookie)
        if len(message) < size + (4 if self.counter else 0) or (self.udp and message[:4] != _UDP):
            return NOT_DATA
        if struct.unpack_from("!I", message, at)[0] != self.number:
            return ANOTHER_SESSION
        if message[at + 4 : size] != self.cookie:
            return WRONG_COOKIE
        return message[size + (4 if self.counter else 0) :]
