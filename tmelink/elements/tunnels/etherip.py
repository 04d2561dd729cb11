"""`tmelink/etherip`: Ethernet frames in IPv4 packets (RFC 3378)."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink.elements.tunnels.arguments import TunnelArguments
from tmelink.elements.tunnels.point_to_point import PointToPointTunnel
from tmelink.encapsulation.etherip import EtherIpCodec as Codec


class EtherIp(PointToPointTunnel):
    """EtherIP: Ethernet frames as IP protocol 97 between two IPv4 addresses.

    Outer packets use the host's network, which needs CAP_NET_RAW. Or they use the element that is connected
    to the side `outer`: a link with --dev tun, a TUN, or another tunnel. Frames that are too large travel in
    fragments.
    """

    example = """\
sw0: tmelink/switch
far at sw0: tmelink/etherip local 192.168.0.1 remote 192.168.0.2
"""

    @dataclass(frozen=True)
    class Arguments(TunnelArguments):
        """The two ends."""

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments, Codec())
