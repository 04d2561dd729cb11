"""What the kernel refuses of a plan: told from other errors, and in words with a remedy."""

from __future__ import annotations

import errno
from ipaddress import IPv4Network, IPv6Network

from tmelink.errors import ElementError
from tmelink.routing.facts import Route
from tmelink.routing.plan import Change, InterfaceAddress
from tmelink.system import recovery, sysctls


def is_refusal(error: ElementError) -> bool:
    """Whether the kernel refuses one thing, rather than that something is missing on the host."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno != errno.ENOENT
    return cause is not None and recovery.code(cause) != 0


def with_remedy(error: ElementError, change: Change) -> str:
    """The refusal in words; the same words for everything that one switch forbids."""
    device = getattr(change, "device", None)
    refused = error.__cause__ is not None and recovery.code(error.__cause__) == errno.EACCES
    if refused and device is not None and _version(change) == 6:
        return f"IPv6 is switched off on {device}; 'sysctl net.ipv6.conf.{device}.disable_ipv6=0' allows it"
    return str(error)


def _version(change: Change) -> int | None:
    if isinstance(change, Route):
        return change.destination.version
    return change.interface.version if isinstance(change, InterfaceAddress) else None


def ipv6_is_off(change: Route) -> bool:
    """Whether a route is one of IPv6, which no interface of the host has."""
    return change.destination.version == 6 and sysctls.read("net/ipv6/conf/all/disable_ipv6") != "0"


def hosts_in(change: Change, hosts: set[object]) -> set[object]:
    """Those of some host routes' destinations that a route leads to as well."""
    if not isinstance(change, Route):
        return set()
    network = change.destination
    return {
        host
        for host in hosts
        if isinstance(host, IPv4Network | IPv6Network)
        and host.version == network.version
        and host.network_address in network
    }
