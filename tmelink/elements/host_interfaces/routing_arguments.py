"""Arguments that a TAP and a TUN share: what the host does for the network on it, as a router and as an end.

Declarations and the request that they make; `tmelink.routing` makes the plan.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from tmelink import values
from tmelink.arguments import ArgumentError, keyword, keywords
from tmelink.elements.host_interfaces.host_network import HostNetworkRequest
from tmelink.routing.identities import Identity
from tmelink.routing.translation import RouterSettings

NONE = "none"
FREE = "free"
"""The value of policy-routing without a table: the next free one."""


class RoutingArguments(Protocol):
    """Arguments that include those below."""

    @property
    def nat(self) -> str | None:
        """As declared by `nat`; so are the others."""

    @property
    def forward(self) -> tuple[str, ...]:
        """Interfaces."""

    @property
    def proxy_arp(self) -> str | None:
        """An interface."""

    @property
    def proxy_ndp(self) -> tuple[IPv6Address, ...]:
        """Addresses behind it."""

    @property
    def policy_routing(self) -> str | None:
        """A table."""

    @property
    def router(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The next router."""


def nat() -> str | None:
    """AutoNAT."""
    return keyword(
        "INTERFACE|auto|none",
        values.interface_name,
        default=None,
        help="let its network out through INTERFACE (auto: the default route's), with the host's address",
    )


def forward() -> tuple[str, ...]:
    """Forwarding without translation."""
    return keywords(
        "INTERFACE",
        values.interface_name,
        help="forward between it and INTERFACE; may be given several times",
    )


def proxy_arp() -> str | None:
    """Proxy ARP."""
    return keyword(
        "INTERFACE",
        values.interface_name,
        default=None,
        help="answer ARP on INTERFACE for hosts behind this one, and here for hosts on INTERFACE",
    )


def proxy_ndp() -> tuple[IPv6Address, ...]:
    """Proxy NDP."""
    return keywords("ADDR", values.ipv6, help="with proxy-arp: answer there for this IPv6 address too")


def policy_routing() -> str | None:
    """Two identities."""
    return keyword(
        "TABLE",
        values.text,
        default=None,
        alone=FREE,
        help="send packets from its address through it, all others by the host's "
        "ordinary routes; TABLE is a routing table's number or name (a free one)",
    )


def router() -> tuple[IPv4Address | IPv6Address, ...]:
    """The next router, for policy routing on an Ethernet."""
    return keywords("ADDR", values.address, help="with policy-routing: the router on it, one per IP version")


def check(arguments: RoutingArguments) -> None:
    """Raise `ArgumentError` for arguments that exclude each other."""
    if arguments.proxy_ndp and arguments.proxy_arp is None:
        raise ArgumentError("proxy-ndp", "'proxy-ndp' needs 'proxy-arp INTERFACE' too")
    if arguments.router and arguments.policy_routing is None:
        raise ArgumentError("router", "'router' needs 'policy-routing' too")


def request(arguments: RoutingArguments, *, point_to_point: bool) -> HostNetworkRequest:
    """What the arguments ask of the host; device and addresses are filled in when they are known."""
    nat = None if arguments.nat == NONE else arguments.nat
    routes = nat or arguments.forward or arguments.proxy_arp
    table = arguments.policy_routing
    return HostNetworkRequest(
        identity=None
        if table is None
        else Identity(
            device="",
            addresses=(),
            gateways=arguments.router,
            point_to_point=point_to_point,
            table=None if table == FREE else table,
        ),
        router=None
        if not routes
        else RouterSettings(
            device="",
            nat=nat,
            forward=arguments.forward,
            proxy_arp=arguments.proxy_arp,
            proxy_ndp=arguments.proxy_ndp,
        ),
    )
