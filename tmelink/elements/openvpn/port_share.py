"""The web server behind a shared port (`--port-share HOST PORT [DIR]`): gets all other connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from logging import Logger
from pathlib import Path

from tmelink import errors
from tmelink.errors import ElementError
from tmelink.openvpn.options.values import PortShareOptions
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.splice import splice

VISITORS = 400
"""The most connections passed on at once: each takes two descriptors, and a process commonly has 1024."""

CONNECT_SECONDS = 10.0
"""Seconds that the web server may take to answer."""

JOURNAL_MODE = 0o640
"""The web server's group may read it, as with OpenVPN; other users may not see the visitors."""


class PortShare:
    """Passes connections on to a web server, and records their origin in a directory.

    Raises `ElementError` if the directory does not exist.
    """

    def __init__(self, share: PortShareOptions, log: Logger) -> None:
        if share.directory is not None and not Path(share.directory).is_dir():
            trouble = "not a directory" if Path(share.directory).exists() else "no such directory"
            raise ElementError(
                f"--port-share {share.host} {share.port} {share.directory}: {trouble}; "
                "create it, or leave it out if the web server does not need its visitors' addresses"
            )
        self._share = share
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, sock: socket.socket, address: Address, head: bytes) -> bool:
        """Pass a connection on, from which `head` was read; False (and closed) if there are too many."""
        if len(self._tasks) >= VISITORS:
            sock.close()
            return False
        task = asyncio.get_running_loop().create_task(self._serve(sock, address, head))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def close(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, sock: socket.socket, address: Address, head: bytes) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                server = await self._connect()
        except (OSError, TimeoutError) as error:
            reason = "no answer" if isinstance(error, TimeoutError) else errors.reason(error)
            self._log.warning("web server %s:%d: %s", self._share.host, self._share.port, reason)
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        entry = self._enter(server, address)
        try:
            await splice(sock, server, head)
        finally:
            if entry is not None:
                with contextlib.suppress(OSError):
                    entry.unlink()

    async def _connect(self) -> socket.socket:
        found = await sockets.resolve(self._share.host, self._share.port, socket.SOCK_STREAM)
        for family, address in found:
            sock = sockets.make_socket(family, socket.SOCK_STREAM, sockets.SocketOptions(), None)
            try:
                await asyncio.get_running_loop().sock_connect(sock, address)
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError) or (family, address) == found[-1]:
                    raise
            else:
                return sock
        raise OSError("no address")

    def _enter(self, server: socket.socket, visitor: Address) -> Path | None:
        """Write the file named after our end of the connection to the web server, holding the visitor's.

        Names and contents are OpenVPN's (ps.c): `[AF_INET]127.0.0.1:40000` holds `[AF_INET]192.0.2.1:50000`.
        """
        if self._share.directory is None:
            return None
        path = Path(self._share.directory) / _written(server.getsockname())
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, JOURNAL_MODE)
            with open(descriptor, "w") as file:
                file.write(_written(visitor))
        except OSError as error:
            self._log.warning("--port-share: %s: %s", path, error.strerror)
            return None
        return path


def _written(address: Address) -> str:
    return f"[{'AF_INET6' if ':' in address[0] else 'AF_INET'}]{address[0]}:{address[1]}"
