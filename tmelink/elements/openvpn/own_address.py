"""Whether the address from which this end has called over TCP is still this computer's.

Where it has gone (another network, another lease), nothing of the connection arrives any more, and the kernel
repeats what it has sent for a quarter of an hour without a word. UDP needs no such watch: its sockets send
from whatever address there is.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable

from tmelink.system.monitor import Monitor


class OwnAddress:
    """Calls `gone` with the reason, once, after the local address of a connected socket has been removed."""

    def __init__(self, sock: socket.socket, gone: Callable[[str], None]) -> None:
        self._family = sock.family
        self._address = sock.getsockname()
        self._gone = gone
        self._monitor: Monitor | None = None

    async def open(self) -> None:
        """Begin to watch, where the system announces changes."""
        if not hasattr(socket, "AF_NETLINK"):
            return
        self._monitor = Monitor(self._look)
        with contextlib.suppress(OSError):
            await self._monitor.open(None)

    def close(self) -> None:
        """Stop watching."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def _look(self) -> None:
        host, _port, *scope = self._address
        try:
            with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0, *scope))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                self.close()
                self._gone(f"{host} has left this computer")
