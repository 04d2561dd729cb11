"""`tmelink/ipip`: IP packets in IPv4 packets (RFC 2003, RFC 4213)."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink.elements.tunnels.arguments import TunnelArguments
from tmelink.elements.tunnels.point_to_point import PointToPointTunnel
from tmelink.encapsulation.ipip import IpipCodec as Codec


class Ipip(PointToPointTunnel):
    """IP in IP: IPv4 packets as protocol 4, IPv6 packets as protocol 41, between two IPv4 addresses.

    Outer packets use the host's network, which needs CAP_NET_RAW. Or they use the element that is connected
    to the side `outer`: a link with --dev tun, a TUN, or another tunnel.
    """

    example = """\
first: tmelink/ipip local 192.168.0.1 remote 192.168.0.2
second: tmelink/ipip local 172.16.0.1 remote 172.16.0.2
second outer at first
"""

    @dataclass(frozen=True)
    class Arguments(TunnelArguments):
        """The two ends."""

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments, Codec())
