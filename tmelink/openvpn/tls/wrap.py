"""What protects a control packet on the wire: nothing, tls-auth, tls-crypt or tls-crypt-v2.

A codec turns header and body into a packet and back and keeps no state; a `Wrapping` adds the packet ids
that keep replays out. Knows nothing of what a body says. The formats are those of OpenVPN's man page
(`--tls-auth`, `--tls-crypt`) and of its doc/tls-crypt-v2.txt.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tmelink.errors import ProtocolError
from tmelink.openvpn import pem as pem_file
from tmelink.openvpn.data.direction import StaticDirection, split
from tmelink.openvpn.data.packet import HEADER, WITH_WRAPPED_KEY, Opcode
from tmelink.openvpn.data.replay import ReplayWindow
from tmelink.openvpn.tls.key_method import KEY2

TAG = 32
"""Bytes of a tls-crypt tag, a whole HMAC-SHA256."""

MAX_WRAPPED_KEY = 1024
"""Bytes of a tls-crypt-v2 wrapped client key at most (TLS_CRYPT_V2_MAX_WKC_LEN)."""

MAX_METADATA = MAX_WRAPPED_KEY - KEY2 - TAG - 2
"""Bytes of metadata, its type included, that fit into a wrapped client key."""

REPLAY_WINDOW = 64
"""How far back a late packet is still taken (OpenVPN's default --replay-window)."""

EARLY_NEGOTIATION = 0x0F000000
"""Where a client's packet ids begin that can repeat its wrapped key (doc/tls-crypt-v2.txt, "HMAC Cookie")."""

_LONG_ID = struct.Struct(">II")


class WrapCodec(Protocol):
    """How packets are protected, without any state."""

    overhead: int
    """Bytes that a packet is longer than its header and body."""

    counted: bool
    """Whether packets carry packet ids."""

    def seal(self, header: bytes, body: bytes, number: int, time: int) -> bytes:
        """The packet for nine bytes of header and a body; `time` in seconds since 1970."""
        ...

    def open(self, packet: bytes) -> tuple[int, int, bytes]:
        """Packet id, time and body of an authentic packet; `ProtocolError` for any other."""
        ...


class Plain:
    """No protection."""

    overhead = 0
    counted = False

    def seal(self, header: bytes, body: bytes, number: int, time: int) -> bytes:
        """Header and body as they are."""
        return header + body

    def open(self, packet: bytes) -> tuple[int, int, bytes]:
        """The body, with a packet id that means none."""
        return 0, 0, packet[HEADER:]


class Auth:
    """tls-auth: an HMAC under a static key between header and body."""

    counted = True

    def __init__(self, key: bytes, direction: Literal[0, 1] | None, digest: str) -> None:
        """`key` is a static key's 256 bytes, `direction` its key-direction, `digest` as `--auth` names it."""
        self._digest = digest.lower().replace("-", "")
        size = len(hmac.digest(b"", b"", self._digest))
        forth, back = split(key, server=direction == 1)
        self._send = forth.mac[:size]
        self._receive = (forth if direction is None else back).mac[:size]
        self._size = size
        self.overhead = size + 8

    def seal(self, header: bytes, body: bytes, number: int, time: int) -> bytes:
        """Header, HMAC, packet id, time, body."""
        stamp = _LONG_ID.pack(number, time)
        return b"".join((header, hmac.digest(self._send, stamp + header + body, self._digest), stamp, body))

    def open(self, packet: bytes) -> tuple[int, int, bytes]:
        """Packet id, time and body after the HMAC was found right."""
        at = HEADER + self._size
        if len(packet) < at + 8:
            raise ProtocolError("control packet too short")
        stamp, body = packet[at : at + 8], packet[at + 8 :]
        right = hmac.digest(self._receive, stamp + packet[:HEADER] + body, self._digest)
        if not hmac.compare_digest(right, packet[HEADER:at]):
            raise ProtocolError("control packet not authentic")
        number, time = _LONG_ID.unpack(stamp)
        return number, time, body


class Crypt:
    """tls-crypt: a synthetic-IV encryption of the body under a static key."""

    overhead = 8 + TAG
    counted = True

    def __init__(self, key: bytes, *, server: bool) -> None:
        """`key` is a static key's 256 bytes; the client uses its two halves the other way round."""
        # The key's first half is the server's here, unlike a data key's (KEY_DIRECTION_NORMAL).
        self._send, self._receive = split(key, server=not server)

    def seal(self, header: bytes, body: bytes, number: int, time: int) -> bytes:
        """Header, packet id, time, tag, encrypted body."""
        head = header + _LONG_ID.pack(number, time)
        tag, encrypted = _siv(self._send, head, body)
        return b"".join((head, tag, encrypted))

    def open(self, packet: bytes) -> tuple[int, int, bytes]:
        """Packet id, time and body after the tag was found right."""
        at = HEADER + 8
        if len(packet) < at + TAG:
            raise ProtocolError("control packet too short")
        body = _siv_open(self._receive, packet[:at], packet[at : at + TAG], packet[at + TAG :])
        if body is None:
            raise ProtocolError("control packet not authentic")
        number, time = _LONG_ID.unpack_from(packet, HEADER)
        return number, time, body


def _siv(key: StaticDirection, head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Tag and ciphertext: HMAC-SHA256 of all, whose first half is the IV of AES-256-CTR."""
    tag = hmac.digest(key.mac[:32], head + body, "sha256")
    return tag, _ctr(key, tag, body)


def _siv_open(key: StaticDirection, head: bytes, tag: bytes, encrypted: bytes) -> bytes | None:
    body = _ctr(key, tag, encrypted)
    right = hmac.digest(key.mac[:32], head + body, "sha256")
    return body if hmac.compare_digest(right, tag) else None


def _ctr(key: StaticDirection, tag: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key.cipher[:32]), modes.CTR(tag[:16])).encryptor().update(data)


@dataclass(frozen=True, slots=True)
class AuthKey:
    """`--tls-auth`: a static key's 256 bytes, its direction and the digest that `--auth` names."""

    key: bytes = field(repr=False)
    direction: Literal[0, 1] | None = None
    digest: str = "SHA1"


@dataclass(frozen=True, slots=True)
class CryptKey:
    """`--tls-crypt`: a static key's 256 bytes."""

    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKey:
    """`--tls-crypt-v2` of a client: its 256 bytes of key, and the same as only the server can open it."""

    key: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerKey:
    """`--tls-crypt-v2` of a server: 128 bytes that open every client's wrapped key.

    `max_age` is in seconds (`--tls-crypt-v2-max-age` counts days), None for any.
    """

    key: bytes = field(repr=False)
    max_age: float | None = None


WrapKey = AuthKey | CryptKey | ClientKey | ServerKey | None


def codec(key: WrapKey, *, server: bool) -> WrapCodec:
    """The codec of a configured key; a tls-crypt-v2 server has one for each client only."""
    match key:
        case None:
            return Plain()
        case AuthKey(material, direction, digest):
            return Auth(material, direction, digest)
        case CryptKey(material) | ClientKey(material, _):
            return Crypt(material, server=server)
        case ServerKey():
            raise ValueError("a tls-crypt-v2 server's codec comes from a client's wrapped key")


def key_material(key: WrapKey) -> bytes:
    """The 256 bytes that a dynamic tls-crypt key is mixed with; empty if there is no wrapping."""
    match key:
        case AuthKey(material, _, _) | CryptKey(material) | ClientKey(material, _):
            return material
        case _:
            return b""


def dynamic(exported: bytes, material: bytes, *, server: bool) -> Crypt:
    """The codec of renegotiations: exported from TLS, mixed with the key that wrapped until then."""
    if material:
        exported = bytes(a ^ b for a, b in zip(exported, material, strict=True))
    return Crypt(exported, server=server)


class Wrapping:
    """A codec with the packet ids of one session: numbers what is sent, refuses what was seen before.

    `wrapped` is appended to the packets that carry a tls-crypt-v2 client key. `wall` gives the seconds since
    1970 for the caller's `now`.
    """

    def __init__(
        self, codec: WrapCodec, wall: Callable[[float], float], *, first: int = 0, wrapped: bytes = b""
    ) -> None:
        self.codec = codec
        self.wrapped = wrapped
        self._wall = wall
        self._number = first
        self._time: int | None = None
        self._replay = ReplayWindow(REPLAY_WINDOW, seconds=0)

    def seal(self, opcode: Opcode, header: bytes, body: bytes, now: float) -> bytes:
        """The next packet."""
        if self._time is None:
            self._time = int(self._wall(now)) & 0xFFFFFFFF
        self._number += 1
        packet = self.codec.seal(header, body, self._number, self._time)
        return packet + self.wrapped if opcode in WITH_WRAPPED_KEY else packet

    def open(self, packet: bytes) -> bytes:
        """The body of an authentic packet that was not seen before; `ProtocolError` for any other."""
        number, time, body = self.codec.open(packet)
        if self.codec.counted and self._replay.refuse(number, time, 0.0) is not None:
            raise ProtocolError("repeated control packet id")
        return body


class Unwrapped(NamedTuple):
    """A tls-crypt-v2 client key as its server reads it."""

    key: bytes
    metadata: bytes

    def __repr__(self) -> str:
        return "Unwrapped(…)"


def split_wrapped_key(packet: bytes) -> tuple[bytes, bytes]:
    """A packet without the wrapped client key at its end, and that key; `ProtocolError`."""
    length = int.from_bytes(packet[-2:], "big")
    if not TAG + KEY2 + 2 <= length <= MAX_WRAPPED_KEY or length > len(packet) - HEADER:
        raise ProtocolError("no wrapped client key")
    return packet[:-length], packet[-length:]


def wrap_client_key(server_key: bytes, client_key: bytes, metadata: bytes) -> bytes:
    """A client's 256 bytes of key and metadata as only the holder of `server_key`, 128 bytes, opens them."""
    if len(metadata) > MAX_METADATA:
        raise ValueError(f"metadata of {len(metadata)} bytes; at most {MAX_METADATA} fit")
    plain = client_key + metadata
    length = struct.pack(">H", TAG + len(plain) + 2)
    tag, encrypted = _siv(StaticDirection(server_key[:64], server_key[64:128]), length, plain)
    return tag + encrypted + length


def unwrap_client_key(server_key: bytes, wrapped: bytes) -> Unwrapped:
    """A wrapped client key opened; `ProtocolError` if another server key made it."""
    if not TAG + KEY2 + 2 <= len(wrapped) <= MAX_WRAPPED_KEY or len(wrapped) != int.from_bytes(
        wrapped[-2:], "big"
    ):
        raise ProtocolError("no wrapped client key")
    plain = _siv_open(
        StaticDirection(server_key[:64], server_key[64:128]), wrapped[-2:], wrapped[:TAG], wrapped[TAG:-2]
    )
    if plain is None:
        raise ProtocolError("wrapped client key not authentic")
    return Unwrapped(plain[:KEY2], plain[KEY2:])


def fresh_enough(metadata: bytes, max_age: float | None, unix_time: float) -> bool:
    """Whether a client key's time stamp (metadata type 1) is within `max_age` seconds."""
    if max_age is None:
        return True
    if len(metadata) < 9 or metadata[0] != 1:
        return False
    return unix_time - int.from_bytes(metadata[1:9], "big", signed=True) <= max_age


_SERVER_PEM = "OpenVPN tls-crypt-v2 server key"
_CLIENT_PEM = "OpenVPN tls-crypt-v2 client key"


def generate_server_key() -> bytes:
    """A new tls-crypt-v2 server key's file (`--genkey tls-crypt-v2-server`)."""
    return pem_file.build(_SERVER_PEM, secrets.token_bytes(128))


def generate_client_key(server_pem: bytes, unix_time: float, metadata: bytes | None = None) -> bytes:
    """A new tls-crypt-v2 client key's file for a server's; raises `ValueError`.

    `metadata` is free data of at most `MAX_METADATA - 1` bytes; without it the key carries its time.
    """
    server = parse_server_key(server_pem)
    data = b"\1" + struct.pack(">q", int(unix_time)) if metadata is None else b"\0" + metadata
    key = secrets.token_bytes(KEY2)
    return pem_file.build(_CLIENT_PEM, key + wrap_client_key(server.key, key, data))


def parse_server_key(pem: bytes) -> ServerKey:
    """A tls-crypt-v2 server key out of its file; raises `ValueError`."""
    raw = pem_file.parse(_SERVER_PEM, pem)
    if len(raw) != 128:
        raise ValueError(f"a tls-crypt-v2 server key has 128 bytes, not {len(raw)}")
    return ServerKey(raw)


def parse_client_key(pem: bytes) -> ClientKey:
    """A tls-crypt-v2 client key out of its file; raises `ValueError`."""
    raw = pem_file.parse(_CLIENT_PEM, pem)
    if not KEY2 + TAG + KEY2 + 2 <= len(raw) <= KEY2 + MAX_WRAPPED_KEY:
        raise ValueError(f"a tls-crypt-v2 client key cannot have {len(raw)} bytes")
    return ClientKey(raw[:KEY2], raw[KEY2:])
