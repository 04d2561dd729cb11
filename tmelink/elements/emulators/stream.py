"""`tmelink/stream`: frames over TCP or a unix socket, each after a length, which peers write differently."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink import values
from tmelink.arguments import keyword
from tmelink.elements.emulators.qemu_stream import QemuStream
from tmelink.transport.streams import FRAMINGS


class FramedStream(QemuStream):
    """Frames over TCP or a unix socket, each after its length; `framing` says how the length is written.

    `be16` is the format of vde_plug's standard input and output, and of the NetHub of Dodo and Medley
    (TCP port 3333). `le16` is the format of Dolphin's tapserver, and `be32` that of QEMU. The side that
    connects tries again forever. A server accepts one connection at a time; with `remote`, only from
    that address. The format has no security, so use a link between computers.
    """

    example = """\
sw0: tmelink/switch
dodo at sw0: tmelink/stream server 3333 framing be16
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
