"""Answers to a client's first packet that cost a server no memory.

The session id that a server answers a reset with is an HMAC of the client's address and session id: whoever
repeats it has received the answer at that address, and only then is there a session. Forged resets by the
hundred thousand leave nothing behind. Follows OpenVPN 2.6 (src/openvpn/mudp.c, ssl_pkt.c).
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Hashable
from typing import Final, NamedTuple

from tmelink.errors import ProtocolError
from tmelink.openvpn.data import packet
from tmelink.openvpn.data.packet import CLIENT_RESETS, SESSION_ID, WITH_WRAPPED_KEY, Body, Opcode
from tmelink.openvpn.tls.negotiation import RESEND_WRAPPED_KEY
from tmelink.openvpn.tls.wrap import (
    EARLY_NEGOTIATION,
    Crypt,
    ServerKey,
    WrapCodec,
    WrapKey,
    codec,
    fresh_enough,
    key_material,
    split_wrapped_key,
    unwrap_client_key,
)

SLOTS: Final = (0, -1, -2)
"""Slots of half a hand-window each, from the current one back, whose answers still count (as OpenVPN)."""

_UNTOLD: Final = bytes(SESSION_ID)
"""In place of the session id of a client that has not said it."""

_EARLY_MASK: Final = 0xFF000000
_RESEND: Final = struct.pack(">HHH", RESEND_WRAPPED_KEY[0], 2, RESEND_WRAPPED_KEY[1])


class UnknownSession(ProtocolError):
    """An authentic packet of a session that this server does not have, such as one of before its start."""


class Proven(NamedTuple):
    """A client that has shown that it receives at its address: both session ids, its codec and key.

    `local` is empty for one of OpenVPN 2.5 that has shown its tls-crypt-v2 key, and will not repeat it: its
    session begins with its reset.
    """

    local: bytes
    remote: bytes
    codec: WrapCodec
    material: bytes

    def __repr__(self) -> str:
        return "Proven(…)"


class Cookies:
    """The stateless first steps of one server.

    `once` takes clients that show their tls-crypt-v2 key only once.
    """

    def __init__(self, wrap: WrapKey, hand_window: float, *, once: bool = False) -> None:
        self._key = secrets.token_bytes(32)
        self._once = once
        self._slot = hand_window / 2
        self._wrap = wrap
        shared = None if isinstance(wrap, ServerKey) else wrap
        self._shared = codec(shared, server=True)
        self._material = key_material(shared)

    def greet(self, datagram: bytes, address: Hashable, now: float, unix_time: float) -> bytes | Proven:
        """The answer to an authentic reset, or the client that a later packet proves to be there.

        Raises `ProtocolError` for everything else.
        """
        opcode, key_id, remote = packet.parse_header(datagram)
        if key_id != 0:
            raise ProtocolError("control packet for an unknown session")
        if opcode in CLIENT_RESETS:
            return self._answer(datagram, opcode, remote, address, now, unix_time)
        if opcode in (Opcode.CONTROL_V1, Opcode.ACK_V1, Opcode.CONTROL_WKC_V1):
            return self._prove(datagram, opcode, remote, address, now, unix_time)
        raise ProtocolError("control packet for an unknown session")

    def unasked(self, address: Hashable, now: float, unix_time: float) -> bytes:
        """A server's reset to an address that has sent none.

        Whoever acknowledges it receives there, as with an answer. OpenVPN's server of one client begins so,
        where it knows the address. Under tls-crypt-v2 the key is the client's, which nobody here knows yet,
        and the reset is bare: tmelink's clients ask for a session then, OpenVPN's drop it.
        """
        local = self._cookie(address, _UNTOLD, int(now / self._slot))
        head = packet.header(Opcode.CONTROL_HARD_RESET_SERVER_V2, 0, local)
        body = packet.build_body(Body((), None, 0, b""))
        if isinstance(self._wrap, ServerKey):
            return head + body
        return self._shared.seal(head, body, 1, int(unix_time) & 0xFFFFFFFF)

    def knows(self, datagram: bytes, unix_time: float) -> bool:
        """Whether the configured key has wrapped a control packet."""
        try:
            opcode, _, _ = packet.parse_header(datagram)
            bare, codec, _ = self._codec(datagram, opcode, unix_time)
            codec.open(bare)
        except ProtocolError:
            return False
        return True

    def _answer(
        self, datagram: bytes, opcode: Opcode, remote: bytes, address: Hashable, now: float, unix_time: float
    ) -> bytes | Proven:
        bare, codec, material = self._codec(datagram, opcode, unix_time)
        number, _, raw = codec.open(bare)
        body = packet.parse_body(opcode, raw)
        if body.number != 0:
            raise ProtocolError("reset that is not the first packet")
        if body.acked is not None and self._is_ours(body.acked, address, _UNTOLD, now):
            return Proven(body.acked, remote, codec, material)
        payload = b""
        if opcode in WITH_WRAPPED_KEY:
            if number & _EARLY_MASK != EARLY_NEGOTIATION:
                if self._once:
                    return Proven(b"", remote, codec, material)
                raise ProtocolError("client cannot repeat its key (OpenVPN 2.5)")
            payload = _RESEND
        local = self._cookie(address, remote, int(now / self._slot))
        head = packet.header(Opcode.CONTROL_HARD_RESET_SERVER_V2, 0, local)
        answer = packet.build_body(Body((0,), remote, 0, payload))
        return codec.seal(head, answer, 1, int(unix_time) & 0xFFFFFFFF)

    def _prove(
        self, datagram: bytes, opcode: Opcode, remote: bytes, address: Hashable, now: float, unix_time: float
    ) -> Proven:
        bare, codec, material = self._codec(datagram, opcode, unix_time)
        body = packet.parse_body(opcode, codec.open(bare)[2])
        if body.acked is None or any(ack > 1 for ack in body.acks) or (body.number or 0) > 1:
            raise UnknownSession("control packet for an unknown session")
        if self._is_ours(body.acked, address, remote, now):
            return Proven(body.acked, remote, codec, material)
        raise UnknownSession("control packet for an unknown session")

    def _is_ours(self, acked: bytes, address: Hashable, remote: bytes, now: float) -> bool:
        """Whether a session id is what a client at an address was sent, not long ago."""
        slot = int(now / self._slot)
        return any(hmac.compare_digest(self._cookie(address, remote, slot + back), acked) for back in SLOTS)

    def _codec(self, datagram: bytes, opcode: Opcode, unix_time: float) -> tuple[bytes, WrapCodec, bytes]:
        """A packet without what is appended to it, and the codec and key for it."""
        wrap = self._wrap
        if not isinstance(wrap, ServerKey):
            if opcode in WITH_WRAPPED_KEY:
                raise ProtocolError("client key, but no tls-crypt-v2 here")
            return datagram, self._shared, self._material
        if opcode not in WITH_WRAPPED_KEY:
            raise ProtocolError("control packet without a client key")
        bare, wrapped = split_wrapped_key(datagram)
        key, metadata = unwrap_client_key(wrap.key, wrapped)
        if not fresh_enough(metadata, wrap.max_age, unix_time):
            raise ProtocolError("client key too old")
        return bare, Crypt(key, server=True), key

    def _cookie(self, address: Hashable, remote: bytes, slot: int) -> bytes:
        text = struct.pack(">q", slot) + remote + repr(address).encode()
        return hmac.digest(self._key, text, "sha256")[:SESSION_ID]
