"""Key method 2: the message in which two ends give each other key sources, and the keys made of them.

Both directions' data keys come from these sources through TLS 1.0's pseudo-random function (RFC 2246,
section 5), or straight from the TLS session through its keying-material exporter (RFC 5705). Knows nothing
of ciphers: keys here are OpenVPN's `key2`, two times 64 bytes for a cipher and 64 for a MAC.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass, field

from tmelink.errors import ProtocolError

EXPORTER_DATA_KEYS = b"EXPORTER-OpenVPN-datakeys"
EXPORTER_PEER_ID = b"EXPORTER-OpenVPN-p2p-peerid"
EXPORTER_DYNAMIC_TLS_CRYPT = b"EXPORTER-OpenVPN-dynamic-tls-crypt"

KEY2 = 256
"""Bytes of the key material for both directions."""

MAX_STRING = 8192
"""A string of a key-method message is refused beyond this; a peer's options and info stay far below."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """One end's randomness: `pre_master` 48 bytes from the client, empty from the server; two of 32."""

    pre_master: bytes = field(repr=False)
    random1: bytes = field(repr=False)
    random2: bytes = field(repr=False)

    @classmethod
    def random(cls, *, server: bool) -> KeySource:
        """A fresh source for this end."""
        return cls(
            b"" if server else secrets.token_bytes(48), secrets.token_bytes(32), secrets.token_bytes(32)
        )


@dataclass(frozen=True, slots=True)
class Message:
    """A key method 2 message; empty strings stand for absent ones, secrets stay out of `repr`."""

    source: KeySource
    options: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    peer_info: str = ""

    def without_secrets(self) -> Message:
        """What may be kept once keys are made of it."""
        return Message(KeySource(b"", b"", b""), self.options, self.username, "", self.peer_info)


def _string(text: str) -> bytes:
    """A string as these messages carry it: length with its NUL in two bytes, text, NUL; or length 0."""
    if not text:
        return b"\0\0"
    raw = text.encode("utf-8", "surrogateescape") + b"\0"
    return struct.pack(">H", len(raw)) + raw


def build(message: Message) -> bytes:
    """The message's bytes for the TLS stream."""
    source = message.source
    return b"".join(
        (
            b"\0\0\0\0\x02",
            source.pre_master,
            source.random1,
            source.random2,
            _string(message.options),
            _string(message.username),
            _string(message.password),
            _string(message.peer_info),
        )
    )


def parse(data: bytes, *, from_client: bool) -> tuple[Message, bytes] | None:
    """A message and what follows it in the stream, or None while it is not complete.

    The strings after the options are absent from old peers: at the end of `data` they count as empty.
    Raises `ProtocolError`.
    """
    fixed = 5 + (48 if from_client else 0) + 64
    if len(data) < fixed + 2:
        return None
    if data[4] & 0x0F != 2:
        raise ProtocolError("not key method 2")
    at = 5
    pre_master = data[at : at + 48] if from_client else b""
    at += len(pre_master)
    source = KeySource(pre_master, data[at : at + 32], data[at + 32 : at + 64])
    at = fixed
    strings: list[str] = []
    for index in range(4):
        if index and at == len(data):
            strings.append("")
            continue
        if len(data) < at + 2:
            return None
        (length,) = struct.unpack_from(">H", data, at)
        if length > MAX_STRING:
            raise ProtocolError("key method string too long")
        at += 2
        if len(data) < at + length:
            return None
        raw = data[at : at + length]
        at += length
        strings.append(raw.rstrip(b"\0").decode("utf-8", "surrogateescape"))
    options, username, password, peer_info = strings
    return Message(source, options, username, password, peer_info), data[at:]


def _p_hash(algorithm: str, secret: bytes, seed: bytes, length: int) -> bytes:
    """P_hash of RFC 2246, section 5."""
    out = bytearray()
    a = seed
    while len(out) < length:
        a = hmac.digest(secret, a, algorithm)
        out += hmac.digest(secret, a + seed, algorithm)
    return bytes(out[:length])


def prf(secret: bytes, seed: bytes, length: int) -> bytes:
    """TLS 1.0's pseudo-random function: P_MD5 of one half of the secret xor P_SHA1 of the other."""
    direction_key = (len(secret) + 1) // 2
    md5 = _p_hash("md5", secret[:direction_key], seed, length)
    sha1 = _p_hash("sha1", secret[-direction_key:], seed, length)
    return bytes(a ^ b for a, b in zip(md5, sha1, strict=True))


def expand(client: KeySource, server: KeySource, client_session: bytes, server_session: bytes) -> bytes:
    """The 256 bytes of both directions' keys out of both ends' sources and session ids."""
    master = prf(client.pre_master, b"OpenVPN master secret" + client.random1 + server.random1, 48)
    seed = b"OpenVPN key expansion" + client.random2 + server.random2 + client_session + server_session
    return prf(master, seed, KEY2)
