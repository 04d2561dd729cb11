"""`tmelink/qemu/multicast`: an Ethernet in a UDP multicast group, as with QEMU's `socket,mcast`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from tmelink.arguments import positional
from tmelink.elements.emulators import group_cable
from tmelink.elements.emulators.group_cable import GroupCable
from tmelink.elements.emulators.group_carrier import GroupCarrier
from tmelink.transport import endpoints
from tmelink.transport.endpoints import Inet


class QemuMulticast(GroupCable):
    """An Ethernet that is a UDP multicast group: QEMU's `-netdev socket,mcast=` and `-netdev dgram`.

    All members of the group hear each other: QEMU, tmelink and User Mode Linux, on this computer and on each
    given network. The format does not authenticate them. If a frame arrives on several networks, the element
    takes it once.
    """

    example = """\
sw0: tmelink/switch
group at sw0: tmelink/qemu/multicast "230.0.0.1:7000" local 192.168.0.1
"""

    @dataclass(frozen=True)
    class Arguments:
        """The group, and the interfaces to it."""

        group: Inet = positional("GROUP:PORT", endpoints.group, help="the IPv4 multicast group and its port")
        local: tuple[IPv4Address, ...] = group_cable.local()

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        addresses = list(map(str, arguments.local))
        self._carrier = GroupCarrier(self.endpoint, self.log, arguments.group, addresses)
