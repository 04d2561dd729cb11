"""`tmelink/netns`: a network namespace of the host as a machine, for labs with real programs in them.

Knows the namespace and its one interface, a TAP in it; programs that run there see an Ethernet card. The
namespace is one of iproute2's: `ip netns exec NAME sh` opens a shell on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from tmelink import values
from tmelink.arguments import keyword, keywords, positional
from tmelink.element import Claim
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.errors import ElementError
from tmelink.system import interfaces, namespaces, programs, remains

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def _name(word: str) -> str:
    if not _NAME.fullmatch(word):
        raise ValueError(
            f"'{word}' is not a valid namespace name: letters, digits, '_', '.' and '-', 64 at most"
        )
    return word


class Netns(TunTap):
    """A network namespace with a TAP in it; tmelink creates and removes it, or uses one that exists."""

    example = """\
sw0: tmelink/switch
red at sw0: tmelink/netns red inet 10.0.77.11/24
blue at sw0: tmelink/netns blue inet 10.0.77.12/24
"""

    commands = ("exec", "show")

    @dataclass(frozen=True)
    class Arguments:
        """The namespace, and the settings of its interface."""

        netns: str = positional("NAME", _name, help="the namespace, as `ip netns` names it")
        interface: str = keyword("NAME", values.interface_name, default="eth0", help="its interface (eth0)")
        mac: bytes | None = keyword("MAC", values.unicast_mac, default=None, help="the MAC address")
        inet: tuple[IPv4Interface, ...] = keywords(
            "ADDR/LEN", values.ipv4_interface, help="an IPv4 address; may be given several times"
        )
        inet6: tuple[IPv6Interface, ...] = keywords(
            "ADDR/LEN", values.ipv6_interface, help="an IPv6 address; may be given several times"
        )
        gateway: IPv4Address | None = keyword(
            "ADDR", values.ipv4, default=None, help="the router to all other IPv4 networks"
        )
        gateway6: IPv6Address | None = keyword(
            "ADDR", values.ipv6, default=None, help="the router to all other IPv6 networks"
        )
        mtu: int | None = keyword(
            "BYTES",
            values.mtu,
            default=None,
            help="largest packet; by default what the other end of its connection takes",
        )
        offload: bool = keyword(
            "on|off", values.switch, default=True, help="exchange super-frames with the namespace"
        )

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(
            name,
            arguments,
            request=arguments.interface,
            wanted=interfaces.InterfaceSettings(
                mac=arguments.mac,
                mtu=arguments.mtu,
                addresses=[
                    *(
                        interfaces.AssignedAddress(inet, interfaces.broadcast(inet))
                        for inet in arguments.inet
                    ),
                    *(interfaces.AssignedAddress(inet6) for inet6 in arguments.inet6),
                ],
                gateways=[each for each in (arguments.gateway, arguments.gateway6) if each is not None],
            ),
            offload=arguments.offload,
            netns=arguments.netns,
        )
        self._created = False

    def claims(self) -> list[Claim]:
        """The interface in the namespace; several elements may give one namespace several interfaces."""
        return [Claim("interface", (f"{self.arguments.interface} of namespace {self.arguments.netns}",))]

    async def open(self) -> None:
        """Create the namespace unless it exists, then its TAP; raises `ElementError`."""
        name = self.arguments.netns
        if not namespaces.exists(name):
            await namespaces.run(self._create)
            await namespaces.run(lambda: interfaces.bring_up("lo"), name)
        await super().open()

    def _create(self) -> None:
        remains.namespace(self.arguments.netns)
        # In the same thread, so that it is known also where nobody waits for it any more.
        self._created = True

    async def close(self) -> None:
        """Remove the interface, and the namespace if it was created here."""
        try:
            await super().close()
        finally:
            if self._created:
                self._created = False
                await namespaces.run(lambda: remains.remove(namespaces.DIRECTORY / self.arguments.netns))

    async def command(self, words: Sequence[str]) -> str:
        """`exec PROGRAM ARGUMENTS…` runs a program in the namespace; `show` shows the interface."""
        if len(words) > 1 and words[0] == "exec":
            return await programs.run(words[1:], self.arguments.netns)
        if list(words) == ["show"]:
            return await super().command(words)
        raise ElementError(f"{self.name} knows the commands: exec PROGRAM ARGUMENTS…, show")
