"""Datagrams under a static key (--secret): HMAC, CBC and packet ids in their long form.

Knows the layout that OpenVPN 2.6 uses without TLS::

    HMAC | IV (16) | CBC( packet id (4) | time (4) | payload | padding )      with a cipher
    HMAC | packet id (4) | time (4) | payload                                 with --cipher none

The HMAC covers all that follows it and is compared before anything is decrypted. Does not know what a
payload is.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC

from tmelink.frame import Frame, Run
from tmelink.openvpn.data.replay import OLD_SEQUENCE, ReplayWindow
from tmelink.openvpn.keys import KeyDirection, direction_keys
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.session import Item

CIPHERS: Final = {"AES-128-CBC": 16, "AES-192-CBC": 24, "AES-256-CBC": 32, "none": 0}
"""Names and key sizes in bytes."""

DIGESTS: Final[dict[str, hashes.HashAlgorithm | None]] = {
    "SHA1": hashes.SHA1(),
    "SHA224": hashes.SHA224(),
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
    "SHA512-224": hashes.SHA512_224(),
    "SHA512-256": hashes.SHA512_256(),
    "SHA3-224": hashes.SHA3_224(),
    "SHA3-256": hashes.SHA3_256(),
    "SHA3-384": hashes.SHA3_384(),
    "SHA3-512": hashes.SHA3_512(),
    "BLAKE2b512": hashes.BLAKE2b(64),
    "BLAKE2s256": hashes.BLAKE2s(32),
    "MD5": hashes.MD5(),
    "none": None,
}

BLOCK: Final = 16
ID_BYTES: Final = 8
"""A packet id in its long form: a number and the Unix time at which its sequence began."""

LAST_ID: Final = 0xFFFFFFFF
"""After it, a sequence begins again under a later time."""

OutdatedPackets = Callable[[int, int, Frame, float], None]
"""Is given each authentic packet of an old sequence: packet id, time stamp, payload and the present time."""

_PADDING: Final = tuple(bytes((count,)) * count for count in range(BLOCK + 1))
_ID: Final = struct.Struct(">II")


def cipher_name(name: str) -> str:
    """The cipher as this module spells it; raises `ValueError` for one that static keys do not take."""
    for known in CIPHERS:
        if known.upper() == name.upper():
            return known
    raise ValueError(
        f"cipher {name} is not for static keys here; write one of {', '.join(CIPHERS)}, the same at both ends"
    )


def digest_name(name: str) -> str:
    """The HMAC's hash as this module spells it; raises `ValueError` for one it does not know."""
    for known in DIGESTS:
        if known.upper() == name.upper().replace("SHA-", "SHA"):
            return known
    raise ValueError(
        f"auth {name} is not known here; write one of {', '.join(DIGESTS)}, the same at both ends"
    )


def digest_size(name: str) -> int:
    """Bytes of the HMAC, 0 for none."""
    digest = DIGESTS[name]
    return digest.digest_size if digest is not None else 0


class StaticKey:
    """Seals and opens under one static key; `seal` uses a packet id once, `open` takes each once.

    `unix_time` is when this sequence of packet ids begins and must be later than that of any earlier one
    under the same key, or the peer takes its packets for replays.
    """

    def __init__(
        self,
        key: Secret,
        direction: KeyDirection | None,
        *,
        cipher: str,
        auth: str,
        random: Callable[[int], bytes],
        unix_time: int,
        window: ReplayWindow,
        drops: Counter[str],
        outdated: OutdatedPackets | None = None,
    ) -> None:
        if unix_time <= 0:
            raise ValueError("packet ids of a static key need the Unix time")
        sending, receiving = direction_keys(key, direction)
        key_size = CIPHERS[cipher]
        self._mac_size = digest_size(auth)
        self._sign = _hmac(sending.hmac, auth)
        self._verify = _hmac(receiving.hmac, auth)
        # CBC with a random block before the plaintext: what that block encrypts to serves as the IV, which
        # is as random, and one context lasts for all packets. Opening ignores the block too.
        zero = modes.CBC(bytes(BLOCK))
        self._encryptor = None
        self._decryptor = None
        if key_size:
            self._encryptor = Cipher(algorithms.AES(sending.cipher[:key_size]), zero).encryptor()
            self._decryptor = Cipher(algorithms.AES(receiving.cipher[:key_size]), zero).decryptor()
        self._random = random
        self._begun = unix_time
        self._time = unix_time
        self._id = 0
        self._window = window
        self._outdated = outdated
        self._drops = drops
        self._shortest = self._mac_size + (2 * BLOCK if key_size else ID_BYTES)

    def seal(self, payloads: Sequence[Frame], elapsed: float) -> list[Item]:
        """Datagrams of the payloads, one Run where they come out equally long.

        `elapsed` is seconds since `unix_time`. Each packet is encrypted in place behind its HMAC, all of
        them in one buffer.
        """
        encryptor, sign, mac_size = self._encryptor, self._sign, self._mac_size
        header = mac_size + ID_BYTES
        if encryptor is None:
            sizes = [header + len(payload) for payload in payloads]
        else:
            header += BLOCK
            sizes = [
                header + len(payload) + BLOCK - (ID_BYTES + len(payload)) % BLOCK for payload in payloads
            ]
            ivs = self._random(BLOCK * len(payloads))
        # update_into wants room for one more block than it writes
        buffer = memoryview(bytearray(sum(sizes) + BLOCK))
        items: list[Item] = []
        at = 0
        for index, payload in enumerate(payloads):
            packet_id = self._next_id(elapsed)
            body, end = at + mac_size, at + sizes[index]
            if encryptor is None:
                buffer[body:end] = b"".join((packet_id, payload))
            else:
                padding = _PADDING[BLOCK - (ID_BYTES + len(payload)) % BLOCK]
                iv = ivs[index * BLOCK : (index + 1) * BLOCK]
                encryptor.update_into(b"".join((iv, packet_id, payload, padding)), buffer[body:])
            if sign is not None:
                mac = sign.copy()
                mac.update(buffer[body:end])
                buffer[at:body] = mac.finalize()
            items.append(buffer[at:end])
            at = end
        if len(items) > 1 and _equal(sizes):
            return [Run(buffer[:at], sizes[0])]
        return items

    def open(self, datagrams: Sequence[Frame], now: float) -> list[Frame]:
        """The payloads of the datagrams that are authentic and new; the others are counted as drops."""
        decryptor, verify, mac_size = self._decryptor, self._verify, self._mac_size
        shortest, drops = self._shortest, self._drops
        # update_into wants room for one more block than it writes
        room = sum(map(len, datagrams)) + BLOCK if decryptor is not None else 0
        buffer = memoryview(bytearray(room))
        payloads: list[Frame] = []
        at = 0
        for datagram in datagrams:
            size = len(datagram)
            if size < shortest:
                drops["too short"] += 1
                continue
            view = memoryview(datagram)
            body = view[mac_size:]
            if verify is not None:
                mac = verify.copy()
                mac.update(body)
                if not compare_digest(mac.finalize(), view[:mac_size]):
                    drops["bad hmac"] += 1
                    continue
            if decryptor is None:
                plain = body
            else:
                size -= mac_size
                if size % BLOCK:
                    drops["bad packet"] += 1
                    continue
                decryptor.update_into(body, buffer[at:])
                end = at + size
                padding = buffer[end - 1]
                if not 0 < padding <= BLOCK or buffer[end - padding : end] != _PADDING[padding]:
                    drops["bad packet"] += 1
                    continue
                plain = buffer[at + BLOCK : end - padding]
                at = end
                if len(plain) < ID_BYTES:
                    drops["bad packet"] += 1
                    continue
            packet_id, time = _ID.unpack_from(plain)
            refused = self._window.refuse(packet_id, time, now)
            if refused is not None:
                drops[refused] += 1
                if refused == OLD_SEQUENCE and self._outdated is not None:
                    self._outdated(packet_id, time, plain[ID_BYTES:], now)
                continue
            payloads.append(plain[ID_BYTES:])
        return payloads

    def _next_id(self, elapsed: float) -> bytes:
        if self._id == LAST_ID:
            self._id = 0
            self._time = max(self._time + 1, self._begun + int(elapsed))
        self._id += 1
        return _ID.pack(self._id, self._time)


def _hmac(key: bytes, name: str) -> HMAC | None:
    digest = DIGESTS[name]
    return HMAC(key[: digest.digest_size], digest) if digest is not None else None


def _equal(sizes: list[int]) -> bool:
    *rest, last = sizes
    return last <= rest[0] and rest.count(rest[0]) == len(rest)
