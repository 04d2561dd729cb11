"""A client of the control socket that keeps no rule of the protocol but what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from tmelink.control import lab_names


class Raw:
    """A client that says what a test wants, and reads when it wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, name: str = "lab") -> Raw:
        raw = cls(*await asyncio.open_unix_connection(str(lab_names.socket_path(name)), limit=1 << 26))
        assert (await raw.read())["method"] == "hello"
        return raw

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, identity: object, method: str, **params: object) -> None:
        message = {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}
        self.write(json.dumps(message).encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            message: dict[str, Any] = json.loads(await self.reader.readline())
            return message

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
