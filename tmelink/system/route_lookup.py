"""Asks the kernel which interface of this host leads to an address, by its present routes.

Needs no privilege. Synchronous, and in the calling thread's namespace, like `tmelink.system.interfaces`.
"""

from __future__ import annotations

import ipaddress
import socket

from tmelink.errors import ElementError
from tmelink.routing.facts import IPAddress, RouteResult
from tmelink.system import interfaces

_LOCAL = 2  # RTN_LOCAL, linux/rtnetlink.h


def towards(address: IPAddress) -> RouteResult | None:
    """The route to an address; None if there is none, or no kernel to ask."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with interfaces.netlink(f"looking up the route to {address}") as ip:
            for route in ip.route("get", dst=str(address), family=family):
                (link,) = ip.get_links(route.get("oif"))
                own = route.get("prefsrc")
                return RouteResult(
                    str(link.get("ifname")),
                    int(link.get("mtu")),
                    None if own is None else ipaddress.ip_address(own),
                    local=route["type"] == _LOCAL,
                )
    except ElementError:
        return None
    return None
