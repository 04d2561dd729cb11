"""A cable whose other end is a UDP multicast group; its kinds know which, and how it carries frames."""

from __future__ import annotations

from ipaddress import IPv4Address

from tmelink import values
from tmelink.arguments import keywords
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.group_carrier import GroupCarrier


def local() -> tuple[IPv4Address, ...]:
    """The argument that names the networks."""
    return keywords(
        "ADDR",
        values.ipv4,
        help="this computer's address on a network to use; may be given several "
        "times; by default the routes decide",
    )


class GroupCable(Cable):
    """Frames to and from everybody in a group; `_carrier` is made by the kind."""

    up = True  # a group needs nobody in it

    _carrier: GroupCarrier

    async def open(self) -> None:
        """Join the group; raises `ElementError`."""
        await self._carrier.open()

    async def close(self) -> None:
        """Leave the group."""
        await self._carrier.close()
