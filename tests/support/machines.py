"""What tests put at the other end of an element's connection, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from tests.support.aio import TIMEOUT
from tmelink.element import Element, Port
from tmelink.frame import Burst, Gso

EXPERIMENTAL = 0x88B5
"""The EtherType that IEEE 802 sets aside for local experiments; nothing but a test's own frames has it."""


class Machine(Element):
    """The other end of a connection: keeps what arrives, as copies, and sends."""

    def __init__(self, *, offload: bool = True) -> None:
        super().__init__("machine", None)
        self.offload = offload
        self.got: list[tuple[bytes, Gso | None]] = []
        self.bursts: list[int] = []
        """How many frames came together, each time."""
        self.held: list[bool] = []
        """What the other end said of holding, each time."""
        self.arrived = asyncio.Event()

    def make_port(self) -> Port:
        return Port(self, offload=self.offload)

    def receive(self, port: Port, burst: Burst) -> None:
        self.bursts.append(len(burst.frames))
        self.got += zip(map(bytes, burst.frames), burst.gso or [None] * len(burst.frames), strict=True)
        self.arrived.set()

    def hold(self, port: Port, held: bool) -> None:
        self.held.append(held)
        self.arrived.set()

    @property
    def frames(self) -> list[bytes]:
        """The frames that arrived, without their labels."""
        return [frame for frame, _ in self.got]

    def send(self, *frames: bytes) -> None:
        self.ports[0].send(Burst(list(frames)))

    @property
    def numbers(self) -> list[int]:
        """The numbers of the test's own frames, in the order of their arrival, tagged or not."""
        untagged = [got[:12] + got[16:] if got[12:14] == b"\x81\x00" else got for got, _ in self.got]
        return [int.from_bytes(got[14:18], "big") for got in untagged if got[12:14] == b"\x88\xb5"]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what arrived makes `condition` true."""
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self.arrived.clear()
                await self.arrived.wait()

    async def until_number(self, number: int) -> None:
        """Wait until the test's own frame of that number is there."""
        await self.until(lambda: number in self.numbers)


class Events:
    """Stands in for the runtime: what an element says of itself, in order."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.failures: list[Exception] = []

    def failed(self, element: Element, error: Exception) -> None:
        self.failures.append(error)
        self._said.put_nowait(("failed", str(error)))

    def changed(self, element: Element, up: bool, detail: str) -> None:
        self._said.put_nowait(("up" if up else "down", detail))

    def incomplete(self, element: Element, missing: str) -> None:
        self._said.put_nowait(("incomplete", missing))

    def happened(self, element: Element, kind: str, detail: str, data: Mapping[str, Any]) -> None:
        """Events that are no state are asked of the element."""

    @property
    def empty(self) -> bool:
        """Whether all that was said has been read."""
        return self._said.empty()

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(TIMEOUT):
            return await self._said.get()


@contextlib.asynccontextmanager
async def opened(*elements: Element) -> AsyncIterator[None]:
    """The elements, open; closed in reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        for element in elements:
            stack.push_async_callback(element.close)
            await element.open()
        yield


def frame(number: int, size: int = 60, tag: int | None = None) -> bytes:
    """A broadcast frame with a number, in the VLAN `tag` if there is one."""
    vlan = b"" if tag is None else b"\x81\x00" + tag.to_bytes(2, "big")
    head = (
        b"\xff" * 6 + b"\x02\0\0\0\0\x01" + vlan + EXPERIMENTAL.to_bytes(2, "big") + number.to_bytes(4, "big")
    )
    return head + bytes(size - len(head))


def raw_socket(interface: str, protocol: int = 0) -> socket.socket:
    """A packet socket of the test's own; with a protocol it receives what comes in, but not what goes out."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setblocking(False)
    raw.bind((interface, protocol))
    return raw
