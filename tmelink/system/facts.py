"""Reads what plans need to know about the host, through rtnetlink and /proc, without privilege.

Synchronous, and in the calling thread's namespace, like `tmelink.system.interfaces`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tmelink.routing.facts import DEFAULT, Facts, IPAddress, IPInterface, Route
from tmelink.routing.plan import Change, Rule
from tmelink.routing.tunnel import HALVES
from tmelink.system import interfaces, sysctls

PROTOCOL = 116
"""The protocol number of tmelink's routes and rules, which `ip route` shows; unused in rt_protos."""

_MAIN = 254  # RT_TABLE_MAIN, linux/rtnetlink.h
_UNICAST = 1  # RTN_UNICAST
_FAMILIES = ((socket.AF_INET, 4), (socket.AF_INET6, 6))
_TABLES = ("/usr/share/iproute2/rt_tables", "/etc/iproute2/rt_tables")
_LEASES = Path("/run/systemd/netif/leases")


def read(own: Collection[Change] = ()) -> Facts:
    """The host's present state, without the changes in `own` and without routes that redirect all traffic."""
    with interfaces.netlink("reading the routes of this host") as ip:
        names = {link["index"]: str(link.get("ifname")) for link in ip.get_links()}
        routes: list[Route] = []
        tables: set[int] = set()
        rules: set[int] = set()
        for family, version in _FAMILIES:
            for message in ip.get_routes(family=family):
                table = message.get("table") or message["table"]
                tables.add(table)
                route = _route(message, names, version) if table == _MAIN else None
                if route is not None and route not in own and not _anothers(message, route):
                    routes.append(route)
            rules.update(message.get("priority") or 0 for message in ip.get_rules(family=family))
        addresses = tuple(_addresses(ip, names))
    tables -= {c.table for c in own if isinstance(c, Route) and c.table is not None}
    rules -= {c.priority for c in own if isinstance(c, Rule)}
    devices = {route.device for route in routes if route.device is not None}
    learns = {f"net/ipv6/conf/{name}/accept_ra" for name in devices}
    return Facts(
        tuple(routes),
        addresses,
        frozenset(rules),
        frozenset(tables),
        _table_names(),
        tuple(_nameservers()),
        tuple(_dhcp_servers()),
        sysctls.read("net/ipv6/conf/lo/force_forwarding") is not None,
        {name: value for name in sorted(learns) if (value := sysctls.read(name)) is not None},
    )


def _route(message: Any, names: dict[int, str], version: int) -> Route | None:
    if message["type"] != _UNICAST:
        return None
    index, gateway = message.get("oif"), message.get("gateway")
    hops = message.get("multipath")
    if index is None and hops:
        index, gateway = hops[0]["oif"], hops[0].get("gateway")
    if index not in names or names[index] == "lo":
        return None
    destination = DEFAULT[version]
    if message["dst_len"]:
        destination = ipaddress.ip_network((message.get("dst"), message["dst_len"]))
    return Route(
        destination,
        names[index],
        None if gateway is None else ipaddress.ip_address(gateway),
        message.get("priority") or 0,
        None,
    )


def _anothers(message: Any, route: Route) -> bool:
    """Whether this route is another tunnel's: half of a default route, or a bypass route to its peer."""
    if message["proto"] != PROTOCOL:
        return False
    network = route.destination
    return network in HALVES[network.version] or network.prefixlen == network.max_prefixlen


def _addresses(ip: Any, names: dict[int, str]) -> Iterator[tuple[str, IPInterface]]:
    for message in ip.get_addr():
        own = message.get("local") or message.get("address")
        if own is not None and message["index"] in names:
            yield names[message["index"]], ipaddress.ip_interface((own, message["prefixlen"]))


def _table_names() -> dict[str, int]:
    """Names of routing tables (rt_tables(5)); the administrator's override the distribution's."""
    files = [Path(name) for name in _TABLES]
    files += sorted(Path("/etc/iproute2/rt_tables.d").glob("*.conf"))
    names: dict[str, int] = {}
    for file in files:
        with contextlib.suppress(OSError):
            found = re.findall(r"^\s*(\d+)\s+([^\s#]+)", file.read_text(), re.MULTILINE)
            names |= {name: int(number) for number, name in found}
    return names


def _nameservers() -> Iterator[IPAddress]:
    with contextlib.suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with contextlib.suppress(ValueError):
                    yield ipaddress.ip_address(words[1].split("%")[0])


def _dhcp_servers() -> Iterator[IPv4Address]:
    """DHCP servers in systemd-networkd's leases; other clients do not publish theirs."""
    with contextlib.suppress(OSError):
        for lease in sorted(_LEASES.iterdir()):
            for server in re.findall(r"^SERVER_ADDRESS=(\S+)", lease.read_text(), re.MULTILINE):
                yield IPv4Address(server)
