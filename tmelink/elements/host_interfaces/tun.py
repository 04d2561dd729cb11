"""A TUN: the host's own end of an IP network without an Ethernet, as an element.

`openvpn_tun` is the same device with OpenVPN's options; how packets move through it is in `tuntap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from tmelink import values
from tmelink.arguments import ArgumentError, keyword, keywords
from tmelink.elements.host_interfaces import routing_arguments
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.system import interfaces


class Tun(TunTap):
    """`tme/host/tun/tun`: a TUN, which exchanges IP packets with the host."""

    example = """\
tun0: tme/host/tun/tun interface tun0 inet 10.8.0.1 peer 10.8.0.2
link0 at tun0: tme/host/openvpn/socket/link --dev tun --local 192.0.2.1 --remote 192.0.2.2
"""

    @dataclass(frozen=True)
    class Arguments:
        """The settings of a TUN, however they were written."""

        interface: str | None = keyword(
            "NAME", values.interface_name, default=None, help="its name; by default the next free tunN"
        )
        inet: IPv4Interface | IPv4Address | None = keyword(
            "ADDR[/LEN]",
            values.ipv4_interface_or_address,
            default=None,
            help="its IPv4 address, with /LEN or with 'peer'",
        )
        peer: IPv4Address | None = keyword(
            "ADDR", values.ipv4, default=None, help="the address of the other end of a point-to-point TUN"
        )
        inet6: tuple[IPv6Interface, ...] = keywords(
            "ADDR/LEN", values.ipv6_interface, help="an IPv6 address; may be given several times"
        )
        mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="largest packet; by default what the other end of its connection takes",
        )
        nat: str | None = routing_arguments.nat()
        forward: tuple[str, ...] = routing_arguments.forward()
        proxy_arp: str | None = routing_arguments.proxy_arp()
        proxy_ndp: tuple[IPv6Address, ...] = routing_arguments.proxy_ndp()
        policy_routing: str | None = routing_arguments.policy_routing()
        router: tuple[IPv4Address | IPv6Address, ...] = routing_arguments.router()
        offload: bool = keyword(
            "on|off",
            values.switch,
            default=True,
            help="exchange super-frames and unfinished checksums with the host",
        )

        def __post_init__(self) -> None:
            routing_arguments.check(self)
            if self.peer is not None:
                if self.inet is None:
                    raise ArgumentError("peer", "'peer' needs 'inet ADDR' too")
                if isinstance(self.inet, IPv4Interface):
                    raise ArgumentError(
                        "peer", f"'inet {self.inet}' names a network already; write 'inet {self.inet.ip}'"
                    )
            elif self.inet is not None and not isinstance(self.inet, IPv4Interface):
                raise ArgumentError(
                    "inet", f"'inet {self.inet}' needs a network, as {self.inet}/24, or 'peer ADDR' too"
                )

        def addresses(self) -> list[interfaces.AssignedAddress]:
            """The addresses of the interface."""
            own = [interfaces.AssignedAddress(address) for address in self.inet6]
            if self.inet is not None:
                # A point-to-point address has no network of its own, so its prefix is the full length.
                own.insert(0, interfaces.AssignedAddress(IPv4Interface(self.inet), peer=self.peer))
            return own

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(
            name,
            arguments,
            request=arguments.interface,
            wanted=interfaces.InterfaceSettings(mtu=arguments.mtu, addresses=arguments.addresses()),
            offload=arguments.offload,
            kind="ip",
            around=routing_arguments.request(arguments, point_to_point=True),
        )
