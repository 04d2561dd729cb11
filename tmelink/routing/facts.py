"""What a plan needs to know about the host: its present routes, addresses and rules.

`tmelink.system.facts` reads them from the kernel. They can also be read from a text with one fact a line, in
the
form of `ip route` and `ip -o addr`::

    route default via 198.51.100.1 dev eth0 metric 100
    address 198.51.100.7/24 dev eth0
    nameserver 198.51.100.53
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network
IPVersion = Literal[4, 6]

DEFAULT: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


@dataclass(frozen=True, slots=True)
class Route:
    """One unicast route, or for `device` None one that answers "unreachable"; `table` None is the main table.

    `metric` 0 leaves the metric to the kernel: 0 for IPv4 and 1024 for IPv6. `source` is the source address
    of the host's own packets, if the sender does not choose one.
    """

    destination: IPNetwork
    device: str | None = None
    gateway: IPAddress | None = None
    metric: int = 0
    table: int | None = None
    source: IPAddress | None = None

    def __str__(self) -> str:
        words = ["default" if self.destination == DEFAULT[4] else str(self.destination)]
        if self.device is None:
            words.insert(0, "unreachable")
        if self.gateway is not None:
            words += ["via", str(self.gateway)]
        if self.device is not None:
            words += ["dev", self.device]
        if self.source is not None:
            words += ["src", str(self.source)]
        if self.metric:
            words += ["metric", str(self.metric)]
        if self.table is not None:
            words += ["table", str(self.table)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The interface by which a host reaches one address, its MTU, and the source address of packets to it.

    `local` says that the address belongs to the host itself.
    """

    device: str
    mtu: int
    source: IPAddress | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """The host's present state, without what tmelink's tunnels have added.

    `addresses` pairs interfaces with their addresses. `rules` are the priorities and `tables` the numbers in
    use, `table_names` those of rt_tables(5). `forwards_singly` says whether IPv6 can be forwarded from single
    interfaces (force_forwarding, Linux 6.17). `settings` holds the sysctls that plans read.
    """

    routes: tuple[Route, ...] = ()
    addresses: tuple[tuple[str, IPInterface], ...] = ()
    rules: frozenset[int] = frozenset()
    tables: frozenset[int] = frozenset()
    table_names: Mapping[str, int] = field(default_factory=dict)
    nameservers: tuple[IPAddress, ...] = ()
    dhcp_servers: tuple[IPv4Address, ...] = ()
    forwards_singly: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def default(self, version: int) -> Route | None:
        """The default route in force: of several, the one with the lowest metric."""
        return self.route_to(DEFAULT[version].network_address, longest=0)

    def route_to(self, address: IPAddress, *, longest: int = 128) -> Route | None:
        """The route to an address, among prefixes no longer than `longest` bits."""
        fitting = [
            route
            for route in self.routes
            if route.destination.version == address.version
            and route.destination.prefixlen <= longest
            and address in route.destination
        ]
        return min(fitting, key=lambda r: (-r.destination.prefixlen, r.metric), default=None)

    def without(self, *devices: str) -> Facts:
        """The facts without these interfaces."""
        return Facts(
            tuple(route for route in self.routes if route.device not in devices),
            tuple(pair for pair in self.addresses if pair[0] not in devices),
            self.rules,
            self.tables,
            self.table_names,
            self.nameservers,
            self.dhcp_servers,
            self.forwards_singly,
            self.settings,
        )

    def connected(self) -> Iterator[Route]:
        """The routes to networks that are reached without a gateway."""
        for route in self.routes:
            if route.gateway is None and route.device is not None and route.destination.prefixlen:
                yield route


def parse(text: str, name: str = "facts") -> Facts:
    """Facts from text; `#` begins a comment. Raises `ValueError` with the line's number and text.

    An address adds the route to its network, as it does on Linux.
    """
    routes: list[Route] = []
    addresses: list[tuple[str, IPInterface]] = []
    nameservers: list[IPAddress] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            if words[0] == "route":
                routes.append(_route(words[1], dict(zip(words[2::2], words[3::2], strict=True))))
            elif words[0] == "address":
                own = ipaddress.ip_interface(words[1])
                addresses.append((words[words.index("dev") + 1], own))
                routes.append(Route(own.network, addresses[-1][0]))
            elif words[0] == "nameserver":
                nameservers.append(ipaddress.ip_address(words[1]))
            else:
                raise ValueError(f"'{words[0]}' is not one of route, address, nameserver")
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"{name}:{number}: {line.strip()}: {error}") from error
    return Facts(tuple(routes), tuple(addresses), nameservers=tuple(nameservers))


def _route(destination: str, rest: dict[str, str]) -> Route:
    gateway = ipaddress.ip_address(rest["via"]) if "via" in rest else None
    if destination == "default":
        network = DEFAULT[gateway.version if gateway is not None else 4]
    else:
        network = ipaddress.ip_network(destination)
    return Route(network, rest["dev"], gateway, int(rest.get("metric", 0)))
