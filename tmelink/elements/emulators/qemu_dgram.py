"""`tmelink/qemu/dgram`: the format of QEMU's `-netdev dgram`, over UDP, unix or inherited sockets."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from tmelink import values
from tmelink.arguments import ArgumentError, keyword
from tmelink.element import Claim
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.udp_carrier import UdpCarrier
from tmelink.elements.emulators.unix_carrier import OWN_MODE, UnixCarrier
from tmelink.errors import ElementError
from tmelink.transport import endpoints
from tmelink.transport.endpoints import Inet, SocketAddress, UnixPath
from tmelink.transport.unix_datagrams import UnixDatagrams

MAX_FD = 1 << 20
"""More descriptors than a process commonly has (`man 2 getrlimit`, RLIMIT_NOFILE)."""


class QemuDgram(Cable):
    """The frames of QEMU's `-netdev dgram`: over UDP, a unix datagram socket, or an inherited socket.

    `local` and `remote` are from tmelink's point of view; in QEMU they are reversed. The element only accepts
    frames from `remote`. `fd` is the number of an inherited unix datagram socket. The peer has its other end.
    """

    example = """\
sw0: tmelink/switch
vm at sw0: tmelink/qemu/dgram local /tmp/tmelink0 remote /tmp/qemu1
"""

    @dataclass(frozen=True)
    class Arguments:
        """The two ends, or the socket."""

        local: SocketAddress | None = keyword(
            "[ADDR:]PORT|PATH", endpoints.local_place, default=None, help="where frames arrive"
        )
        remote: SocketAddress | None = keyword(
            "ADDR:PORT|PATH", endpoints.place, default=None, help="QEMU's end"
        )
        fd: int | None = keyword(
            "NUMBER",
            values.integer(3, MAX_FD, "descriptor"),
            default=None,
            help="an inherited datagram socket, in place of both",
        )
        mode: int = keyword(
            "MODE", values.mode, default=OWN_MODE, help="permissions of a local path, in octal (0600)"
        )

        def __post_init__(self) -> None:
            if self.mode != OWN_MODE and not isinstance(self.local, UnixPath):
                raise ArgumentError("mode", "'mode' is for a 'local' that is a path")
            if self.fd is not None:
                for name in ("local", "remote"):
                    if getattr(self, name) is not None:
                        raise ArgumentError(name, f"'fd' is a whole connection: leave '{name}' out")
                return
            for name, other in (("local", "remote"), ("remote", "local")):
                if getattr(self, name) is None:
                    raise ArgumentError(
                        other, f"missing argument: '{name}' with an address or path, or 'fd NUMBER'"
                    )
            if isinstance(self.local, UnixPath) is not isinstance(self.remote, UnixPath):
                raise ArgumentError("remote", "'local' and 'remote' are both addresses, or both paths")

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._carrier: UdpCarrier | UnixCarrier | None = None
        self._inherited: UnixDatagrams | None = None

    def claims(self) -> list[Claim]:
        """The local address or path, or the descriptor."""
        local, fd = self.arguments.local, self.arguments.fd
        if isinstance(local, Inet):
            return [Claim("udp", (local.host or "", local.port))]
        return [Claim("socket", (str(local),)) if fd is None else Claim("descriptor", (fd,))]

    def capabilities(self) -> frozenset[str]:
        """To connect, repeatedly, to what another user has made."""
        more = (
            frozenset(("CAP_DAC_OVERRIDE",)) if isinstance(self.arguments.remote, UnixPath) else frozenset()
        )
        return super().capabilities() | more

    async def open(self) -> None:
        """Bind the socket; raises `ElementError` if the address is not available."""
        local, remote, fd = self.arguments.local, self.arguments.remote, self.arguments.fd
        if fd is not None:
            self._inherit(fd)
            return
        if isinstance(local, UnixPath) and isinstance(remote, UnixPath):
            self._carrier = UnixCarrier(
                self.endpoint, self.changed, local=local, remote=remote, mode=self.arguments.mode
            )
        elif isinstance(local, Inet) and isinstance(remote, Inet):
            self._carrier = UdpCarrier(
                self.endpoint,
                self.log,
                lambda peer: self.changed(True, peer),
                local=local,
                remote=remote,
                floats=False,
            )
        assert self._carrier is not None, "the arguments make sure that both ends are of one kind"
        await self._carrier.open()

    def _inherit(self, fd: int) -> None:
        try:
            # A copy: the descriptor itself stays whoever's it is.
            sock = socket.socket(fileno=os.dup(fd))
        except OSError as error:
            raise ElementError(f"fd {fd} is not an open socket: {error.strerror}") from error
        if sock.type != socket.SOCK_DGRAM or sock.family != socket.AF_UNIX:
            sock.close()
            raise ElementError(f"fd {fd} is not a unix datagram socket")
        endpoint = self.endpoint
        self._inherited = UnixDatagrams(
            sock, endpoint.deliver, endpoint.hold_machine, endpoint.sent, endpoint.received
        )
        endpoint.carrier = self._inherited

    async def close(self) -> None:
        """Close the socket; an inherited socket stays open for its owner."""
        self.endpoint.carrier = None
        if self._inherited is not None:
            self._inherited.close()
        if self._carrier is not None:
            await self._carrier.close()
