"""What the options of a link without TLS come to, as plain values.

Knows no option syntax and no files: the link element fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tmelink.frame import Kind
from tmelink.openvpn.data.compress import Allow, Framing
from tmelink.openvpn.keys import KeyDirection
from tmelink.openvpn.secret import Secret


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that matter to a session. Times in seconds, sizes in bytes, 0 for off."""

    kind: Kind = "ethernet"
    proto: str = "udp4"
    """`udp` or `tcp-client` or `tcp-server`, with 4 or 6 behind the first word once the family is known."""
    remote: bool = True
    """The peer's address is configured (--remote)."""
    socks: bool = False
    """Datagrams go through a SOCKS proxy, which adds to them."""

    tun_mtu: int = 1500
    occ_mtu: int = 0
    """The second argument of --tun-mtu: what to tell the peer instead."""
    tun_mtu_max: int = 1600
    link_mtu: int = 0
    """--link-mtu, from which the MTU follows; `tun_mtu` then keeps its default."""
    fragment: int = 0
    fragment_mtu: bool = False
    """--fragment N mtu: N is the whole IP packet outside."""
    mssfix: int | None = None
    """None without a number: OpenVPN's default then, 0 for off."""
    mssfix_mode: Literal["", "mtu", "fixed"] = ""

    ping: int = 0
    ping_restart: int = 0
    ping_exit: int = 0
    ping_timer_rem: bool = False
    inactive: int = 0
    inactive_bytes: int = 0
    session_timeout: int = 0
    occ: bool = True
    mtu_test: bool = False
    explicit_exit_notify: int = 0

    key: Secret | None = None
    """The 256 bytes of --secret."""
    key_direction: KeyDirection | None = None
    cipher: str = "BF-CBC"
    """OpenVPN's default, which is refused: it is broken, so --cipher has to be written."""
    auth: str = "SHA1"
    replay_window: int = 64
    replay_seconds: int = 15
    mute_replay_warnings: bool = False

    compress: Framing | None = None
    """The framing; None for none, which is also what `--compress migrate` means between two peers."""
    allow_compression: Allow = "no"

    super_frames: bool = False
    """Super-frames cross the stream whole; a peer that does not ask for it too is refused."""
