"""`GET /metrics` over HTTP: the text that Prometheus scrapes, in the format that it asks for.

One answer a connection. A request is bounded in size and time, so that whoever connects costs little. The
text is made in a thread, since that of a large lab takes longer than a frame may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from http import HTTPStatus

from prometheus_client import ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from tmelink.control.control import Control
from tmelink.errors import TmelinkError
from tmelink.metrics.families import Families, gather

REQUEST_BYTES = 16 << 10
"""The most bytes of a request; Prometheus' own has a few hundred."""

REQUEST_SECONDS = 10.0
"""For a request to be read and its answer to be taken: Prometheus' own default for a scrape."""

CONNECTIONS = 16
"""Requests at once; a few servers scrape a lab, each once in some seconds."""

PATHS = ("/", "/metrics")


class MetricsEndpoint:
    """Answers scrapes of one lab."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._tasks: set[asyncio.Task[None]] = set()
        self._process = ProcessCollector(registry=None)

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen until the end, and give the port; raises `TmelinkError` if that is not possible."""
        try:
            server = await asyncio.start_server(self._connected, host, port, limit=REQUEST_BYTES)
        except OSError as error:
            raise TmelinkError(f"--metrics {host}:{port}: {error.strerror or error}") from error
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            # A stranger that leaves, is too slow or asks for too much has no answer, nor has one at the end:
            # asyncio reports a task of its stream server that ends cancelled.
            with contextlib.suppress(
                TimeoutError,
                ConnectionError,
                asyncio.CancelledError,
                asyncio.IncompleteReadError,
                asyncio.LimitOverrunError,
            ):
                async with asyncio.timeout(REQUEST_SECONDS):
                    if len(self._tasks) <= CONNECTIONS:
                        await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        accept = next((text.partition(":")[2] for text in lines if text.lower().startswith("accept:")), "")
        if path not in PATHS:
            status, kind, body = HTTPStatus.NOT_FOUND, "text/plain", b"the metrics are at /metrics\n"
        elif method not in ("GET", "HEAD"):
            status, kind, body = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"GET is all there is\n"
        else:
            status = HTTPStatus.OK
            encode, kind = choose_encoder(accept)
            body = await self._text(encode)
        fields = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "",
            "",
        ]
        writer.write("\r\n".join(fields).encode() + (b"" if method == "HEAD" else body))
        await writer.drain()

    async def _text(self, encode: Callable[..., bytes]) -> bytes:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        # What is ready now comes first: its time is what a frame that arrives now would wait.
        await asyncio.sleep(0)
        families = await gather(self._control, loop.time() - asked)
        return await asyncio.to_thread(encode, _Scrape(families, self._process))


class _Scrape:
    """What an encoder of prometheus-client takes for a registry."""

    def __init__(self, families: Families, process: ProcessCollector) -> None:
        self._families = families
        self._process = process

    def collect(self) -> Iterable[Metric]:
        """The lab's families, and the process'."""
        yield from self._families.collect()
        yield from self._process.collect()
