"""By which interface of this host an address is reached, as its routes stand now: asked of the kernel.

Needs no privilege. Synchronous and of the calling thread's namespace, as `tmelink.system.interfaces` is.
"""

from __future__ import annotations

import ipaddress
import socket

from tmelink.errors import ElementError
from tmelink.routing.facts import IPAddress, RouteResult
from tmelink.system import interfaces

_LOCAL = 2  # RTN_LOCAL, linux/rtnetlink.h


def towards(address: IPAddress) -> RouteResult | None:
    """The way out to an address; None where there is none, or no kernel that could be asked."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with interfaces.netlink(f"looking for the way to {address}") as ip:
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
