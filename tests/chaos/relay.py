"""The network between two ends over UDP, as a test wants it: cut, lossy, moved, repeated, damaged."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from random import Random

MOST = 200
"""Datagrams that are remembered of each direction."""

Address = tuple[str, int]


def _bound(port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    return sock


class Relay:
    """What comes to `near` goes to the server, and what that answers goes to who spoke last; or to `client`.

    `loss` and `damage` are the share of datagrams that are lost, or changed in one byte.
    """

    def __init__(self, server: int, chance: Random, client: int | None = None) -> None:
        self.cut = False
        self.loss = self.damage = 0.0
        self._chance = chance
        self._server: Address = ("127.0.0.1", server)
        self._client: Address | None = None if client is None else ("127.0.0.1", client)
        self._fixed = client is not None
        self._loop = asyncio.get_running_loop()
        self._near = _bound()
        self._far = _bound()
        self.seen: dict[str, deque[bytes]] = {
            "to server": deque(maxlen=MOST),
            "to client": deque(maxlen=MOST),
        }
        self._loop.add_reader(self._near, self._from_client)
        self._loop.add_reader(self._far, self._from_server)

    @property
    def near(self) -> int:
        """The port that the client speaks to."""
        port: int = self._near.getsockname()[1]
        return port

    @property
    def far(self) -> int:
        """The port that the server hears the client at."""
        port: int = self._far.getsockname()[1]
        return port

    def move(self) -> None:
        """The client has another address from now on."""
        self._loop.remove_reader(self._far)
        self._far.close()
        self._far = _bound()
        self._loop.add_reader(self._far, self._from_server)

    def repeat(self) -> None:
        """Send what was seen lately again, to both ends."""
        for data in list(self.seen["to server"]):
            self._send(self._far, data, self._server)
        if self._client is not None:
            for data in list(self.seen["to client"]):
                self._send(self._near, data, self._client)

    def close(self) -> None:
        """Close both sockets."""
        for sock in (self._near, self._far):
            self._loop.remove_reader(sock)
            sock.close()

    def _from_client(self) -> None:
        with contextlib.suppress(OSError):
            data, where = self._near.recvfrom(65536)
            if not self._fixed:
                self._client = where
            self._pass("to server", self._far, data, self._server)

    def _from_server(self) -> None:
        with contextlib.suppress(OSError):
            data = self._far.recv(65536)
            self._pass("to client", self._near, data, self._client)

    def _pass(self, direction: str, sock: socket.socket, data: bytes, to: Address | None) -> None:
        self.seen[direction].append(data)
        if self.cut or to is None or self._chance.random() < self.loss:
            return
        if data and self._chance.random() < self.damage:
            at = self._chance.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << self._chance.randrange(8)]) + data[at + 1 :]
        self._send(sock, data, to)

    @staticmethod
    def _send(sock: socket.socket, data: bytes, to: Address) -> None:
        with contextlib.suppress(OSError):
            sock.sendto(data, to)
