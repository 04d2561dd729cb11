"""OpenVPN's status file in its three versions, out of a `Snapshot`. Text, no I/O.

As OpenVPN 2.6 writes it: `multi_print_status` in multi.c for servers, `print_status` in sig.c for others.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

DATE = "%Y-%m-%d %H:%M:%S"

CLIENT_HEADS = (
    "Common Name",
    "Real Address",
    "Virtual Address",
    "Virtual IPv6 Address",
    "Bytes Received",
    "Bytes Sent",
    "Connected Since",
    "Connected Since (time_t)",
    "Username",
    "Client ID",
    "Peer ID",
    "Data Channel Cipher",
)
ROUTE_HEADS = ("Virtual Address", "Common Name", "Real Address", "Last Ref", "Last Ref (time_t)")


@dataclass(frozen=True, slots=True)
class ConnectedClient:
    """A client of a server. Addresses are text, the one outside with its port; `since` seconds since 1970.

    `inside` is what leads to it in the tunnel: its addresses, or the MAC addresses of its stations.
    """

    number: int
    name: str
    username: str
    address: str
    ipv4: str
    ipv6: str
    inside: tuple[str, ...]
    bytes_received: int
    bytes_sent: int
    since: float
    cipher: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A link or server at one moment, `now` in seconds since 1970.

    `state` is a name of OpenVPN's (management-notes.txt, COMMAND -- state), `since` when it began. `clients`
    is None for a link, which has one peer.
    """

    title: str
    now: float
    state: str
    since: float
    reason: str = ""
    ipv4: str = ""
    ipv6: str = ""
    remote: tuple[str, str] = ("", "")
    local: tuple[str, str] = ("", "")
    tun_read: int = 0
    tun_written: int = 0
    wire_read: int = 0
    wire_written: int = 0
    clients: tuple[ConnectedClient, ...] | None = None


def status(snapshot: Snapshot, version: int) -> list[str]:
    """The lines of the status file."""
    if snapshot.clients is None:
        return list(_link(snapshot))
    if version == 1:
        return list(_first(snapshot, snapshot.clients))
    separator = "," if version == 2 else "\t"
    return [separator.join(row) for row in _rows(snapshot, snapshot.clients)]


def date(moment: float) -> str:
    """A time as OpenVPN writes it."""
    return datetime.datetime.fromtimestamp(moment).strftime(DATE)


def _link(snapshot: Snapshot) -> Iterator[str]:
    yield "OpenVPN STATISTICS"
    yield f"Updated,{date(snapshot.now)}"
    yield f"TUN/TAP read bytes,{snapshot.tun_read}"
    yield f"TUN/TAP write bytes,{snapshot.tun_written}"
    yield f"TCP/UDP read bytes,{snapshot.wire_read}"
    yield f"TCP/UDP write bytes,{snapshot.wire_written}"
    yield f"Auth read bytes,{snapshot.wire_read}"
    yield "END"


def _first(snapshot: Snapshot, clients: tuple[ConnectedClient, ...]) -> Iterator[str]:
    yield "OpenVPN CLIENT LIST"
    yield f"Updated,{date(snapshot.now)}"
    yield "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since"
    for client in clients:
        yield ",".join(
            (
                _plain(client.name),
                client.address,
                str(client.bytes_received),
                str(client.bytes_sent),
                date(client.since),
            )
        )
    yield "ROUTING TABLE"
    yield "Virtual Address,Common Name,Real Address,Last Ref"
    for client in clients:
        for address in client.inside:
            yield ",".join((address, _plain(client.name), client.address, date(snapshot.now)))
    yield "GLOBAL STATS"
    yield "Max bcast/mcast queue length,0"
    yield "END"


def _rows(snapshot: Snapshot, clients: tuple[ConnectedClient, ...]) -> Iterator[tuple[str, ...]]:
    now = str(int(snapshot.now))
    yield "TITLE", snapshot.title
    yield "TIME", date(snapshot.now), now
    yield ("HEADER", "CLIENT_LIST", *CLIENT_HEADS)
    for client in clients:
        yield (
            "CLIENT_LIST",
            _plain(client.name),
            client.address,
            client.ipv4,
            client.ipv6,
            str(client.bytes_received),
            str(client.bytes_sent),
            date(client.since),
            str(int(client.since)),
            _plain(client.username),
            str(client.number),
            str(client.number),
            client.cipher,
        )
    yield ("HEADER", "ROUTING_TABLE", *ROUTE_HEADS)
    for client in clients:
        for address in client.inside:
            yield "ROUTING_TABLE", address, _plain(client.name), client.address, date(snapshot.now), now
    yield "GLOBAL_STATS", "Max bcast/mcast queue length", "0"
    yield ("END",)


def _plain(name: str) -> str:
    """A name that cannot break a line or a column; UNDEF where there is none."""
    return "".join("_" if c in ",\t" or not c.isprintable() else c for c in name) or "UNDEF"
