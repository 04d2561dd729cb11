"""The epoch format of data packets that OpenVPN 2.7 brought: keys that follow from one another.

Each direction begins with a secret E_1; epoch n + 1's secret comes from epoch n's by HKDF-Expand-Label
(RFC 8446, section 7.1, with "ovpn " for "tls13 "), and so do an epoch's key and IV. A packet id has the epoch
in its upper 16 bits and a counter in its lower 48; the tag stands at the packet's end. Knows no session.
"""

from __future__ import annotations

import hmac
import struct
from collections import Counter

from tmelink.openvpn.data.aead import USAGE_LIMIT, AeadKeys, DirectionKey, Suite
from tmelink.openvpn.data.direction import StaticDirection
from tmelink.openvpn.data.replay import USUAL, Lateness

FUTURE = 4
"""Epochs ahead of the peer's current one whose packets are taken, as OpenVPN does."""

EPOCH_LIMIT = USAGE_LIMIT - (1 << 20)
"""The usage at which an epoch ends, early enough for packets that are not looked at one by one."""

WORN_EPOCH = 0xF000
"""The epoch at which a renegotiation is due (OpenVPN's ssl.c)."""

LAST_EPOCH = 0xFFFF - FUTURE - 1
"""The last epoch that a peer is followed to; a renegotiation comes long before it."""

LAST_COUNT = (1 << 48) - 1
"""The last packet of an epoch."""


def expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with SHA-256, OpenVPN's prefix and an empty context."""
    name = b"ovpn " + label
    info = struct.pack(">HB", length, len(name)) + name + b"\0"
    out, block = bytearray(), b""
    while len(out) < length:
        block = hmac.digest(secret, block + info + bytes((len(out) // 32 + 1,)), "sha256")
        out += block
    return bytes(out[:length])


class _Epochs:
    """The chain of one direction's secrets, from which each epoch's key is made once."""

    def __init__(self, suite: Suite, direction: StaticDirection, window: Lateness) -> None:
        self._suite = suite
        self._window = window
        self._secret = direction.cipher[:32]
        self.epoch = 1

    def key(self) -> DirectionKey:
        """The key of the current epoch."""
        return DirectionKey(
            self._suite,
            expand_label(self._secret, b"data_key", self._suite.key_bytes),
            expand_label(self._secret, b"data_iv", 12),
            id_bytes=8,
            base=self.epoch << 48,
            window=self._window,
        )

    def advance(self) -> DirectionKey:
        """The key of the next epoch, which becomes the current one."""
        self._secret = expand_label(self._secret, b"datakey upd", 32)
        self.epoch += 1
        return self.key()


class EpochKeys(AeadKeys):
    """Both directions of one key negotiation in the epoch format."""

    tag_first = False
    id_bytes = 8
    last_id = LAST_COUNT

    def __init__(
        self,
        suite: Suite,
        send: StaticDirection,
        receive: StaticDirection,
        drops: Counter[str],
        *,
        window: Lateness = USUAL,
    ) -> None:
        self._sending_epochs = _Epochs(suite, send, window)
        self._receiving_epochs = _Epochs(suite, receive, window)
        super().__init__(suite, send, receive, drops, window=window)
        self._send = self._sending_epochs.key()
        self._receive = self._receiving_epochs.key()
        self._receive_epoch = 1
        self._retired: DirectionKey | None = None
        self._future: dict[int, DirectionKey] = {}
        self._look_ahead()

    def needs_rekey(self) -> bool:
        """Whether new keys are due: the epochs come to their end."""
        return self._sending_epochs.epoch >= WORN_EPOCH

    def age(self, now: float) -> None:
        """Time passes, for the epoch before too."""
        super().age(now)
        if self._retired is not None:
            self._retired.age(now)

    def _look_ahead(self) -> None:
        """Keep the keys of the next epochs ready, so that a packet of one costs no more than any other."""
        self._future = {
            epoch: direction_key
            for epoch, direction_key in self._future.items()
            if epoch > self._receive_epoch
        }
        while self._receiving_epochs.epoch < self._receive_epoch + FUTURE:
            direction_key = self._receiving_epochs.advance()
            self._future[self._receiving_epochs.epoch] = direction_key

    def sending(self) -> DirectionKey:
        """The sending key, which moves on where it or the peer's has seen enough."""
        send, receive = self._send, self._receive
        if self._sending_epochs.epoch >= 0xFFFF:
            return send
        tired = self.limited and send.usage(send.number) > EPOCH_LIMIT
        if not tired and send.base == receive.base:
            tired = self.limited and receive.usage(receive.window.top) > EPOCH_LIMIT
        if tired or send.number >= LAST_COUNT:
            self._send = self._sending_epochs.advance()
        return self._send

    def receiving(self, number: int) -> DirectionKey | None:
        """The key of a packet id's epoch, or None if that is too old or too far ahead."""
        epoch = number >> 48
        if epoch == self._receive_epoch:
            return self._receive
        if self._retired is not None and number & ~LAST_COUNT == self._retired.base:
            return self._retired
        return self._future.get(epoch) if epoch <= LAST_EPOCH else None

    def opened(self, direction_key: DirectionKey) -> None:
        """The peer has moved on to a later epoch: follow it, sending in no earlier one."""
        if direction_key.base <= self._receive.base:
            return
        self._retired, self._receive = self._receive, direction_key
        self._receive_epoch = direction_key.base >> 48
        self._look_ahead()
        while self._sending_epochs.epoch < self._receive_epoch:
            self._send = self._sending_epochs.advance()
