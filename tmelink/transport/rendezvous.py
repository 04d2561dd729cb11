"""A rendezvous: joins two ends of a link that can both call it, and neither the other; no I/O.

Each end registers with a STUN request under the key of its link, and repeats it, so that NATs on its path
keep its mapping. The answer has the address of the other end, for hole punching (RFC 5128, section 3.3). All
other datagrams of an end go to the other end as they are: this side has no key to read them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tmelink.frame import Frame
from tmelink.transport.datagrams import Address
from tmelink.transport.stun import (
    STALE_NONCE,
    TRANSACTION,
    StunAttribute,
    StunKind,
    StunMessage,
    address_value,
    decode,
)

PORT = 3478
"""STUN's (RFC 8489, section 8.1)."""

KEY_BYTES = 32
REGISTERED_SECONDS = 60.0
"""How long a registration holds: four times as long as an end takes to repeat it."""

NONCE_SECONDS = 60.0
"""An end may use a nonce for so long, and as long again; what was recorded proves nothing afterwards."""

RendezvousRole = Literal["client", "server"]
"""The ends of a link are told apart by who begins TLS."""

StunDatagram = tuple[bytes, Address]
"""A message and where it goes."""


def key_name(key: bytes) -> str:
    """What a key is called on the wire; says nothing of the key."""
    return hashlib.sha256(b"tmelink rendezvous" + key).hexdigest()[:16]


def read_key(text: bytes) -> bytes:
    """The key in a file: 64 hexadecimal digits. Raises `ValueError`."""
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except (UnicodeDecodeError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"not a rendezvous key, which is {KEY_BYTES * 2} hexadecimal digits on one line")
    return key


@dataclass(slots=True)
class _End:
    address: Address
    until: float


class Registrations:
    """Who has registered. `drops` counts by reason what was not taken.

    `token` makes random bytes, so that a test can have its own.
    """

    def __init__(self, keys: Iterable[bytes], token: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self.drops: Counter[str] = Counter()
        self.joined: dict[Address, Address] = {}
        """The address of the other end, for each end whose other end has registered too."""
        self._keys = {key_name(key): key for key in keys}
        self._ends: dict[tuple[str, str], _End] = {}
        self._known: set[Address] = set()
        self._token = token
        self._secret = token(KEY_BYTES)

    def renew(self, keys: Iterable[bytes]) -> None:
        """Take other keys. Who has registered stays for its time, and registers again under the new key."""
        self._keys = {key_name(key): key for key in keys}

    @property
    def links(self) -> int:
        """Links that may register."""
        return len(self._keys)

    def knows(self, address: Address) -> bool:
        """Whether an end has registered from there."""
        return address in self._known

    def receive(self, data: Frame, address: Address, now: float) -> list[StunDatagram]:
        """Take a message that is STUN by its first byte; returns what to send."""
        message = decode(data)
        name, _, role = (
            ("", "", "") if message is None else message.text(StunAttribute.USERNAME).partition(":")
        )
        key = self._keys.get(name)
        if message is None or message.kind != StunKind.REQUEST or role not in ("client", "server"):
            self.drops["bad registration"] += 1
            return []
        if key is None or not message.is_authentic(key):
            self.drops["unknown rendezvous key"] += 1
            return []
        transaction = message.transaction
        if message.attributes.get(StunAttribute.NONCE) not in self._nonces(address, now):
            nonce = self._nonces(address, now)[0]
            attributes = {StunAttribute.ERROR_CODE: STALE_NONCE, StunAttribute.NONCE: nonce}
            return [(StunMessage(StunKind.ERROR, transaction, attributes).encode(key), address)]
        self.tick(now)
        before = self._ends.get((name, role))
        self._ends[name, role] = _End(address, now + REGISTERED_SECONDS)
        other = self._ends.get((name, "server" if role == "client" else "client"))
        attributes = {StunAttribute.XOR_MAPPED_ADDRESS: address_value(address[:2], transaction)}
        if other is not None:
            attributes[StunAttribute.XOR_PEER_ADDRESS] = address_value(other.address[:2], transaction)
        sent = [(StunMessage(StunKind.SUCCESS, transaction, attributes).encode(key), address)]
        if before is None or before.address != address:
            self._join()
            if other is not None:
                fresh = self._token(TRANSACTION)
                told = {StunAttribute.XOR_PEER_ADDRESS: address_value(address[:2], fresh)}
                sent.append((StunMessage(StunKind.INDICATION, fresh, told).encode(key), other.address))
        return sent

    def tick(self, now: float) -> None:
        """Forget ends that have been silent."""
        over = [key for key, end in self._ends.items() if end.until <= now]
        for key in over:
            del self._ends[key]
        if over:
            self._join()

    def deadline(self) -> float | None:
        """When `tick` has something to do; None if nobody has registered."""
        return min((end.until for end in self._ends.values()), default=None)

    def _join(self) -> None:
        self._known = {end.address for end in self._ends.values()}
        self.joined = {}
        for (name, role), end in self._ends.items():
            other = self._ends.get((name, "server" if role == "client" else "client"))
            if other is not None:
                self.joined[end.address] = other.address

    def _nonces(self, address: Address, now: float) -> list[bytes]:
        """Those of an address that hold now, the one to be given out first."""
        period = int(now / NONCE_SECONDS)
        return [
            hmac.digest(self._secret, repr((address, each)).encode(), hashlib.sha256)[:16]
            for each in (period, period - 1)
        ]
