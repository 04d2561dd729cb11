"""--super-frames: super-frames that cross a link whole, each as one record behind its label.

Two ends of tmelink's ask each other for it: the word `WORD` stands in the options string of an end that was
told to, and one that does not find it in its peer's refuses the peer. A record has the form of an OCC
message, of a kind that OpenVPN does not know and leaves alone::

    OCC's magic (16) | KIND (1) | 0 (1) | virtio_net_hdr (10, virtio 1.2 section 5.1.6, little-endian) | frame

so that it differs from a frame, a ping and a message at the same glance as they do from each other. Over TCP
a record is sealed as any payload is; over UDP it goes in slices (`tmelink.openvpn.data.slices`), if the path
loses little enough for one of that length. Knows no key and no session.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from tmelink.frame import Frame, Gso, Run, SuperFrame
from tmelink.offload import checked, segment
from tmelink.openvpn.data.aead import TAG
from tmelink.openvpn.data.record_length import FEWEST, RecordLength
from tmelink.openvpn.data.records import PACKET, SLICE, Record
from tmelink.openvpn.data.slices import MOST_BYTES
from tmelink.openvpn.occ import MAGIC
from tmelink.openvpn.session import Carried, Item

WORD: Final = "super-frames"
"""The option in an options string."""

KIND: Final = 0x80
"""Where an OCC message has its opcode; OpenVPN numbers its own from 0."""

SEALED: Final = 160
"""Bytes that keys, packet ids and framing may add to a payload; HMAC-SHA512 and a block cipher add most."""

LONGEST_PAYLOAD: Final = 65_535 - SEALED
"""Of what a stream's 16-bit length can announce."""

HEAD: Final = len(MAGIC) + 2 + 10

LONGEST: Final = LONGEST_PAYLOAD - HEAD
"""Bytes of a super-frame that is a record: more than Linux builds for TCP unless its gso_max_size is raised.
Longer ones are cut."""

WAIT_SECONDS: Final = 30.0
"""How long a peer that is there may take to say what it was asked for."""

_REMEDY: Final = "give it --super-frames too, which only tmelink has, or leave the option out here"
REFUSAL: Final = f"the peer does not exchange super-frames: {_REMEDY}"
REFUSED: Final = "refused the peer, which does not exchange super-frames"
SILENCE: Final = (
    f"the peer has not said within {WAIT_SECONDS:g} s whether it exchanges super-frames: {_REMEDY}"
)
UNSEALED: Final = (
    "super-frames cross UDP only under AES-GCM or ChaCha20-Poly1305: name one of these in --data-ciphers at "
    "both ends, or leave --super-frames out"
)

UNAGREED: Final = "before --super-frames was agreed on"
MALFORMED: Final = "malformed super-frame"

_MOST_CACHED: Final = 512
"""Heads kept: one for each header length and segment size in use, about ten a flow."""

_LABEL: Final = struct.Struct("<BBHHHH")
_NEEDS_CHECKSUM: Final = 1
_ECN: Final = 0x80
_START: Final = MAGIC + bytes((KIND, 0))


def asked(options: str) -> bool:
    """Whether an options string says that its end has --super-frames."""
    return WORD in options.split(",")


def is_record(payload: Frame) -> bool:
    """Whether a payload is a record, well-formed or not."""
    return len(payload) > len(MAGIC) and payload[len(MAGIC)] == KIND and payload[: len(MAGIC)] == MAGIC


class SuperFrames:
    """Both ways of one session; frames are cut into at most `longest_out`, and `longest_in` bytes.

    Over UDP `length` says how many slices a record may have.
    """

    def __init__(
        self,
        longest_out: int,
        longest_in: int,
        drops: Counter[str],
        *,
        ip: bool,
        length: RecordLength | None = None,
    ) -> None:
        self._longest_out = longest_out
        self._longest_in = longest_in
        self._drops = drops
        self._ip = ip
        self._length = length

    def payloads(
        self, carried: Sequence[Carried], ordinary: Callable[[Sequence[Item]], Sequence[Item]]
    ) -> list[Item | Record]:
        """Super-frames as records, and what `ordinary` makes of everything else, in order."""
        payloads: list[Item | Record] = []
        between: list[Item] = []
        for item in carried:
            if not isinstance(item, SuperFrame):
                between.append(item)
                continue
            record = self._record(*item)
            if isinstance(record, Run):
                between.append(record)
            elif record is not None:
                if between:
                    payloads += ordinary(between)
                    between = []
                payloads.append(record)
        if between:
            payloads += ordinary(between)
        return payloads

    def _record(self, frame: Frame, gso: Gso) -> bytes | Record | Run | None:
        """The record; what the peer would not take is cut, or dropped and counted if it cannot be."""
        length = self._length
        if len(frame) <= LONGEST and (length is None or length.most):
            label = checked(frame, gso, self._longest_out, ip=self._ip)
            room = 0 if length is None or label is None else _room(len(frame), label, length.most)
            if label is not None and room is not None:
                payload = b"".join((_head(label), frame))
                return Record(payload, room) if room else payload
        run = segment(frame, gso, ip=self._ip)
        if run is None:
            self._drops[MALFORMED] += 1
        return run

    def open(self, record: Frame) -> SuperFrame | None:
        """What a peer's record holds; None, counted, if its label is not that of its frame."""
        view = memoryview(record)
        if HEAD < len(view) <= LONGEST_PAYLOAD and view[: len(_START)] == _START:
            flags, kind, length, size, start, offset = _LABEL.unpack_from(view, len(_START))
            frame = view[HEAD:]
            gso = Gso(kind & ~_ECN, size, length, start, offset, bool(kind & _ECN))
            label = checked(frame, gso, self._longest_in, ip=self._ip) if flags == _NEEDS_CHECKSUM else None
            if label is not None:
                return SuperFrame(frame, label)
        self._drops[MALFORMED] += 1
        return None


def _room(size: int, gso: Gso, most: int) -> int | None:
    """Bytes of each slice of a record with a super-frame of `size` bytes; None if it is not to be one.

    A slice's datagram is as long as that of one segment would be, so it fits wherever that does.
    """
    room = gso.header + gso.size + PACKET - SLICE
    slices = -(-(HEAD + size + TAG) // room)
    return room if FEWEST <= slices <= most and slices * (room + SLICE) <= MOST_BYTES else None


@lru_cache(_MOST_CACHED)
def _head(gso: Gso) -> bytes:
    kind = gso.kind | _ECN if gso.ecn else gso.kind
    label = _LABEL.pack(_NEEDS_CHECKSUM, kind, gso.header, gso.size, gso.checksum_start, gso.checksum_offset)
    return _START + label
