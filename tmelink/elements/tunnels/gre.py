"""`tmelink/gre`: IP packets or Ethernet frames in IPv4 packets, after a GRE header (RFC 2784, RFC 2890)."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink import values
from tmelink.arguments import flag, keyword
from tmelink.element import Port
from tmelink.elements.tunnels.arguments import TunnelArguments
from tmelink.elements.tunnels.point_to_point import PointToPointTunnel
from tmelink.encapsulation.gre import GreCodec as Codec
from tmelink.frame import Kind

_key = values.integer(0, 0xFFFFFFFF, "key")


class Gre(PointToPointTunnel):
    """GRE as IP protocol 47 between two IPv4 addresses.

    It carries IP packets. If its inner side is connected to an Ethernet, it carries frames, as Linux's gretap
    does. Outer packets use the host's network, which needs CAP_NET_RAW. Or they use the element that is
    connected to the side `outer`: a link with --dev tun, a TUN, or another tunnel.
    """

    example = """\
tun0: tme/host/tun/tun inet 10.9.0.1 peer 10.9.0.2
gre0 at tun0: tmelink/gre local 192.168.0.1 remote 192.168.0.2 key 42
"""

    @dataclass(frozen=True)
    class Arguments(TunnelArguments):
        """The two ends, and the optional header fields."""

        key: int | None = keyword(
            "NUMBER", _key, default=None, help="a number that distinguishes this tunnel from others"
        )
        sequence: bool = flag(help="number the packets, and drop those that arrive out of order")
        checksum: bool = flag(help="add a checksum of the header and its payload")

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments, self._made("ip", arguments))

    @staticmethod
    def _made(kind: Kind, arguments: Arguments) -> Codec:
        return Codec(kind, key=arguments.key, checksum=arguments.checksum, sequence=arguments.sequence)

    def told_apart_by(self) -> tuple[object, ...]:
        """The key, if there is one."""
        return () if self.arguments.key is None else (f"with key {self.arguments.key}",)

    def adopt(self, port: Port, kind: Kind) -> None:
        """Carry what the element at the inner side exchanges: packets or frames."""
        if port is self.inner:
            port.kind = kind
            self.codec = self._made(kind, self.arguments)
