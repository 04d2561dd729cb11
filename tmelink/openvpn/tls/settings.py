"""What the options of a link with TLS come to, as plain values.

Knows no option syntax and no files: the link element fills it in. Secrets stay out of `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tmelink.frame import Kind
from tmelink.openvpn.settings import SharedSettings, SharedTlsSettings
from tmelink.openvpn.tls.wrap import WrapKey


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `--auth-user-pass` gives."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class TlsSettings(SharedSettings, SharedTlsSettings):
    """One end of a link with TLS. Groups are those of `tmelink.openvpn.settings`.

    `server` is the TLS role (`--tls-server`). `mode` is "equal" for two ends that each have all their
    options, "pull" for a client that asks its server for some, "push" for that server's side of one client.
    """

    server: bool
    mode: Literal["equal", "pull", "push"] = "equal"
    kind: Kind = "ethernet"
    stream: bool = False
    wrap: WrapKey = None
    mss: int = 0
    """The MSS that TCP over IPv4 may have in the tunnel, 20 less over IPv6 (`--mssfix SIZE fixed`)."""
    mss_datagram: int = 0
    """Bytes of a datagram that TCP's segments are to fit, as `Sizes.fragment` counts them (`--mssfix`)."""
    mss_overhead: int = 0
    """What of a payload is not TCP payload where `mss_datagram` holds."""
    credentials: Credentials | None = None
    ask_password: bool = False
    """A server wants user name and password, and admits whom its shell admits."""
    auth_retry: Literal["none", "nointeract"] = "none"
    peer_info: tuple[tuple[str, str], ...] = ()
    """Optional information about this end (`--push-peer-info`, `setenv UV_…`)."""
    server_poll_timeout: float = 0
    """A client gives up a server that has not answered at all for so long (`--server-poll-timeout`)."""
    require_exporter: bool = False
    """A server refuses clients that cannot derive keys from TLS (`--force-tls-key-material-export`)."""
    single_session: bool = False
    """A peer that restarts is not answered while its old session stands (`--single-session`)."""
    remote: bool = True
    """The peer's address is configured (`--remote`)."""
    floats: bool = False
    """The link follows a peer whose data packets come from another address (`--float`)."""
    peer_id: int | None = None
    """The number that a server gives this client; two equal ends agree on one themselves."""
    version: str = "tmelink"
