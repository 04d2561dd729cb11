"""Data packets under a block cipher and an HMAC, as OpenVPN sealed them before there was AEAD.

Behind the head (opcode and key id, in P_DATA_V2 with the peer id, neither of them authenticated)::

    HMAC | IV (16) | CBC( packet id (4) | frame | padding )      with a cipher
    HMAC | packet id (4) | frame                                 with cipher "none"

The HMAC covers all that follows it and is compared before anything is decrypted. Knows no session. A peer
chooses this only where its `--data-ciphers` lists such a cipher.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC

from tmelink.frame import Frame, Run
from tmelink.openvpn.data.aead import LAST_ID, WORN_ID, runs
from tmelink.openvpn.data.direction import StaticDirection
from tmelink.openvpn.data.replay import USUAL, Ages, Lateness
from tmelink.openvpn.data.static import BLOCK, CIPHERS, DIGESTS, digest_name, digest_size
from tmelink.openvpn.data.window import Window
from tmelink.openvpn.session import Item

ID: Final = 4
"""Bytes of a packet id: TLS keys are new for each session, so the id needs no time."""

_PADDING: Final = tuple(bytes((count,)) * count for count in range(BLOCK + 1))


class CbcKeys:
    """Both directions of one key negotiation; the same face as `AeadKeys`.

    `cipher` and `auth` are names of `static`; `ValueError` for others. `drops` counts, by reason, the packets
    that are not opened.
    """

    def __init__(
        self,
        cipher: str,
        auth: str,
        send: StaticDirection,
        receive: StaticDirection,
        drops: Counter[str],
        *,
        window: Lateness = USUAL,
    ) -> None:
        size = CIPHERS[cipher]
        auth = digest_name(auth)
        self._mac_size = digest_size(auth)
        self._sign = _hmac(send.mac, auth)
        self._verify = _hmac(receive.mac, auth)
        # One context for all packets: what a random first block encrypts to is the IV, as random as it.
        zero = modes.CBC(bytes(BLOCK))
        self._encryptor = self._decryptor = None
        if size:
            self._encryptor = Cipher(algorithms.AES(send.cipher[:size]), zero).encryptor()
            self._decryptor = Cipher(algorithms.AES(receive.cipher[:size]), zero).decryptor()
        self._number = 0
        self._window = Window(window.ids)
        self._ages = Ages(window.seconds)
        self._drops = drops

    @property
    def overhead(self) -> int:
        """Bytes that a packet adds to its frame at most, beside the head."""
        return self._mac_size + ID + (2 * BLOCK if self._encryptor is not None else 0)

    def needs_rekey(self) -> bool:
        """Whether new keys are due."""
        return self._number >= WORN_ID

    def max_payload(self, room: int) -> int:
        """The longest frame whose packet, without its head, takes no more than `room` bytes."""
        room -= self._mac_size
        if self._encryptor is not None:
            room = (room - BLOCK) // BLOCK * BLOCK - 1
        return room - ID

    def seal(self, head: bytes, skip: int, frames: Sequence[Item]) -> list[Item]:
        """Packets out of frames, equal-sized ones in runs; `skip` is of no account here."""
        sealed: list[Item] = []
        for group in runs(frames, len(head) + self.overhead):
            if self._number + len(group) > LAST_ID:
                self._drops["packet ids used up"] += len(group)
                continue
            packets = [self._seal(head, frame) for frame in group]
            if len(packets) == 1:
                sealed += packets
            else:
                sealed.append(Run(memoryview(b"".join(packets)), len(packets[0])))
        return sealed

    def _seal(self, head: bytes, frame: Frame) -> bytes:
        self._number += 1
        body = b"".join((self._number.to_bytes(ID, "big"), frame))
        if self._encryptor is not None:
            padding = _PADDING[BLOCK - len(body) % BLOCK]
            body = self._encryptor.update(b"".join((secrets.token_bytes(BLOCK), body, padding)))
        if self._sign is None:
            return head + body
        mac = self._sign.copy()
        mac.update(body)
        return b"".join((head, mac.finalize(), body))

    def age(self, now: float) -> None:
        """Time has passed: packets that came in the meantime are told from those too late."""
        self._window.floor = self._ages.floor(self._window.top, now)

    def open_each(self, at: int, skip: int, packets: Sequence[Frame]) -> list[Item]:
        """The frames of packets whose heads are `at` bytes; counts the others by reason."""
        opened = (self._open(at, packet) for packet in packets)
        return [frame for frame in opened if frame is not None]

    def open_run(self, at: int, skip: int, run: Run) -> list[Item]:
        """The frames of a run of packets."""
        return self.open_each(at, skip, run.pieces())

    def _open(self, at: int, packet: Frame) -> Frame | None:
        begin = at + self._mac_size
        body = memoryview(packet)[begin:]
        least = ID if self._decryptor is None else 2 * BLOCK
        if len(body) < least or (self._decryptor is not None and len(body) % BLOCK):
            self._drops["data packet too short"] += 1
            return None
        if self._verify is not None:
            mac = self._verify.copy()
            mac.update(body)
            if not compare_digest(mac.finalize(), packet[at:begin]):
                self._drops["not authentic"] += 1
                return None
        plain: Frame = body
        if self._decryptor is not None:
            plain = self._decryptor.update(body)
            padding = plain[-1]
            if not 0 < padding <= BLOCK or plain[-padding:] != _PADDING[padding]:
                self._drops["bad padding"] += 1
                return None
            plain = memoryview(plain)[BLOCK:-padding]
        if len(plain) <= ID:
            self._drops["data packet too short"] += 1
            return None
        if not self._window.accept(int.from_bytes(plain[:ID], "big")):
            self._drops["repeated packet"] += 1
            return None
        return plain[ID:]


def _hmac(key: bytes, name: str) -> HMAC | None:
    digest = DIGESTS[name]
    return HMAC(key[: digest.digest_size], digest) if digest is not None else None
