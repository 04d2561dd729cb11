"""The details of links and servers, as values: `LinkDetails`, `ServerDetails`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address

from tmelink import ethernet
from tmelink.element import Element
from tmelink.frame import Counters, Run
from tmelink.openvpn.monitoring.status import ConnectedClient, Snapshot
from tmelink.openvpn.session import Item, Security
from tmelink.routing.dns import Dns, DnsServer
from tmelink.state import Details

TITLE = f"OpenVPN 2.6.0 compatible, tmelink {version('tmelink')}"
"""The version that monitors see; they look for OpenVPN and a number."""


@dataclass(frozen=True, slots=True)
class NameServerDetails(Details):
    """A name server that a tunnel brings (`tmelink.routing.dns.DnsServer`), the first choice first."""

    addresses: tuple[str, ...]
    domains: tuple[str, ...]
    dnssec: str | None
    transport: str | None
    sni: str | None


@dataclass(frozen=True, slots=True)
class LinkDetails(Details):
    """A link: where its peer is, how what they say is protected, and the sizes that hold.

    `peer` is address and port, None while there is none. `keys_since` is when the keys in use were made, in
    seconds since the epoch; `negotiated` what both ends agreed on beside the cipher. `mtu` is --tun-mtu.
    `round_trip` is in seconds, measured when the link was asked about alone (`Element.measure`), until then
    the last handshake's; `path_mtu` is the largest packet outside, as the kernel knows it. `handshakes`
    counts those completed since the link was opened; `queued` are bytes that wait for a stream to take them.
    `path` says which path a link with --rendezvous takes, and why.
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
    search_domains: tuple[str, ...] = ()
    name_servers: tuple[NameServerDetails, ...] = ()
    round_trip: float | None = None
    handshakes: int = 0
    queued: int = 0
    path_mtu: int | None = None
    path: str | None = None

    @property
    def summary(self) -> str:
        """The peer, or the path to it, its name and how the link is protected."""
        return ", ".join(
            filter(None, (self.path or self.peer, self.peer_name, self.cipher or "not encrypted"))
        )


@dataclass(frozen=True, slots=True)
class ClientDetails(Details):
    """One client of a server: its names, its address and those in the tunnel, and what crossed the wire.

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
    keys_since: float | None = None
    round_trip: float | None = None


@dataclass(frozen=True, slots=True)
class ServerDetails(Details):
    """A server: how it is reached, and who is there.

    `handshakes` counts those completed since it was opened; `queued` are bytes that wait for streams.
    """

    proto: str
    device: str
    mtu: int
    clients: tuple[ClientDetails, ...]
    handshakes: int = 0
    queued: int = 0

    @property
    def summary(self) -> str:
        """How many are there."""
        return f"{len(self.clients)} client{'s' * (len(self.clients) != 1)}"


def link_details(
    proto: str, device: str, mtu: int, peer: str | None, security: Security, now: float, dns: Dns | None,
    handshakes: int, queued: int, path_mtu: int | None, path: str | None,
) -> LinkDetails:  # fmt: skip
    """`now` is in the session's clock, as the times in `security` are; `handshakes` counts all sessions'."""
    return LinkDetails(
        proto, peer, device, mtu, security.cipher, in_wall_time(security.keys_since, now), security.tls,
        security.peer_name, security.negotiated,
        () if dns is None else dns.search,
        () if dns is None else tuple(map(_name_server, dns.servers)),
        security.round_trip, handshakes, queued, path_mtu, path,
    )  # fmt: skip


def _name_server(server: DnsServer) -> NameServerDetails:
    addresses = tuple(map(str, server.addresses))
    return NameServerDetails(addresses, server.domains, server.dnssec, server.transport, server.sni)


def in_wall_time(moment: float | None, now: float) -> float | None:
    """A time of a clock that shows `now`, in seconds since the epoch."""
    return None if moment is None else time.time() - (now - moment)


def wire_bytes(items: Sequence[Item]) -> int:
    """Bytes of datagrams."""
    return sum(len(item.data) if isinstance(item, Run) else len(item) for item in items)


def link_snapshot(link: Element, details: LinkDetails, sent: Counters, received: Counters) -> Snapshot:
    """A link as OpenVPN's monitors want it."""
    port = link.ports[0] if link.ports else None
    from_machine = port.peer.sent.bytes if port is not None and port.peer is not None else 0
    host, _, remote_port = (details.peer or "").rpartition(":")
    return Snapshot(
        title=TITLE,
        now=time.time(),
        state="CONNECTED" if link.up else "RECONNECTING" if link.state.reason else "WAIT",
        since=link.state.since,
        reason="SUCCESS" if link.up else link.state.reason,
        remote=(host.strip("[]"), remote_port),
        tun_read=from_machine,
        tun_written=port.sent.bytes if port is not None else 0,
        wire_read=received.bytes,
        wire_written=sent.bytes,
    )


def server_snapshot(server: Element, details: ServerDetails, sent: Counters, received: Counters) -> Snapshot:
    """A server as OpenVPN's monitors want it."""
    return Snapshot(
        title=TITLE,
        now=time.time(),
        state="CONNECTED",
        since=server.state.since,
        reason="SUCCESS",
        wire_read=received.bytes,
        wire_written=sent.bytes,
        clients=tuple(map(_client, details.clients)),
    )


def _client(client: ClientDetails) -> ConnectedClient:
    versions = {address.version: str(address) for address in client.inside}
    stations = tuple(map(ethernet.text, client.stations))
    return ConnectedClient(
        number=client.number,
        name=client.name,
        username=client.username,
        address=client.address,
        ipv4=versions.get(4, ""),
        ipv6=versions.get(6, ""),
        inside=stations or tuple(versions.values()),
        bytes_received=client.bytes_received,
        bytes_sent=client.bytes_sent,
        since=client.since,
        cipher=client.cipher or "",
    )
