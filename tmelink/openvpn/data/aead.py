"""Data packets under AES-GCM and ChaCha20-Poly1305, many at a time.

A data packet is a head (opcode and key id, in P_DATA_V2 with the peer id), a packet id, and the encrypted
frame with its tag: the tag before the ciphertext in OpenVPN's usual format, behind it in the epoch format of
2.7. Frames of one size travel as a `Run`: numpy lays out ids and nonces and moves the tags of a whole run
at once, so that one call of the cipher is nearly all that a frame costs. Knows no session and no time.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from numpy.typing import NDArray

from tmelink.frame import Frame, Run
from tmelink.openvpn.data.direction import StaticDirection
from tmelink.openvpn.data.replay import USUAL, Ages, Lateness
from tmelink.openvpn.data.window import CountingWindow, Window
from tmelink.openvpn.session import Item

TAG = 16
"""Bytes of an authentication tag."""

LAST_ID = 0xFFFFFFFF
"""The last packet id; a key that has come so far sends no more."""

WORN_ID = 0xFF000000
"""The packet id at which new keys are due (PACKET_ID_WRAP_TRIGGER)."""

USAGE_LIMIT = (1 << 36) - 1
"""Blocks and packets that one AES-GCM key may see (draft-irtf-cfrg-aead-limits, for 2^-57)."""

WORN_USAGE = USAGE_LIMIT // 8 * 7
"""The usage at which new keys are due, early enough for a negotiation to finish."""

MAX_FAILURES = 1 << 36
"""Packets that may fail to authenticate under one AES-GCM key before it opens no more (the same draft)."""

LOOK = 0xFF
"""Of 256 packets that come or go alone, the one whose id has these bits clear takes the long way past all
counters and limits, none of which is so near."""

AGE_SECONDS = 0.25
"""Between two looks at the time for packets that come alone: no --replay-window minds."""

RUN = 8
"""Frames of one size from which on a run costs less than one by one; measured with 1400 bytes."""

MAX_RUN = 65507
"""Bytes of one sealed run at most: what one UDP send with UDP_SEGMENT takes."""

MAX_PIECES = 64
"""Packets of one sealed run at most (UDP_MAX_SEGMENTS of Linux before 6.9)."""


class Suite(NamedTuple):
    """An AEAD cipher by OpenVPN's name: bytes of its key, and whether the usage limit concerns it."""

    name: str
    key_bytes: int
    limited: bool


SUITES = {
    suite.name: suite
    for suite in (
        Suite("AES-256-GCM", 32, True),
        Suite("AES-192-GCM", 24, True),
        Suite("AES-128-GCM", 16, True),
        Suite("CHACHA20-POLY1305", 32, False),
    )
}


class DirectionKey:
    """The key of one direction with its counters.

    `iv` is twelve bytes, over the first of which the packet id is laid by exclusive or; `id_bytes` is 4, or
    8 in the epoch format, where `base` holds the epoch in the id's upper 16 bits.
    """

    __slots__ = (
        "aead",
        "aged",
        "ages",
        "base",
        "blocks",
        "failures",
        "id_bytes",
        "iv",
        "iv_array",
        "number",
        "tail",
        "window",
        "xor",
    )

    def __init__(
        self,
        suite: Suite,
        key: bytes,
        iv: bytes,
        *,
        id_bytes: int = 4,
        base: int = 0,
        window: Lateness = USUAL,
    ) -> None:
        self.aead = ChaCha20Poly1305(key) if suite.name.startswith("CHACHA") else AESGCM(key)
        self.id_bytes = id_bytes
        self.base = base
        self.iv = iv
        self.iv_array = np.frombuffer(iv, np.uint8)
        self.xor = int.from_bytes(iv[:id_bytes], "big")
        self.tail = iv[id_bytes:]
        self.number = 0
        self.blocks = 0
        self.failures = 0
        self.window = (
            Window(window.ids) if window.arrivals is None else CountingWindow(window.ids, window.arrivals)
        )
        self.ages = Ages(window.seconds)
        self.aged = 0.0

    def nonces(self, ids: NDArray[np.uint8]) -> tuple[bytes, ...]:
        """The nonces of rows of packet ids."""
        rows = np.empty((len(ids), 12), np.uint8)
        rows[:] = self.iv_array
        rows[:, : self.id_bytes] ^= ids
        return _cutter(12, len(ids)).unpack(rows.data)

    def age(self, now: float) -> None:
        """Before packets are opened: what was overtaken too long ago is taken no more."""
        self.aged = now
        self.window.floor = self.ages.floor(self.window.top, now)

    def usage(self, highest: int) -> int:
        """What the usage limit counts: blocks and packets."""
        return self.blocks + highest


@lru_cache(maxsize=256)
def _cutter(size: int, count: int) -> struct.Struct:
    """Cuts `count` stretches of `size` bytes; both few: sizes of nonces and heads, up to a run's pieces."""
    return struct.Struct(f"{size}s" * count)


def _blocks(size: int) -> int:
    return (size + 15) // 16


def seal_each(
    direction_key: DirectionKey, head: bytes, skip: int, frames: Sequence[Frame], *, tag_first: bool
) -> list[bytes]:
    """Packets one by one; `head` goes before the id, and all but its first `skip` bytes are authenticated."""
    packets = []
    encrypt, id_bytes, xor, tail = (
        direction_key.aead.encrypt,
        direction_key.id_bytes,
        direction_key.xor,
        direction_key.iv[direction_key.id_bytes :],
    )
    number = direction_key.base | direction_key.number
    for frame in frames:
        number += 1
        full = head + number.to_bytes(id_bytes, "big")
        sealed = encrypt(
            (number ^ xor).to_bytes(id_bytes, "big") + tail, frame, full[skip:] if skip else full
        )
        if tag_first:
            packets.append(b"".join((full, sealed[-TAG:], sealed[:-TAG])))
        else:
            packets.append(full + sealed)
    direction_key.number += len(frames)
    direction_key.blocks += sum((len(frame) + 15) // 16 for frame in frames)
    return packets


def seal_run(
    direction_key: DirectionKey,
    head: bytes,
    skip: int,
    frames: Sequence[Frame],
    size: int,
    *,
    tag_first: bool,
) -> Run:
    """A run of packets out of frames of `size` bytes, the last of which may be shorter.

    The cipher writes every tag behind its ciphertext, where the next packet's head and tag belong; those
    places stay untouched until all is encrypted, and then tags and heads move into theirs in one go.
    """
    count = len(frames)
    first = direction_key.number + 1
    direction_key.number += count
    direction_key.blocks += _blocks(size) * count
    begin = len(head) + direction_key.id_bytes  # of the ciphertext, or of the tag before it
    wide = begin + TAG + size
    total = wide * (count - 1) + begin + TAG + len(frames[-1])
    heads = np.empty((count, begin), np.uint8)
    heads[:, : len(head)] = np.frombuffer(head, np.uint8)
    ids = heads[:, len(head) :]
    kind = ">u4" if direction_key.id_bytes == 4 else ">u8"
    ids[:] = (
        (np.arange(first, first + count, dtype=np.uint64) | np.uint64(direction_key.base))
        .astype(kind)
        .view(np.uint8)
        .reshape(count, direction_key.id_bytes)
    )
    aad = heads[:, skip:] if skip else heads
    packed = np.empty(wide * count + TAG, np.uint8)
    out = packed.data
    text = begin + (TAG if tag_first else 0)
    places = [out[at : at + size + TAG] for at in range(text, wide * (count - 1), wide)]
    last = wide * (count - 1) + text
    places.append(out[last : last + len(frames[-1]) + TAG])
    nonces = direction_key.nonces(ids)
    aads = _cutter(begin - skip, count).unpack(np.ascontiguousarray(aad).data)
    for _ in map(direction_key.aead.encrypt_into, nonces, frames, aads, places):
        pass
    rows = packed[: wide * count].reshape(count, wide)
    if tag_first:
        short = size - len(frames[-1])
        tags = np.empty((count, TAG), np.uint8)
        tags[:-1] = rows[1:, :TAG]
        tags[-1] = packed[wide * count - short : wide * count - short + TAG]
        rows[:, begin : begin + TAG] = tags
    rows[:, :begin] = heads
    return Run(out[:total], wide)


def open_rows(
    direction_key: DirectionKey, skip: int, at: int, rows: NDArray[np.uint8], *, tag_first: bool
) -> memoryview:
    """The frames, end to end, of packets that are rows of one size; `InvalidTag` if one is not authentic."""
    count, wide = rows.shape
    begin = at + direction_key.id_bytes
    size = wide - begin - TAG
    if tag_first:
        sealed = np.empty((count, size + TAG), np.uint8)
        sealed[:, :size] = rows[:, begin + TAG :]
        sealed[:, size:] = rows[:, begin : begin + TAG]
        source, step, start = sealed.reshape(-1).data, size + TAG, 0
    else:
        source, step, start = rows.reshape(-1).data, wide, begin
    out = np.empty(count * size, np.uint8).data
    heads = np.ascontiguousarray(rows[:, skip:begin])
    packets = [source[at : at + size + TAG] for at in range(start, step * count, step)]
    places = [out[at : at + size] for at in range(0, count * size, size)]
    aads = _cutter(begin - skip, count).unpack(heads.data)
    for _ in map(
        direction_key.aead.decrypt_into, direction_key.nonces(rows[:, at:begin]), packets, aads, places
    ):
        pass
    return out


def runs(frames: Sequence[Item], overhead: int) -> list[list[Frame]]:
    """Frames in order, cut into lists of one size each (the last of a list may be shorter).

    No list, with `overhead` bytes a frame, is longer than one send takes.
    """
    if len(frames) > 1 and Run not in set(map(type, frames)):
        whole: Any = frames
        size = len(whole[0])
        if set(map(len, whole)) == {size}:
            most = _most(size + overhead)
            return [whole[at : at + most] for at in range(0, len(whole), most)]
    lists: list[list[Frame]] = []
    current: list[Frame] = []
    size = room = 0
    for item in frames:
        for frame in item.pieces() if isinstance(item, Run) else (item,):
            length = len(frame)
            if current and room and length <= size:
                current.append(frame)
                room = room - 1 if length == size else 0
                continue
            current = [frame]
            lists.append(current)
            size = length
            room = _most(size + overhead) - 1
    return lists


def _most(packet: int) -> int:
    """How many packets of so many bytes one send takes."""
    return min(MAX_RUN // packet, MAX_PIECES)


class AeadKeys:
    """Both directions of one key negotiation in OpenVPN's usual format.

    `drops` counts, by reason, the packets that are not opened.
    """

    tag_first = True
    id_bytes = 4
    last_id = LAST_ID

    def __init__(
        self,
        suite: Suite,
        send: StaticDirection,
        receive: StaticDirection,
        drops: Counter[str],
        *,
        window: Lateness = USUAL,
    ) -> None:
        self.limited = suite.limited
        self.drops = drops
        self._send = self._direction_key(suite, send, window)
        self._receive = self._direction_key(suite, receive, window)

    @staticmethod
    def _direction_key(suite: Suite, direction: StaticDirection, window: Lateness) -> DirectionKey:
        iv = bytes(4) + direction.mac[:8]
        return DirectionKey(suite, direction.cipher[: suite.key_bytes], iv, window=window)

    @property
    def overhead(self) -> int:
        """Bytes that a packet adds to its frame, beside the head."""
        return self.id_bytes + TAG

    def max_payload(self, room: int) -> int:
        """The longest frame whose packet, without its head, takes no more than `room` bytes."""
        return room - self.overhead

    def needs_rekey(self) -> bool:
        """Whether new keys are due."""
        send, receive = self._send, self._receive
        if send.number >= WORN_ID:
            return True
        if not self.limited:
            return False
        return send.usage(send.number) >= WORN_USAGE or receive.usage(receive.window.top) >= WORN_USAGE

    def seal(self, head: bytes, skip: int, frames: Sequence[Item]) -> list[Item]:
        """Packets out of frames, equal-sized ones in runs.

        `head` goes before the packet id of each; its first `skip` bytes are not authenticated (the opcode
        of P_DATA_V1).
        """
        sealed: list[Item] = []
        singles: list[Frame] = []
        for group in runs(frames, len(head) + self.overhead):
            if len(group) < RUN:
                singles += group
                continue
            if singles:
                sealed += self._seal(head, skip, singles, together=False)
                singles = []
            sealed += self._seal(head, skip, group, together=True)
        if singles:
            sealed += self._seal(head, skip, singles, together=False)
        return sealed

    def _seal(self, head: bytes, skip: int, frames: Sequence[Frame], *, together: bool) -> Sequence[Item]:
        direction_key = self.sending()
        if direction_key.number + len(frames) > self.last_id:
            self.drops["packet ids used up"] += len(frames)
            return ()
        if together:
            return (seal_run(direction_key, head, skip, frames, len(frames[0]), tag_first=self.tag_first),)
        return seal_each(direction_key, head, skip, frames, tag_first=self.tag_first)

    def seal_one(self, head: bytes, skip: int, frame: Frame) -> bytes | None:
        """The packet of a frame that goes alone; None if it has to be given to `seal`."""
        direction_key, id_bytes = self._send, self.id_bytes
        number = direction_key.number + 1
        if not number & LOOK:
            return None
        direction_key.number = number
        direction_key.blocks += (len(frame) + 15) >> 4
        number |= direction_key.base
        full = head + number.to_bytes(id_bytes, "big")
        nonce = (number ^ direction_key.xor).to_bytes(id_bytes, "big") + direction_key.tail
        sealed = direction_key.aead.encrypt(nonce, frame, full[skip:] if skip else full)
        return b"".join((full, sealed[-TAG:], sealed[:-TAG])) if self.tag_first else full + sealed

    def open_one(self, at: int, skip: int, packet: Frame, now: float) -> bytes | None:
        """The frame of a packet that came alone, under the key that the peer uses now.

        None if it has to be given to `open_each`; empty for one that is counted and dropped.
        """
        direction_key = self._receive
        begin = at + self.id_bytes
        if len(packet) <= begin + TAG:
            return None
        number = int.from_bytes(packet[at:begin], "big")
        own = number - direction_key.base
        if own >> 48 or not own & LOOK or direction_key.failures >= MAX_FAILURES:
            return None
        if now > direction_key.aged + AGE_SECONDS:
            self.age(now)
        sealed: Frame = packet[begin:]
        if self.tag_first:
            sealed = b"".join((sealed[TAG:], sealed[:TAG]))
        nonce = (number ^ direction_key.xor).to_bytes(self.id_bytes, "big") + direction_key.tail
        try:
            frame = direction_key.aead.decrypt(nonce, sealed, packet[skip:begin])
        except InvalidTag:
            direction_key.failures += 1
            self.drops["not authentic"] += 1
            return b""
        if not direction_key.window.accept(own):
            self.drops["repeated packet"] += 1
            return b""
        direction_key.blocks += (len(frame) + 15) >> 4
        return frame

    def age(self, now: float) -> None:
        """Time has passed: packets that came in the meantime are told from those too late."""
        self._receive.age(now)

    def open_each(self, at: int, skip: int, packets: Sequence[Frame]) -> list[Item]:
        """The frames of packets whose ids begin at `at`; counts the others by reason."""
        opened: list[Item] = []
        drops, id_bytes, tag_first, limited = self.drops, self.id_bytes, self.tag_first, self.limited
        begin = at + id_bytes
        for packet in packets:
            if len(packet) <= begin + TAG:
                drops["data packet too short"] += 1
                continue
            number = int.from_bytes(packet[at:begin], "big")
            direction_key = self.receiving(number)
            if direction_key is None:
                drops["unknown epoch"] += 1
                continue
            if limited and direction_key.failures >= MAX_FAILURES:
                drops["too many forgeries"] += 1
                continue
            sealed: Frame = packet[begin:]
            if tag_first:
                sealed = b"".join((sealed[TAG:], sealed[:TAG]))
            nonce = (number ^ direction_key.xor).to_bytes(id_bytes, "big") + direction_key.iv[id_bytes:]
            try:
                frame = direction_key.aead.decrypt(nonce, sealed, packet[skip:begin])
            except InvalidTag:
                direction_key.failures += 1
                drops["not authentic"] += 1
                continue
            self.opened(direction_key)
            if not direction_key.window.accept(number - direction_key.base):
                drops["repeated packet"] += 1
                continue
            direction_key.blocks += (len(frame) + 15) // 16
            opened.append(frame)
        return opened

    def open_run(self, at: int, skip: int, run: Run) -> list[Item]:
        """The frames of a run of packets that all begin alike, as runs where nothing is missing."""
        data, wide = run
        begin = at + self.id_bytes
        count = len(data) // wide
        size = wide - begin - TAG
        if size <= 0 or count < RUN:
            return self.open_each(at, skip, run.pieces())
        rows = np.frombuffer(data, np.uint8, count * wide).reshape(count, wide)
        ids = np.ascontiguousarray(rows[:, at:begin]).view(">u4" if self.id_bytes == 4 else ">u8")[:, 0]
        numbers: list[int] = ids.tolist()
        direction_key = self.receiving(numbers[0])
        if direction_key is None or (self.id_bytes == 8 and numbers[-1] >> 48 != numbers[0] >> 48):
            return self.open_each(at, skip, run.pieces())
        try:
            frames = open_rows(direction_key, skip, at, rows, tag_first=self.tag_first)
        except InvalidTag:
            return self.open_each(at, skip, run.pieces())
        self.opened(direction_key)
        direction_key.blocks += _blocks(size) * count
        opened: list[Item] = []
        first = numbers[0]
        in_order = numbers == list(range(first, first + count))
        if in_order and direction_key.window.accept_next(first - direction_key.base, count):
            opened.append(Run(frames, size))
        else:
            for index, number in enumerate(numbers):
                if direction_key.window.accept(number - direction_key.base):
                    opened.append(frames[index * size : (index + 1) * size])
                else:
                    self.drops["repeated packet"] += 1
        rest = data[count * wide :]
        return opened + self.open_each(at, skip, [rest]) if len(rest) else opened

    def sending(self) -> DirectionKey:
        """The key that seals what is sent next."""
        return self._send

    def receiving(self, number: int) -> DirectionKey | None:
        """The key that a packet id is under, or None."""
        return self._receive

    def opened(self, direction_key: DirectionKey) -> None:
        """A packet was authentic under `direction_key`."""
