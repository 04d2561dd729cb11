"""Records under AEAD keys: one tag over a whole super-frame, which travels in slices.

A record takes the next packet id of its key, as a packet does, so that no nonce is used twice, and passes
the same replay window. The tag stands at its end in both formats. Knows neither sockets nor sessions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag

from tmelink.frame import Run
from tmelink.openvpn.data import slices
from tmelink.openvpn.data.aead import MAX_FAILURES, TAG, AeadKeys
from tmelink.openvpn.data.slices import HEADER, Joined

PACKET: Final = 4 + 8 + TAG
"""Bytes that a packet of its own adds to a frame: head, packet id, tag; 4 less outside the epoch format."""

SLICE: Final = 4 + 8 + HEADER
"""Bytes that come before a slice; 4 less outside the epoch format."""


class Record(NamedTuple):
    """A payload that is sealed as one, and cut into slices of `room` bytes."""

    payload: bytes
    room: int


def seal(keys: AeadKeys, head: bytes, record: Record) -> Run | None:
    """The slices of a record, as one run of datagrams; None, counted, if its key seals no more."""
    payload, room = record
    direction_key = keys.sending()
    size = len(payload) + TAG
    if direction_key.number >= keys.last_id:
        keys.drops["packet ids used up"] += slices.count(size, room)
        return None
    direction_key.number += 1
    direction_key.blocks += (len(payload) + 15) >> 4
    number = direction_key.base | direction_key.number
    identity = head + number.to_bytes(keys.id_bytes, "big")
    nonce = (number ^ direction_key.xor).to_bytes(keys.id_bytes, "big") + direction_key.tail
    sealed = direction_key.aead.encrypt(nonce, payload, slices.aad(identity, size, room))
    return slices.cut(identity, sealed, room)


def open(keys: AeadKeys, at: int, record: Joined) -> bytes | None:
    """The payload of a record whose packet id begins at `at`; None, counted, if it is not to be taken."""
    aad, sealed, count = record
    number = int.from_bytes(aad[at : at + keys.id_bytes], "big")
    direction_key = keys.receiving(number)
    if direction_key is None:
        keys.drops["unknown epoch"] += count
        return None
    if keys.limited and direction_key.failures >= MAX_FAILURES:
        keys.drops["too many forgeries"] += count
        return None
    nonce = (number ^ direction_key.xor).to_bytes(keys.id_bytes, "big") + direction_key.tail
    try:
        payload = direction_key.aead.decrypt(nonce, sealed, aad)
    except InvalidTag:
        direction_key.failures += 1
        keys.drops["not authentic"] += count
        return None
    keys.opened(direction_key)
    if not direction_key.window.accept(number - direction_key.base):
        keys.drops["repeated packet"] += count
        return None
    direction_key.blocks += (len(payload) + 15) >> 4
    return payload
