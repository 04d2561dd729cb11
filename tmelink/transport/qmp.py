"""QEMU's machine protocol (docs/interop/qmp-spec): one JSON object per line, commands and their answers.

This module knows the protocol and its socket; the caller knows what the commands mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any

from tmelink import tasks
from tmelink.errors import ElementError

LINE = 1 << 20
"""The longest line that is read; QEMU's own are a few kilobytes."""

ANSWER_SECONDS = 10.0
"""How long QEMU may take to answer a command."""


class Qmp:
    """A connection to a running QEMU; `event(name, data)` is called for each event that QEMU reports."""

    def __init__(self, event: Callable[[str, dict[str, Any]], None]) -> None:
        self._event = event
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._turn = asyncio.Lock()

    async def open(self, sock: socket.socket) -> None:
        """Wait for the greeting on a connected socket; raises `ElementError` if it ends without one."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=sock, limit=LINE)
        greeting = await self._line()
        if greeting is None or "QMP" not in greeting:
            raise ElementError("QEMU ended before it was ready")
        self._reading = asyncio.get_running_loop().create_task(self._read())
        await self.execute("qmp_capabilities")

    async def close(self) -> None:
        """Close the connection."""
        await tasks.end(self._reading)
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def execute(self, command: str, **arguments: Any) -> Any:
        """QEMU's answer to a command; raises `ElementError` with its message if it refuses or is gone."""
        writer = self._writer
        assert writer is not None, "commands come after open"
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    writer.write(json.dumps(request).encode() + b"\n")
                    await writer.drain()
                    answer = await self._answers.get()
            except TimeoutError:
                raise ElementError(f"QEMU does not answer to {command}") from None
            except OSError as error:
                raise ElementError(f"QEMU is gone: {error.strerror}") from error
        if answer is None:
            self._answers.put_nowait(None)
            raise ElementError("QEMU is gone")
        if "error" in answer:
            raise ElementError(f"QEMU refuses {command}: {answer['error'].get('desc', 'no reason given')}")
        return answer.get("return")

    async def _read(self) -> None:
        while (message := await self._line()) is not None:
            if "event" in message:
                self._event(str(message["event"]), message.get("data") or {})
            else:
                self._answers.put_nowait(message)
        self._answers.put_nowait(None)

    async def _line(self) -> dict[str, Any] | None:
        """The next message; None at the end, or for anything that is not QMP."""
        assert self._reader is not None, "lines come after open"
        try:
            message = json.loads(await self._reader.readline() or b"null")
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None
