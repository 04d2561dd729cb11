"""What a link without TLS sets around a payload: compression framing, fragment header, static key.

Knows their order, from the inside out, and which of them are on. Does not know what a payload is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.openvpn.data import compress, static
from tmelink.openvpn.data.compress import CompressionFramer
from tmelink.openvpn.data.fragment import Fragments
from tmelink.openvpn.data.replay import ReplayWindow
from tmelink.openvpn.data.static import OutdatedPackets, StaticKey
from tmelink.openvpn.plain.mtu import fragment_size, tun_mtu
from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.session import Item

MIN_MTU: Final = 100
"""OpenVPN's least; an IPv4 packet of 68 bytes has to pass anyway (RFC 791)."""

MIN_FRAGMENT: Final = 64
"""With 32 pieces a payload, a frame of OpenVPN's least MTU and any usual one fits."""


def problems(settings: Settings) -> list[str]:
    """What in these settings is not available, as sentences; empty if they allow a session."""
    found: list[str] = []
    if settings.key is not None:
        encryption = settings.encryption
        for check, name in (
            (static.cipher_name, encryption.static_cipher),
            (static.digest_name, encryption.auth),
        ):
            try:
                check(name)
            except ValueError as error:
                found.append(str(error))
    if settings.compression.framing is not None:
        try:
            compress.check(settings.compression)
        except ValueError as error:
            found.append(str(error))
    if settings.sizes.fragment and not settings.proto.startswith("udp"):
        found.append("--fragment is for UDP; a TCP link does not need it")
    if not found and tun_mtu(settings) < MIN_MTU:
        found.append(f"the MTU comes to {tun_mtu(settings)} bytes; at least {MIN_MTU} are needed")
    elif not found and settings.sizes.fragment and fragment_size(settings) < MIN_FRAGMENT:
        found.append(
            f"--fragment {settings.sizes.fragment} leaves {fragment_size(settings)} bytes for a payload; "
            f"at least {MIN_FRAGMENT} are needed"
        )
    return found


def new_window(settings: Settings) -> ReplayWindow:
    """The packet ids that are taken under a key; over TCP, which keeps the order, each has to be the next."""
    size = settings.replay.window if settings.proto.startswith("udp") else 1
    return ReplayWindow(size, settings.replay.seconds)


class Envelope:
    """Both directions of one session; payloads are at most `limit` bytes long."""

    def __init__(
        self,
        settings: Settings,
        limit: int,
        drops: Counter[str],
        random: Callable[[int], bytes],
        unix_time: int,
        window: ReplayWindow | None = None,
        outdated: OutdatedPackets | None = None,
    ) -> None:
        """`settings` must have no `problems`; `window` goes on with an earlier session's packet ids.

        `outdated` is given the packets of an old sequence, which are not opened.
        """
        self._drops = drops
        self._framer: CompressionFramer | None = None
        if settings.compression.framing is not None:
            self._framer = CompressionFramer(settings.compression, limit)
        self._fragments: Fragments | None = None
        if settings.sizes.fragment:
            # one byte of framing may stand before a payload when it is cut, two with the v2 framings
            self._fragments = Fragments(fragment_size(settings), limit + 2, drops, random(1)[0])
        self._key: StaticKey | None = None
        if settings.key is not None:
            self._key = StaticKey(
                settings.key,
                settings.key_direction,
                cipher=static.cipher_name(settings.encryption.static_cipher),
                auth=static.digest_name(settings.encryption.auth),
                random=random,
                unix_time=unix_time,
                window=new_window(settings) if window is None else window,
                drops=drops,
                outdated=outdated,
            )

    @property
    def complaint(self) -> str | None:
        """Why packets of the peer's cannot be unpacked, once there were any."""
        return None if self._framer is None else self._framer.complaint

    def seal(self, payloads: Sequence[Frame], elapsed: float) -> Sequence[Item]:
        """Datagrams of payloads; `elapsed` is seconds since the session began."""
        if self._framer is not None:
            payloads = [self._framer.frame(payload) for payload in payloads]
        if self._fragments is not None:
            split = self._fragments.split
            payloads = [piece for payload in payloads for piece in split(payload)]
        if self._key is not None and payloads:
            return self._key.seal(payloads, elapsed)
        return payloads

    def open(self, datagrams: Sequence[Frame], now: float) -> tuple[Sequence[Frame], int]:
        """Payloads of datagrams, and how many datagrams a key has shown to be the peer's; drops are counted.

        Without a key none is shown to be anybody's.
        """
        payloads, verified = datagrams, 0
        if self._key is not None:
            payloads = self._key.open(datagrams, now)
            verified = len(payloads)
        if self._fragments is None and self._framer is None:
            return payloads, verified
        opened: list[Frame] = []
        for payload in payloads:
            try:
                bare = self._bare(payload, now)
            except ProtocolError as error:
                self._drops[str(error)] += 1
            else:
                if bare is not None:
                    opened.append(bare)
        return opened, verified

    def _bare(self, payload: Frame, now: float) -> Frame | None:
        whole = payload if self._fragments is None else self._fragments.join(payload, now)
        if whole is None or self._framer is None:
            return whole
        return self._framer.unframe(whole)
