"""What the options of a link with TLS come to, as plain values.

Knows no option syntax and no files: the link element fills it in. Secrets stay out of `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tmelink.frame import Kind
from tmelink.openvpn.data.compress import Allow, Framing
from tmelink.openvpn.tls.peer_info import DEFAULT_CIPHERS
from tmelink.openvpn.tls.push_messages import Filter
from tmelink.openvpn.tls.wrap import WrapKey


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `--auth-user-pass` gives."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """One end of a link with TLS. Times in seconds, sizes in bytes, 0 for off.

    `server` is the TLS role (`--tls-server`). `mode` is "equal" for two ends that each have all their
    options, "pull" for a client that asks its server for some, "push" for that server's side of one client.
    """

    server: bool
    mode: Literal["equal", "pull", "push"] = "equal"
    kind: Kind = "ethernet"
    stream: bool = False
    wrap: WrapKey = None
    data_ciphers: tuple[str, ...] = DEFAULT_CIPHERS
    data_ciphers_fallback: str | None = None
    auth: str = "SHA1"
    occ: bool = True
    """Differences between both ends' options are told (`--disable-occ`)."""
    compress: Framing | None = None
    allow_compression: Allow = "no"
    super_frames: bool = False
    """Super-frames cross the stream whole; a peer that does not ask for it too is refused."""
    fragment: int = 0
    """Bytes of a datagram at most, without IP and UDP headers (`--fragment`)."""
    mss: int = 0
    """The MSS that TCP over IPv4 inside may have, 20 less over IPv6 (`--mssfix SIZE fixed`)."""
    mss_datagram: int = 0
    """Bytes of a datagram that TCP's segments are to fit, as `fragment` counts them (`--mssfix`)."""
    mss_overhead: int = 0
    """What of a payload is no TCP payload where `mss_datagram` holds."""
    credentials: Credentials | None = None
    ask_password: bool = False
    """A server wants user name and password, and admits whom its shell admits."""
    auth_retry: Literal["none", "nointeract"] = "none"
    pull_filters: tuple[Filter, ...] = ()
    peer_info: tuple[tuple[str, str], ...] = ()
    """What is told of this end beside what must be (`--push-peer-info`, `setenv UV_…`)."""
    tun_mtu: int = 1500
    tun_mtu_max: int = 1600
    max_packet_size: int = 1250
    """Of a control packet, its IP and UDP headers included (`--max-packet-size`)."""
    hand_window: float = 60
    server_poll_timeout: float = 0
    """A client gives up a server that has not answered at all for so long (`--server-poll-timeout`)."""
    tls_timeout: float = 2
    tran_window: float = 3600
    reneg_sec: float = 3600
    reneg_bytes: int = 0
    reneg_pkts: int = 0
    replay_window: int = 64
    replay_seconds: float = 15
    ping: float = 0
    ping_restart: float = 0
    ping_exit: float = 0
    ping_timer_rem: bool = False
    single_session: bool = False
    """A peer that begins anew is not answered while its old session stands (`--single-session`)."""
    remote: bool = True
    """The peer's address is configured (`--remote`)."""
    floats: bool = False
    """The link follows a peer whose data packets come from another address (`--float`)."""
    inactive: float = 0
    inactive_bytes: int = 0
    session_timeout: float = 0
    explicit_exit_notify: int = 0
    peer_id: int | None = None
    """The number that a server gives this client; two equal ends agree on one themselves."""
    version: str = "tmelink"
