"""A TAP: the host's own end of an Ethernet, as an element.

This is the device with TME's arguments. `openvpn_tap` is the same with OpenVPN's options; how frames move
through it is in `tuntap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from tmelink import values
from tmelink.arguments import ArgumentError, keyword, keywords
from tmelink.elements.host_interfaces import routing_arguments
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.system import interfaces


class Tap(TunTap):
    """`tme/host/tun/tap`: a TAP with TME's arguments."""

    example = """\
sw0: tmelink/switch
tap0 at sw0: tme/host/tun/tap interface tap0 inet 10.0.77.1/24 nat auto
"""

    @dataclass(frozen=True)
    class Arguments:
        """The settings of a TAP, however they were written."""

        interface: str | None = keyword(
            "NAME", values.interface_name, default=None, help="its name; by default the next free tapN"
        )
        inet: IPv4Interface | IPv4Address | None = keyword(
            "ADDR[/LEN]", values.ipv4_interface_or_address, default=None, help="its IPv4 address"
        )
        netmask: int | None = keyword(
            "MASK", values.netmask, default=None, help="the netmask, where the address has no /LEN"
        )
        bcast: IPv4Address | None = keyword(
            "ADDR", values.ipv4, default=None, help="the broadcast address; by default the network's last"
        )
        inet6: tuple[IPv6Interface, ...] = keywords(
            "ADDR/LEN", values.ipv6_interface, help="an IPv6 address; may be given several times"
        )
        mac: bytes | None = keyword(
            "MAC",
            values.unicast_mac,
            default=None,
            help="the host's MAC address on it; a new TAP with an IP address derives it from that",
        )
        mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="largest packet; by default what the other end of its connection takes",
        )
        bridge: str | None = keyword(
            "NAME",
            values.interface_name,
            default=None,
            help="add it to this bridge of the host, without an address",
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
            if self.inet is None:
                for name in ("netmask", "bcast"):
                    if getattr(self, name) is not None:
                        raise ArgumentError(name, f"'{name}' needs 'inet ADDR' too")
            if self.netmask is not None and isinstance(self.inet, IPv4Interface):
                raise ArgumentError(
                    "netmask", f"'inet {self.inet}' already has a prefix; leave one of them out"
                )
            if self.inet is None and not self.inet6:
                for name in ("nat", "policy-routing"):
                    if getattr(self, name.replace("-", "_")) not in (None, routing_arguments.NONE):
                        raise ArgumentError(name, f"'{name}' needs 'inet ADDR' too")
            if self.bridge is not None and (self.inet is not None or self.inet6):
                raise ArgumentError(
                    "bridge",
                    "a TAP in a bridge has no address of its own; give the address to the bridge "
                    f"('ip addr add … dev {self.bridge}') or leave 'bridge' out",
                )

        def addresses(self) -> list[interfaces.AssignedAddress]:
            """The addresses of the interface; a bare IPv4 address has its class's netmask."""
            own = [interfaces.AssignedAddress(address) for address in self.inet6]
            if self.inet is not None:
                inet = self.inet
                if not isinstance(inet, IPv4Interface):
                    inet = IPv4Interface((inet, self.netmask if self.netmask is not None else _class(inet)))
                own.insert(0, interfaces.AssignedAddress(inet, self.bcast or interfaces.broadcast(inet)))
            return own

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(
            name,
            arguments,
            request=arguments.interface,
            wanted=interfaces.InterfaceSettings(
                mac=arguments.mac,
                mtu=arguments.mtu,
                bridge=arguments.bridge,
                addresses=arguments.addresses(),
            ),
            offload=arguments.offload,
            around=routing_arguments.request(arguments, point_to_point=False),
        )


def _class(address: IPv4Address) -> int:
    """The prefix length of an address's class, which a missing netmask has always meant."""
    first = address.packed[0]
    return 8 if first < 128 else 16 if first < 192 else 24
