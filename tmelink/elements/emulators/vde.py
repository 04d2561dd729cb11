"""`tmelink/vde`: a plug in a VDE switch, or a place for plugs."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink import values
from tmelink.arguments import ArgumentError, flag, keyword, positional
from tmelink.element import Claim
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.vde_plug import VdePlug
from tmelink.elements.emulators.vde_socket import VdeSocket
from tmelink.transport import endpoints

MAX_PORT = 0xFFFFFF
"""The upper 24 bits of a request's type."""

MAX_DIRECTORY = 90
"""The most bytes of the directory's path, so that its sockets' paths fit (`man 7 unix`)."""

DEFAULT_MODE = 0o700


def _directory(word: str) -> str:
    found = endpoints.path(word).path
    if len(found.encode()) > MAX_DIRECTORY:
        raise ValueError(f"'{word}' is longer than {MAX_DIRECTORY} bytes, and sockets have to fit below it")
    return found


class Vde(Cable):
    """A plug in a VDE switch (`vde_switch -s PATH`) or, with `listen`, a switch for plugs.

    With `listen`, programs that use libvdeplug can plug in, such as `vde_plug PATH` and QEMU's `-netdev
    vde,sock=PATH`. All plugs share one segment with the element's own connection. Without it, the plug
    reconnects by itself after its switch has restarted.
    """

    example = """\
sw0: tmelink/switch
plugs at sw0: tmelink/vde listen /tmp/plugs.vde
"""

    @dataclass(frozen=True)
    class Arguments:
        """The switch and the port to plug into, or the directory to listen in."""

        path: str = positional("PATH", _directory, help="the switch's directory (vde_switch's -s)")
        listen: bool = flag(help="be the switch: accept plugs at PATH")
        port: int = keyword(
            "NUMBER",
            values.integer(1, MAX_PORT, "port"),
            default=0,
            help="the switch's port to plug into; by default any free one",
        )
        mode: int = keyword(
            "MODE",
            values.mode,
            default=DEFAULT_MODE,
            help="with listen: permissions of the directory, in octal (0700)",
        )

        def __post_init__(self) -> None:
            if self.listen and self.port:
                raise ArgumentError("port", "'port' is for a plug; leave it out beside 'listen'")
            if not self.listen and self.mode != DEFAULT_MODE:
                raise ArgumentError("mode", "'mode' is for 'listen'; a plug has its switch's")

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._end: VdePlug | VdeSocket | None = None

    def claims(self) -> list[Claim]:
        """The directory, if it listens there."""
        return [Claim("VDE directory", (self.arguments.path,))] if self.arguments.listen else []

    def capabilities(self) -> frozenset[str]:
        """To connect, repeatedly, to what another user has made."""
        more = frozenset(("CAP_DAC_OVERRIDE",)) if not self.arguments.listen else frozenset()
        return super().capabilities() | more

    async def open(self) -> None:
        """Begin to plug in, or listen; raises `ElementError` if that fails."""
        given = self.arguments
        if given.listen:
            self._end = VdeSocket(self.endpoint, self.log, self.changed, given.path, mode=given.mode)
        else:
            self._end = VdePlug(
                self.endpoint,
                self.log,
                self.changed,
                given.path,
                port=given.port,
                description=f"tmelink {self.name}",
            )
        await self._end.open()

    async def close(self) -> None:
        """Disconnect the plug or plugs."""
        if self._end is not None:
            await self._end.close()
