"""Reports when the host's routes, addresses or interfaces change, from the kernel's announcements.

The announcements are not parsed here; the listener reads the host's state again. All listeners in a network
namespace share one socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Hashable
from weakref import WeakKeyDictionary

from tmelink.system import namespaces

# RTMGRP_*, linux/rtnetlink.h
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 0x1, 0x10, 0x40, 0x100, 0x400
_GROUPS = _LINK | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV6_ADDRESS | _IPV6_ROUTE

SETTLE_SECONDS = 0.2
"""Changes come in bursts (an interface goes down with its routes); one read after each is enough."""

_READ = 64 * 1024


class _Announcements:
    """What the kernel announces in one namespace, for all monitors there."""

    def __init__(self, sock: socket.socket) -> None:
        self.monitors: dict[Monitor, Callable[[], None]] = {}
        self._socket = sock
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        # ENOBUFS says that announcements were lost; there were some, which is all that matters.
        with contextlib.suppress(OSError):
            self._socket.recv(_READ)
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLE_SECONDS, self._settled)

    def _settled(self) -> None:
        self._timer = None
        for monitor, changed in tuple(self.monitors.items()):
            # What one does may close another.
            if monitor in self.monitors:
                changed()


_OPEN: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _Announcements]] = WeakKeyDictionary()
"""By event loop, and by the namespace's device and inode; None for the one that the process runs in."""


class Monitor:
    """Calls `changed` in the event loop a moment after something has changed in the namespace."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._key: Hashable = None
        self._announcements: _Announcements | None = None
        self._open = _OPEN.setdefault(asyncio.get_running_loop(), {})

    async def open(self, netns: str | None) -> None:
        """Begin to listen; raises `OSError`."""
        if netns is None and None in self._open:
            self._join(None)
            return
        made: list[socket.socket] = []

        def make() -> Hashable:
            # Kept at once, so that it is closed also where nobody waits for it any more.
            made.append(sock := socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))  # NETLINK_ROUTE
            sock.bind((0, _GROUPS))
            sock.setblocking(False)
            own = os.stat("/proc/thread-self/ns/net")
            return None if netns is None else (own.st_dev, own.st_ino)

        try:
            key = await namespaces.run(make, netns)
            if key not in self._open:
                self._open[key] = _Announcements(made.pop())
        finally:
            for sock in made:
                sock.close()
        self._join(key)

    def _join(self, key: Hashable) -> None:
        self._key, self._announcements = key, self._open[key]
        self._announcements.monitors[self] = self._changed

    def close(self) -> None:
        """Stop listening."""
        announcements, self._announcements = self._announcements, None
        if announcements is None:
            return
        del announcements.monitors[self]
        if not announcements.monitors:
            del self._open[self._key]
            announcements.close()
