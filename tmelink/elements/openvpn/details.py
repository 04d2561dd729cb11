"""What links and servers say of themselves, as values: `LinkDetails`, `ServerDetails`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tmelink.frame import Run
from tmelink.openvpn.session import Item, Security
from tmelink.state import Details


@dataclass(frozen=True, slots=True)
class LinkDetails(Details):
    """A link: where its peer is, how what they say is protected, and the sizes that hold.

    `peer` is address and port, None while there is none. `keys_since` is when the keys in use were made, in
    seconds since the epoch; `negotiated` what both ends agreed on beside the cipher. `mtu` is --tun-mtu.
    """

    proto: str
    peer: str | None
    device: str
    mtu: int
    cipher: str | None
    keys_since: float | None
    tls: str | None
    peer_name: str | None
    negotiated: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The peer, its name and how the link is protected."""
        return ", ".join(filter(None, (self.peer, self.peer_name, self.cipher or "not encrypted")))


@dataclass(frozen=True, slots=True)
class ClientDetails(Details):
    """One client of a server: its names, addresses outside and inside, and what crossed the wire.

    `since` is when it joined, in seconds since the epoch; `stations` are the MAC addresses learnt from it.
    """

    name: str
    username: str
    address: str
    inside: tuple[IPv4Address | IPv6Address, ...]
    stations: tuple[bytes, ...]
    since: float
    bytes_received: int
    bytes_sent: int
    cipher: str | None
    number: int


@dataclass(frozen=True, slots=True)
class ServerDetails(Details):
    """A server: how it is reached, and who is there."""

    proto: str
    device: str
    mtu: int
    clients: tuple[ClientDetails, ...]

    @property
    def summary(self) -> str:
        """How many are there."""
        return f"{len(self.clients)} client{'s' * (len(self.clients) != 1)}"


def link_details(
    proto: str, device: str, mtu: int, peer: str | None, security: Security, now: float
) -> LinkDetails:
    """`now` is in the session's clock, as the times in `security` are."""
    return LinkDetails(
        proto, peer, device, mtu, security.cipher, in_wall_time(security.keys_since, now), security.tls,
        security.peer_name, security.negotiated,
    )  # fmt: skip


def in_wall_time(moment: float | None, now: float) -> float | None:
    """A time of a clock that shows `now`, in seconds since the epoch."""
    return None if moment is None else time.time() - (now - moment)


def wire_bytes(items: Sequence[Item]) -> int:
    """Bytes of datagrams."""
    return sum(len(item.data) if isinstance(item, Run) else len(item) for item in items)
