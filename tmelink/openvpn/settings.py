"""Settings that a link's options, its session without TLS and its session with TLS have in common, by group.

Each group is written once, read once (`tmelink.openvpn.options.fields`, `tmelink.openvpn.options.tls_fields`)
and handed on whole, so that a session can use a new setting as soon as it stands in its group. Only shapes
and OpenVPN 2.6's defaults. Times are seconds, sizes bytes; 0 is off.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

Framing = Literal["comp-lzo no", "stub", "stub-v2", "lz4", "lz4-v2"]
Allow = Literal["no", "asym", "yes"]
PullFilter = tuple[Literal["accept", "ignore", "reject"], str]
"""--pull-filter: what to do with pushed options that begin with this text; the first that fits counts."""

_TUN_MTU_MAX = 1600
"""--tun-mtu-max without the option."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """When a session says that it is alive, and when it ends."""

    ping: float = 0
    ping_restart: float = 0
    ping_exit: float = 0
    ping_timer_rem: bool = False
    inactive: float = 0
    inactive_bytes: int = 0
    session_timeout: float = 0


@dataclass(frozen=True, slots=True)
class PeerMessages:
    """What a session tells its peer about itself, beside frames and pings."""

    occ: bool = True
    """Both ends compare their options (--disable-occ)."""
    mtu_test: bool = False
    explicit_exit_notify: int = 0


@dataclass(frozen=True, slots=True)
class Mssfix:
    """--mssfix SIZE: what the size counts.

    `counts` is "payload" for a datagram's payload, "mtu" for a whole IP packet outside, "fixed" for the
    largest IP packet in the tunnel; a `size` of 0 is off.
    """

    size: int
    counts: Literal["payload", "mtu", "fixed"] = "payload"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large packets may be, in the tunnel and outside."""

    tun_mtu: int = 1500
    occ_mtu: int = 0
    """The second argument of --tun-mtu: what to tell the peer instead."""
    tun_mtu_max: int = 0
    """--tun-mtu-max; `longest_mtu` has its default."""
    link_mtu: int = 0
    """--link-mtu, from which the MTU follows; `tun_mtu` then keeps its default."""
    fragment: int = 0
    fragment_counts_encapsulation: bool = False
    """--fragment SIZE mtu: the size is that of the whole IP packet outside."""
    mssfix: Mssfix | None = None
    """None without a size: then OpenVPN's default (`tmelink.openvpn.plain.mtu.mss_limit`)."""
    super_frames: bool = False
    """Super-frames cross whole; a peer that does not ask for it too is refused."""

    @property
    def longest_mtu(self) -> int:
        """The largest IP packet to take from the peer."""
        return max(self.tun_mtu, self.tun_mtu_max or _TUN_MTU_MAX)


@dataclass(frozen=True, slots=True)
class Encryption:
    """--cipher and --auth: what seals under a static key; the digest also of TLS's wrapping and CBC keys."""

    cipher: str | None = None
    auth: str = "SHA1"

    @property
    def static_cipher(self) -> str:
        """The cipher of a static key.

        OpenVPN's default is refused, since it is broken, so --cipher has to be written.
        """
        return self.cipher or "BF-CBC"


@dataclass(frozen=True, slots=True)
class Replay:
    """--replay-window WINDOW SECONDS, and whether replays are counted without a line in the log."""

    window: int = 64
    seconds: float = 15
    mute_warnings: bool = False
    persist: str | None = None
    """The file in which packet ids outlive the process (`--replay-persist`)."""


@dataclass(frozen=True, slots=True)
class Compression:
    """--compress and --comp-lzo, as framing, and what the peer may do (--allow-compression).

    `framing` is None for none, which is also what `--compress migrate` means between two peers.
    """

    framing: Framing | None = None
    allow: Allow = "no"


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """The groups that a link's options and the settings of both kinds of session hold."""

    sizes: Sizes = Sizes()
    liveness: Liveness = Liveness()
    messages: PeerMessages = PeerMessages()
    encryption: Encryption = Encryption()
    replay: Replay = Replay()
    compression: Compression = Compression()

    def shared(self) -> dict[str, Any]:
        """These groups by name, to hand on to another that holds them."""
        return {field.name: getattr(self, field.name) for field in fields(SharedSettings)}


@dataclass(frozen=True, slots=True)
class ControlChannel:
    """The timers and limits of TLS: of one handshake, and of the keys that come of it."""

    tls_timeout: float = 2
    hand_window: float = 60
    tran_window: float = 3600
    reneg_sec: float = 3600
    reneg_bytes: int = 0
    reneg_pkts: int = 0
    max_packet_size: int = 1250
    """Of a control packet, its IP and UDP headers included."""


@dataclass(frozen=True, slots=True)
class DataCiphers:
    """--data-ciphers, by rank, and --data-ciphers-fallback for a peer that negotiates none."""

    accepted: tuple[str, ...] = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
    fallback: str | None = None


@dataclass(frozen=True, kw_only=True)
class SharedTlsSettings:
    """The groups that a link's TLS options and the settings of a session with TLS hold."""

    control: ControlChannel = ControlChannel()
    ciphers: DataCiphers = DataCiphers()
    pull_filters: tuple[PullFilter, ...] = ()

    def shared_tls(self) -> dict[str, Any]:
        """These by name, to hand on to another that holds them."""
        return {field.name: getattr(self, field.name) for field in fields(SharedTlsSettings)}
