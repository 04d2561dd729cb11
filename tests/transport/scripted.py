"""A proxy on the loopback that says what a test has written down, and keeps what it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TIMEOUT = 10
"""Seconds to await what must come."""


@contextlib.asynccontextmanager
async def proxy(*scripts: Script, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A proxy that follows one script a connection; its port. A script's own failure is the test's."""
    waiting = list(scripts)
    failures: list[BaseException] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            await waiting.pop(0)(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            failures.append(error)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, host, 0)
    try:
        async with asyncio.timeout(TIMEOUT):
            yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for task in filter(None, serving):
            await task
    assert not failures, failures
