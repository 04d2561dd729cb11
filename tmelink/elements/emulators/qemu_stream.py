"""`tmelink/qemu/stream`: the format of QEMU's `-netdev stream` and its older `socket,connect|listen`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tmelink import values
from tmelink.arguments import ArgumentError, keyword, positional
from tmelink.element import Claim
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.stream_carrier import StreamClient, StreamServer
from tmelink.elements.emulators.unix_carrier import OWN_MODE
from tmelink.transport import endpoints
from tmelink.transport.endpoints import Inet, SocketAddress, UnixPath
from tmelink.transport.streams import LONG


class QemuStream(Cable):
    """Frames over TCP or a unix socket, each after a 32-bit length: QEMU's `-netdev stream`, and passt.

    The side that connects tries again forever. A server accepts one connection at a time; with `remote`,
    only from that address. The format has no virtio_net_hdr, so tmelink cuts super-frames.
    """

    example = """\
sw0: tmelink/switch
vm at sw0: tmelink/qemu/stream server /tmp/qemu0
"""

    @dataclass(frozen=True)
    class Arguments:
        """The role and the address."""

        role: str = positional(
            "server|connect", values.choice("server", "connect"), help="whether tmelink waits or connects"
        )
        where: SocketAddress = positional(
            "[ADDR:]PORT|PATH", endpoints.any_place, help="where to listen, or the server's ADDR:PORT or path"
        )
        remote: IPv4Address | IPv6Address | None = keyword(
            "ADDR", values.address, default=None, help="the only address to accept"
        )
        mode: int = keyword(
            "MODE", values.mode, default=OWN_MODE, help="permissions of a path, in octal (0600)"
        )

        def __post_init__(self) -> None:
            if self.mode != OWN_MODE and (self.role == "connect" or isinstance(self.where, Inet)):
                raise ArgumentError("mode", "'mode' is for a server at a path")
            if self.role == "connect" and isinstance(self.where, Inet) and self.where.host is None:
                raise ArgumentError("where", f"'{self.where}' has no address, such as 192.0.2.1:5000")
            if self.role == "server" and isinstance(self.where, Inet) and not endpoints.is_local(self.where):
                raise ArgumentError(
                    "where", f"'{self.where.host}' is not a valid IP address of this computer"
                )
            if self.remote is not None and not (self.role == "server" and isinstance(self.where, Inet)):
                raise ArgumentError("remote", "'remote' is for a server on an address and port")

    arguments: Arguments
    prefix: struct.Struct = LONG
    """How the length before each frame is written."""

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._end: StreamServer | StreamClient | None = None

    def claims(self) -> list[Claim]:
        """The address where it listens."""
        where = self.arguments.where
        if self.arguments.role == "connect":
            return []
        return [
            Claim("tcp", (where.host or "", where.port))
            if isinstance(where, Inet)
            else Claim("socket", (where.path,))
        ]

    def capabilities(self) -> frozenset[str]:
        """To connect, repeatedly, to what another user has made."""
        more = frozenset(("CAP_DAC_OVERRIDE",)) if isinstance(self.arguments.where, UnixPath) else frozenset()
        return super().capabilities() | more

    async def open(self) -> None:
        """Listen, or begin to connect; raises `ElementError` if the address is not available."""
        where, remote = self.arguments.where, self.arguments.remote
        if self.arguments.role == "server":
            self._end = StreamServer(
                self.endpoint,
                self.log,
                self.changed,
                where,
                None if remote is None else str(remote),
                mode=self.arguments.mode,
                prefix=self.prefix,
            )
        else:
            self._end = StreamClient(self.endpoint, self.log, self.changed, where, prefix=self.prefix)
        await self._end.open()

    async def close(self) -> None:
        """End the connection, and stop connecting."""
        if self._end is not None:
            await self._end.close()
