"""OpenVPN's packets: opcodes, and the body of a control packet.

Every packet begins with one byte, opcode << 3 | key id. A control packet goes on with the sender's session
id; what follows them, the body, is what `tls_wrap` protects and this module reads and writes. Knows nothing
of wrapping, retransmission or keys. The layout is that of OpenVPN's doc/doxygen "network protocol" pages.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from tmelink.errors import ProtocolError

SESSION_ID = 8
"""Bytes of a session id; all zero means none."""

HEADER = 1 + SESSION_ID
"""Bytes of a control packet before its body: opcode and key id, session id."""

MAX_ACKS = 8
"""Acknowledgements that one packet carries at most (RELIABLE_ACK_SIZE)."""

_U32 = struct.Struct(">I")


class Opcode(IntEnum):
    """The upper five bits of a packet's first byte."""

    CONTROL_HARD_RESET_CLIENT_V1 = 1  # key method 1, long gone
    CONTROL_HARD_RESET_SERVER_V1 = 2
    CONTROL_SOFT_RESET_V1 = 3
    CONTROL_V1 = 4
    ACK_V1 = 5
    DATA_V1 = 6
    CONTROL_HARD_RESET_CLIENT_V2 = 7
    CONTROL_HARD_RESET_SERVER_V2 = 8
    DATA_V2 = 9
    CONTROL_HARD_RESET_CLIENT_V3 = 10
    CONTROL_WKC_V1 = 11


DATA_V1 = int(Opcode.DATA_V1)
DATA_V2 = int(Opcode.DATA_V2)
"""Plain numbers for the data path, where an enumeration's price shows."""

RECORD = 31
"""tmelink's own, far from OpenVPN's numbers: a slice of a record (`tmelink.openvpn.data.slices`)."""

CLIENT_RESETS = frozenset({Opcode.CONTROL_HARD_RESET_CLIENT_V2, Opcode.CONTROL_HARD_RESET_CLIENT_V3})
RESETS = CLIENT_RESETS | {Opcode.CONTROL_HARD_RESET_SERVER_V2}
WITH_WRAPPED_KEY = frozenset({Opcode.CONTROL_HARD_RESET_CLIENT_V3, Opcode.CONTROL_WKC_V1})
"""The packets that end with a tls-crypt-v2 wrapped client key."""

_CONTROL = frozenset(
    {
        Opcode.CONTROL_SOFT_RESET_V1,
        Opcode.CONTROL_V1,
        Opcode.ACK_V1,
        Opcode.CONTROL_HARD_RESET_CLIENT_V2,
        Opcode.CONTROL_HARD_RESET_SERVER_V2,
        Opcode.CONTROL_HARD_RESET_CLIENT_V3,
        Opcode.CONTROL_WKC_V1,
    }
)


class Body(NamedTuple):
    """What a control packet says after its header.

    `acks` are packet ids of the session `acked` (None if there are no acks); `number` is the packet's own
    id within its direction, None in an ACK_V1; `payload` a stretch of the TLS stream.
    """

    acks: tuple[int, ...] = ()
    acked: bytes | None = None
    number: int | None = None
    payload: bytes = b""


def header(opcode: Opcode, key_id: int, session_id: bytes) -> bytes:
    """The nine bytes that a control packet begins with."""
    return bytes((opcode << 3 | key_id,)) + session_id


def parse_header(packet: bytes) -> tuple[Opcode, int, bytes]:
    """Opcode, key id and session id of a control packet; `ProtocolError` for anything else."""
    if len(packet) < HEADER:
        raise ProtocolError("control packet too short")
    try:
        opcode = Opcode(packet[0] >> 3)
    except ValueError:
        raise ProtocolError("unknown opcode") from None
    if opcode not in _CONTROL:
        raise ProtocolError("unknown opcode")
    session_id = packet[1:HEADER]
    if not any(session_id):
        raise ProtocolError("control packet without a session id")
    return opcode, packet[0] & 7, session_id


def build_body(body: Body) -> bytes:
    """The bytes of a body; at most `MAX_ACKS` acks."""
    acks, acked, number, payload = body
    parts = [bytes((len(acks),)), *(_U32.pack(ack) for ack in acks)]
    if acks:
        assert acked is not None
        parts.append(acked)
    if number is not None:
        parts.append(_U32.pack(number))
        parts.append(payload)
    return b"".join(parts)


def parse_body(opcode: Opcode, body: bytes) -> Body:
    """A body read back; `ProtocolError` if it is cut short or says what the protocol does not."""
    if not body:
        raise ProtocolError("control packet too short")
    count = body[0]
    if count > MAX_ACKS:
        raise ProtocolError("too many acknowledgements")
    at = 1 + 4 * count
    if len(body) < at + (SESSION_ID if count else 0):
        raise ProtocolError("control packet too short")
    acks: tuple[int, ...] = struct.unpack_from(f">{count}I", body, 1)
    acked = None
    if count:
        acked = body[at : at + SESSION_ID]
        at += SESSION_ID
    if opcode is Opcode.ACK_V1:
        return Body(acks, acked)
    if len(body) < at + 4:
        raise ProtocolError("control packet too short")
    return Body(acks, acked, _U32.unpack_from(body, at)[0], body[at + 4 :])
