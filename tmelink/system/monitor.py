"""Reports when the host's routes, addresses or interfaces change, from the kernel's announcements.

The announcements are not parsed here; the listener reads the host's state again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from tmelink.system import namespaces

# RTMGRP_*, linux/rtnetlink.h
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 0x1, 0x10, 0x40, 0x100, 0x400
_GROUPS = _LINK | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV6_ADDRESS | _IPV6_ROUTE

SETTLE_SECONDS = 0.2
"""Changes come in bursts (an interface goes down with its routes); one read after each is enough."""

_READ = 64 * 1024


class Monitor:
    """Calls `changed` in the event loop a moment after something has changed in the namespace."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def open(self, netns: str | None) -> None:
        """Begin to listen; raises `OSError`."""

        def make() -> None:
            # Kept in the same thread, so that it is closed also where nobody waits for it any more.
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
            self._socket.bind((0, _GROUPS))
            self._socket.setblocking(False)

        try:
            await namespaces.run(make, netns)
        except BaseException:
            self.close()
            raise
        assert self._socket is not None, "made above"
        self._loop.add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        assert self._socket is not None
        # ENOBUFS says that announcements were lost; there were some, which is all that matters.
        with contextlib.suppress(OSError):
            self._socket.recv(_READ)
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLE_SECONDS, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._changed()
