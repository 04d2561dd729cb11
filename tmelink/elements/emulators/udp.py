"""`tmelink/udp`: bare Ethernet frames in UDP, the format that most emulators speak."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink.arguments import ArgumentError, flag, keyword
from tmelink.element import Claim
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.udp_carrier import UdpCarrier
from tmelink.transport import endpoints
from tmelink.transport.endpoints import Inet


class Udp(Cable):
    """Bare frames in UDP, one in each datagram: SIMH, Dynamips, GNS3, VirtualBox, QEMU.

    SIMH's `attach xq udp:…`, `nio_udp` of Dynamips and uBridge, VirtualBox's UDP tunnel and QEMU's
    `-netdev dgram` over inet use this format. The element only accepts frames from `remote`. With `float`
    it accepts any sender, and sends to the latest one. The format has no security, so use a link between
    computers.
    """

    example = """\
sw0: tmelink/switch
simh at sw0: tmelink/udp local "127.0.0.1:5001" remote "127.0.0.1:5002"
"""

    @dataclass(frozen=True)
    class Arguments:
        """The two ends."""

        local: Inet = keyword("[ADDR:]PORT", endpoints.local, help="where frames arrive")
        remote: Inet | None = keyword(
            "ADDR:PORT", endpoints.inet, default=None, help="the emulator's end; required without float"
        )
        float: bool = flag(help="accept any sender, and send to the latest one")

        def __post_init__(self) -> None:
            if self.remote is None and not self.float:
                raise ArgumentError(
                    "local", "missing argument: remote ADDR:PORT, or 'float' to hear whoever sends"
                )

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._carrier: UdpCarrier | None = None

    def claims(self) -> list[Claim]:
        """The local address and port."""
        local = self.arguments.local
        return [Claim("udp", (local.host or "", local.port))]

    async def open(self) -> None:
        """Bind the socket; raises `ElementError` if the address is not available."""
        self._carrier = UdpCarrier(
            self.endpoint,
            self.log,
            lambda peer: self.changed(True, peer),
            local=self.arguments.local,
            remote=self.arguments.remote,
            floats=self.arguments.float,
        )
        await self._carrier.open()

    async def close(self) -> None:
        """Close the socket."""
        if self._carrier is not None:
            await self._carrier.close()
