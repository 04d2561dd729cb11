"""One UDP socket on the loopback interface."""

from __future__ import annotations

import asyncio
import logging
import socket

from tmelink.frame import Counters, Frame, Run
from tmelink.transport.datagrams import Address, Datagrams

LOG = logging.getLogger("test")


class End:
    """One UDP socket on the loopback interface and everything that it received, as single datagrams."""

    def __init__(self, family: int = socket.AF_INET, **options: bool) -> None:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.got: list[bytes] = []
        self.senders: set[Address] = set()
        self.runs = 0
        self.held: list[bool] = []
        self.changed = asyncio.Event()
        self.sent, self.received = Counters(), Counters()
        self.datagrams = Datagrams(
            sock, self._receive, self.held.append, LOG, self.sent, self.received, **options
        )

    @property
    def address(self) -> Address:
        return self.datagrams.local

    def _receive(self, items: list[Frame | Run], address: Address) -> None:
        self.senders.add(address)
        for item in items:
            if isinstance(item, Run):
                self.runs += 1
                self.got += map(bytes, item.pieces())
            else:
                self.got.append(bytes(item))
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self.changed.clear()
                await self.changed.wait()
