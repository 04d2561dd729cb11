"""What stands in a data packet beside frames: framing, fragments, pings and messages.

Between the machine's frames and the keys: puts on and takes off compression framing and fragment headers, and
tells frames from what the two ends say to each other. Knows no key and no session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeGuard, cast

from tmelink.errors import ProtocolError
from tmelink.frame import Frame, Run, pieces
from tmelink.offload import may_be_syn
from tmelink.openvpn.data.bounds import Bounds
from tmelink.openvpn.data.clamp import clamped
from tmelink.openvpn.data.compress import CompressionFramer, overhead
from tmelink.openvpn.data.fragment import HEADER_BYTES, Fragments
from tmelink.openvpn.data.frame_filter import FrameFilter, link_header, shortest_frame
from tmelink.openvpn.data.record_length import RecordLength
from tmelink.openvpn.data.records import Record
from tmelink.openvpn.data.super_frames import LONGEST_PAYLOAD, SuperFrames, is_record
from tmelink.openvpn.occ import MAGIC
from tmelink.openvpn.session import Carried, Item
from tmelink.openvpn.settings import Compression
from tmelink.openvpn.tls.settings import TlsSettings

IP_TCP: Final = 40
"""IPv4 and TCP headers without options (RFC 9293, section 3.7.1)."""

_NO_MESSAGES: Final[list[bytes]] = []


class Payloads:
    """Both directions of one session; `plain` says whether a payload is a frame as it stands."""

    def __init__(
        self, settings: TlsSettings, drops: Counter[str], sequence: int, length: RecordLength | None = None
    ) -> None:
        """`sequence` is where the numbering of fragments begins. Raises what its framer raises.

        Over UDP `length` says how long records may be.
        """
        self._settings = settings
        self._mss = settings.mss
        self._ip = settings.kind == "ip"
        self.longest_out = settings.sizes.tun_mtu + link_header(settings.kind)
        self._filter = FrameFilter(settings.kind, settings.sizes.longest_mtu)
        longest_in = self._filter.longest
        self._drops = drops
        self._mtu = settings.sizes.tun_mtu
        self._bounds = Bounds(shortest_frame(settings.kind), self.longest_out, drops)
        self._super: SuperFrames | None = None
        if settings.sizes.super_frames:
            self._super = SuperFrames(self.longest_out, longest_in, drops, ip=self._ip, length=length)
        self._framer: CompressionFramer | None = None
        self.plain = True
        self.compress(settings.compression)
        # one byte of framing may stand before a payload when it is cut, two with the v2 framings
        limit = longest_in + 2
        self._fragments = Fragments(limit, limit, drops, sequence) if settings.sizes.fragment else None

    def compress(self, compression: Compression) -> None:
        """Payloads stand in this framing from now on. Raises `ValueError` of `CompressionFramer`."""
        longest = LONGEST_PAYLOAD if self._settings.sizes.super_frames else self._filter.longest
        self._framer = None if compression.framing is None else CompressionFramer(compression, longest)
        self.plain = self._framer is None and not self._settings.sizes.fragment

    def resize(self, mtu: int) -> None:
        """IP packets to the peer are no longer than `mtu` bytes from now on."""
        self._mtu = mtu
        self.longest_out = self._bounds.longest = mtu + link_header(self._settings.kind)
        if self._mss:
            self._mss = min(self._mss, mtu - IP_TCP)

    def clamp(self, room: int) -> None:
        """TCP's segments are to fit a payload of `room` bytes, and the MTU, from now on."""
        if self._settings.mss_datagram:
            self._mss = max(0, min(room - self._settings.mss_overhead, self._mtu - IP_TCP))

    @property
    def complaint(self) -> str | None:
        """Why packets of the peer's cannot be unpacked, once there were any."""
        return None if self._framer is None else self._framer.complaint

    @property
    def framing(self) -> int:
        """Bytes that compression framing adds to a payload."""
        return overhead(self._settings.compression.framing) if self._framer is not None else 0

    def fit(self, room: int) -> None:
        """Fragments may be `room` bytes long from now on, their header included."""
        if self._fragments is not None:
            self._fragments.largest = max(room - HEADER_BYTES, HEADER_BYTES)

    def outgoing(self, frames: Sequence[Carried]) -> Sequence[Item | Record]:
        """Payloads out of frames; what is too long or too short for a frame is dropped and counted."""
        if self._super is not None:
            payloads: Sequence[Item | Record] = self._super.payloads(frames, self._ordinary_frames)
        else:
            payloads = self._ordinary_frames(cast("Sequence[Item]", frames))
        # Records over UDP go with neither fragments nor framing.
        return payloads if self.plain else self.encode(pieces(cast("Sequence[Item]", payloads)))

    def _ordinary_frames(self, frames: Sequence[Item]) -> Sequence[Item]:
        frames = self._bounds.within(frames)
        return clamped(frames, self._mss, ip=self._ip) if self._mss else frames

    def passes(self, frame: Frame) -> bool:
        """Whether a frame is a payload as it stands, of a length that may be, and opens no TCP connection."""
        return (
            self.plain
            and self._bounds.shortest <= len(frame) <= self.longest_out
            and not (self._mss and may_be_syn(frame, ip=self._ip))
        )

    def is_plain_frame(self, payload: Item) -> TypeGuard[Frame]:
        """Whether a payload is a frame as it stands, and opens no TCP connection."""
        return (
            self.plain
            and self._filter.is_plain(payload)
            and not (self._mss and may_be_syn(payload, ip=self._ip))
        )

    def encode(self, payloads: Sequence[Frame]) -> Sequence[Frame]:
        """Payloads with what this link puts around them."""
        if self._framer is not None:
            payloads = [self._framer.frame(payload) for payload in payloads]
        if self._fragments is not None:
            split = self._fragments.split
            payloads = [piece for payload in payloads for piece in split(payload)]
        return payloads

    def incoming(self, items: Sequence[Item], frames: list[Carried], now: float) -> Sequence[bytes]:
        """Add the frames among payloads to `frames`; returns what follows the magic of OCC messages."""
        messages = _NO_MESSAGES
        begin = len(frames)
        is_plain = self._filter.is_plain
        for item in items:
            if self.plain and isinstance(item, Run) and self._filter.are_plain((item,)):
                frames.append(item)
                continue
            for piece in item.pieces() if isinstance(item, Run) else (item,):
                if self.plain and is_plain(piece):
                    frames.append(piece)
                    continue
                bare = piece if self.plain else self._bare(piece, now)
                if bare is None:
                    continue
                if self._super is not None and is_record(bare):
                    super_frame = self._super.open(bare)
                    if super_frame is not None:
                        frames.append(super_frame)
                    continue
                kind = self._filter.kind_of(bare)
                if kind == "frame":
                    frames.append(bare)
                elif kind == "message":
                    messages = [*messages, bytes(bare[len(MAGIC) :])]
                elif kind != "ping":
                    self._drops[kind] += 1
        if self._mss:
            frames[begin:] = clamped(frames[begin:], self._mss, ip=self._ip)
        return messages

    def _bare(self, payload: Frame, now: float) -> Frame | None:
        try:
            whole = payload if self._fragments is None else self._fragments.join(payload, now)
            return whole if whole is None or self._framer is None else self._framer.unframe(whole)
        except ProtocolError as error:
            self._drops[str(error)] += 1
            return None
