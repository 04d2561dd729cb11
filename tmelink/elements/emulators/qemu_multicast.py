"""`tmelink/qemu/multicast`: an Ethernet in a UDP multicast group, as with QEMU's `socket,mcast`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from tmelink import values
from tmelink.arguments import keywords, positional
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.group_carrier import GroupCarrier
from tmelink.transport import endpoints
from tmelink.transport.endpoints import Inet


class QemuMulticast(Cable):
    """An Ethernet that is a UDP multicast group: QEMU's `-netdev socket,mcast=` and `-netdev dgram`.

    Every QEMU, tmelink or user-mode Linux that joins the group hears every other, on this computer and on
    each network whose address is given; who they are is not asked. What comes by several networks at once is
    taken once.
    """

    @dataclass(frozen=True)
    class Arguments:
        """The group, and the interfaces to it."""

        group: Inet = positional("GROUP:PORT", endpoints.group, help="the IPv4 multicast group and its port")
        local: tuple[IPv4Address, ...] = keywords(
            "ADDR",
            values.ipv4,
            help="this computer's address on a network to use, any number of them; without one, as its "
            "routes say",
        )

    arguments: Arguments
    up = True  # a group needs nobody in it

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        addresses = list(map(str, arguments.local))
        self._carrier = GroupCarrier(self.endpoint, self.log, arguments.group, addresses)

    async def open(self) -> None:
        """Join the group; raises `ElementError`."""
        await self._carrier.open()

    async def close(self) -> None:
        """Leave the group."""
        await self._carrier.close()
