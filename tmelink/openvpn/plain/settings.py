"""What the options of a link without TLS come to, as plain values.

Knows no option syntax and no files: the link element fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass

from tmelink.frame import Kind
from tmelink.openvpn.keys import KeyDirection
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.settings import SharedSettings


@dataclass(frozen=True)
class Settings(SharedSettings):
    """The options that matter to a session. Groups are those of `tmelink.openvpn.settings`."""

    kind: Kind = "ethernet"
    proto: str = "udp4"
    """`udp` or `tcp-client` or `tcp-server`, with 4 or 6 behind the first word once the family is known."""
    remote: bool = True
    """The peer's address is configured (--remote)."""
    socks: bool = False
    """Datagrams go through a SOCKS proxy, which adds to them."""

    key: Secret | None = None
    """The 256 bytes of --secret."""
    key_direction: KeyDirection | None = None
