"""Whether the first bytes of a TCP connection are a peer's or a web browser's (`--port-share`).

A peer begins with the 16-bit length of its first datagram. Under TLS that datagram is a reset, known by its
opcode and a narrow range of lengths (OpenVPN's own rule, ps.c). Without TLS it may be anything that the link
takes, so there the length must be one that the link takes, and what a web browser is known to begin with is
not the link's.
"""

from __future__ import annotations

import re
from typing import Final

RESETS: Final = {7: range(14, 256), 8: range(14, 256), 10: range(336, 1279)}
"""Opcode to lengths: P_CONTROL_HARD_RESET_CLIENT_V2, between two peers also _SERVER_V2, and _CLIENT_V3, which
carries a wrapped key of up to 1024 bytes."""

DECIDED: Final = 20
"""Bytes that always decide: a request's method with the space behind it, as long as methods are."""

_METHOD: Final = re.compile(rb"[A-Z]{3,16} ")
_MAYBE_METHOD: Final = re.compile(rb"[A-Z]{0,16}")
_HANDSHAKE: Final = b"\x16\x03"
"""A TLS record with a handshake in it (RFC 8446, section 5.1), here a ClientHello."""


def is_peer(head: bytes, *, tls: bool, longest: int) -> bool | None:
    """Whether `head` begins what a peer sends, None while more bytes are needed, at most `DECIDED`.

    `longest` is the longest datagram that the link takes.
    """
    if len(head) < 2:
        return None
    length = int.from_bytes(head[:2], "big")
    if tls:
        if len(head) >= 3:
            return length in RESETS.get(head[2] >> 3, ()) and not head[2] & 7
        return None if any(length in lengths for lengths in RESETS.values()) else False
    if not 0 < length <= longest:
        return False
    if head[:2] == _HANDSHAKE:
        # A record's length follows the version, and a ClientHello is handshake message 1.
        return None if len(head) < 6 else not (head[2] <= 4 and head[5] == 1)
    if len(head) < DECIDED and _MAYBE_METHOD.fullmatch(head):
        return None
    return _METHOD.match(head) is None
