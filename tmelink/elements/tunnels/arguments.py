"""The arguments that all tunnels have in common."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from tmelink import ip, values
from tmelink.arguments import ArgumentError, keyword

ttl = values.integer(1, 255, "time to live")


@dataclass(frozen=True)
class TunnelArguments:
    """The two ends of a tunnel, and how its outer packets are made."""

    local: IPv4Address = keyword("ADDR", values.ipv4, help="this end's outer address")
    remote: IPv4Address = keyword("ADDR", values.ipv4, help="the other end's outer address")
    ttl: int = keyword(
        "HOPS", ttl, default=ip.DEFAULT_TTL, help="time to live of outer packets, in hops (64)"
    )
    mtu: int | None = keyword(
        "BYTES",
        values.mtu,
        default=None,
        help="the largest inner packet; by default the path MTU minus the headers",
    )

    def __post_init__(self) -> None:
        for name, address in (("local", self.local), ("remote", self.remote)):
            if address.is_multicast or address.is_unspecified or int(address) == 0xFFFFFFFF:
                raise ArgumentError(name, f"{address} is not a unicast address")
        if self.local == self.remote:
            raise ArgumentError("remote", "both ends of a tunnel have the same address")
