"""`tmelink/stream`: frames over TCP or a unix socket, each after a length, which peers write differently."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink import values
from tmelink.arguments import keyword
from tmelink.elements.emulators.qemu_stream import QemuStream
from tmelink.transport.streams import FRAMINGS


class FramedStream(QemuStream):
    """Frames over TCP or a unix socket, each after its length; `framing` says how the length is written.

    `be16` is what vde_plug has on its standard input and output, and Dodo's and Medley's NetHub (TCP port
    3333); `le16` is Dolphin's tapserver, `be32` QEMU. Whichever side connects tries again for ever. Where
    tmelink is the server one connection is let in at a time, with `remote` only from that address. Nothing
    is secured: between computers use a link.
    """

    @dataclass(frozen=True)
    class Arguments(QemuStream.Arguments):
        """The role, the address and the framing."""

        framing: str = keyword(
            "be16|le16|be32",
            values.choice(*FRAMINGS),
            help="the length before each frame: its bits, most (be) or least (le) significant byte first",
        )

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.prefix = FRAMINGS[arguments.framing]
