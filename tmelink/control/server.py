"""The control socket beside a running lab: listens, checks who asks, and never waits for a slow client.

Everything that goes out is bounded. While a client does not read, its requests are not read either, and
the items of its streams are dropped beyond `QUEUE` and counted; the traffic of the lab waits for nobody.
What can be asked is in `tmelink.control.methods`' registries, what a message looks like in
`tmelink.control.protocol`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from tmelink.control.lab_names import SOCKET_MODE, NameLock
from tmelink.control.methods import Method, Methods, RequestError, settled
from tmelink.control.protocol import (
    BUSY,
    FAILED,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    MISTAKES,
    UNKNOWN_ELEMENT,
    UNKNOWN_METHOD,
    Failure,
    Hello,
    Id,
    Lines,
    Reply,
    Request,
    ServerMessage,
    StreamItem,
    encode,
    read_request,
)
from tmelink.errors import MachineError, TmelinkError, UnknownElement

MAX_CLIENTS = 128
"""The most clients at once; a person has a handful of terminals, and a metrics collector one."""

MAX_REQUESTS = 32
"""The most open requests of one client, streams included."""

QUEUE = 1000
"""The most items of a stream that wait for a slow client; beyond that, the newest are dropped."""

BUFFER = 64 << 10
"""Bytes that wait in a client's transport before its queues do."""

REQUESTS_A_TURN = 16
"""Requests handled before the loop returns to traffic."""

ITEMS_A_TURN = 64
"""Items written before the loop returns to traffic."""

C = TypeVar("C")

log = logging.getLogger("tmelink.control")


class ControlServer(Generic[C]):
    """Serves `methods` on a lab's socket; `subject` is the first argument of each method."""

    def __init__(self, name_lock: NameLock, methods: Methods, subject: C) -> None:
        self.name_lock = name_lock
        self.methods = methods
        self.subject = subject
        self.clients: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; raises `OSError`."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody may connect between `bind` and the socket's own mode: the directory is this user's.
            listening.bind(os.fspath(self.name_lock.socket))
            os.chmod(self.name_lock.socket, SOCKET_MODE)
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: _Connection(self), sock=listening, backlog=MAX_CLIENTS
            )
        except BaseException:
            listening.close()
            raise

    async def close(self) -> None:
        """End every client's requests, and the connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(PermissionError):  # of one that has become another user
                self.name_lock.socket.unlink(missing_ok=True)
        for client in list(self.clients):
            client.close()
        # Their last words go out with the loop's next turn.
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: ControlServer[Any]) -> None:
        self._server = server
        self._lines = Lines()
        self._transport: asyncio.Transport | None = None
        self._writable = True
        self._waiting: deque[bytes | None] = deque()
        self._running: dict[Id | object, asyncio.Task[bytes] | _Stream] = {}
        self._flushing = False
        self._taking = False

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=BUFFER)
        self._transport = transport
        if not _may_ask(transport.get_extra_info("socket")):
            self._last_word("only the user that runs the lab, and root, may control it")
        elif len(self._server.clients) >= MAX_CLIENTS:
            self._last_word(f"the lab has {MAX_CLIENTS} clients already")
        else:
            self._server.clients.add(self)
            self.write(Hello(self._server.name_lock.name, os.getpid(), version("tmelink")))

    def _last_word(self, text: str) -> None:
        self.write(Failure(None, FAILED, text))
        self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        self._server.clients.discard(self)
        running, self._running = self._running, {}
        for work in running.values():
            work.cancel()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # Requests

    def data_received(self, data: bytes) -> None:
        self._waiting += self._lines.feed(data)
        self._carry_out_requests()

    def _carry_out_requests(self) -> None:
        """Carry out a few requests at a time, as long as the client reads the replies."""
        self._taking = False
        for _ in range(REQUESTS_A_TURN):
            if not (self._waiting and self._writable and self._transport is not None):
                break
            request = read_request(self._waiting.popleft())
            if isinstance(request, Failure):
                self.write(request)
            else:
                self._begin(request)
        if self._transport is None:
            return
        if not self._waiting and self._writable:
            self._transport.resume_reading()
            return
        self._transport.pause_reading()
        if self._writable and not self._taking:
            self._taking = True
            asyncio.get_running_loop().call_soon(self._carry_out_requests)

    def _begin(self, request: Request) -> None:
        if request.method == "cancel":
            self._cancel(request)
            return
        try:
            method = self._server.methods.get(request.method)
            if method is None:
                known = ", ".join(sorted([*(m.name for m in self._server.methods), "cancel"]))
                raise RequestError(f"unknown method {request.method!r}; there are {known}", UNKNOWN_METHOD)
            parameters = method.checked(request.parameters)
            if request.id in self._running:
                raise RequestError(f"request {request.id!r} is already open", INVALID_REQUEST)
            if len(self._running) >= MAX_REQUESTS:
                raise RequestError(f"more than {MAX_REQUESTS} requests are open", BUSY)
            if method.streams:
                self._begin_stream(request, method, dict(parameters))
                return
        except RequestError as error:
            self.answer(request.id, failure(request.id, error))
            return
        key = request.id if request.id is not None else object()
        task = asyncio.get_running_loop().create_task(self._carry_out(request, method, dict(parameters)))
        self._running[key] = task
        task.add_done_callback(lambda task: self._done(key, request.id, task))

    async def _carry_out(self, request: Request, method: Method, parameters: dict[str, Any]) -> bytes:
        """The line to answer with."""
        try:
            result = await settled(method.function(self._server.subject, **parameters))
            return encode(Reply(request.id if request.id is not None else 0, result))
        except Exception as error:
            return encode(failure(request.id, error))

    def _done(self, key: Id | object, identity: Id | None, task: asyncio.Task[bytes]) -> None:
        if self._running.pop(key, None) is None or identity is None:
            return
        if task.cancelled():
            self.write(Failure(identity, FAILED, "the request was cancelled"))
        else:
            self._put(task.result())

    def _begin_stream(self, request: Request, method: Method, parameters: dict[str, Any]) -> None:
        if request.id is None:
            return
        stream = _Stream(self, request.id)
        self._running[request.id] = stream
        try:
            stream.attach(method.function(self._server.subject, stream, **parameters))
        except Exception as error:
            self._running.pop(request.id, None)
            stream.cancel()
            self.write(failure(request.id, error))

    def _cancel(self, request: Request) -> None:
        """`cancel` with `request`: end a stream, or an open request."""
        wanted = request.parameters.get("request")
        work = self._running.get(wanted) if isinstance(wanted, int | str) else None
        if work is None:
            self.answer(request.id, Failure(request.id, FAILED, f"no request {wanted!r} is open"))
            return
        if isinstance(work, _Stream):
            work.end()
        else:
            work.cancel()
        self.answer(request.id, Reply(request.id or 0, None))

    # Out

    def answer(self, identity: Id | None, message: ServerMessage) -> None:
        """Send a reply, where one is wanted."""
        if identity is not None:
            self.write(message)

    def write(self, message: ServerMessage) -> None:
        """Send a message now."""
        self._put(encode(message))

    def _put(self, line: bytes) -> None:
        if self._transport is not None:
            self._transport.write(line)

    def pause_writing(self) -> None:
        self._writable = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._carry_out_requests()
        self.flush()

    def finished(self, identity: Id, result: Any) -> None:
        """A stream is over."""
        if self._running.pop(identity, None) is not None:
            self.write(Reply(identity, result))

    def flush(self) -> None:
        """Write what waits in streams, soon: a burst of items is one write."""
        if not self._flushing and self._writable and self._transport is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        streams = [work for work in self._running.values() if isinstance(work, _Stream)]
        for stream in streams:
            lines = b"".join(stream.take(ITEMS_A_TURN))
            if lines:
                self._put(lines)
            if not self._writable:
                return
        for stream in streams:
            if stream.over and not stream.queue:
                self.finished(stream.id, stream.result)
            elif stream.queue:
                self.flush()


class _Stream:
    """The bounded queue of one stream; what `tmelink.control.methods.Sink` describes."""

    def __init__(self, client: _Connection, identity: Id) -> None:
        self.id = identity
        self.queue: deque[tuple[Any, int]] = deque()
        self.over = False
        self.result: Any = None
        self._client = client
        self._dropped = 0
        self._stop: Callable[[], object] | None = None

    def attach(self, stop: Callable[[], object]) -> None:
        """`stop` ends what feeds it."""
        self._stop = stop
        if self.over:
            self.cancel()

    def put(self, value: Any) -> None:
        """Send an item, or count it where the queue is full."""
        if self.over:
            return
        if len(self.queue) >= QUEUE:
            self._dropped += 1
            return
        self.queue.append((value, self._dropped))
        self._dropped = 0
        self._client.flush()

    def end(self, result: Any = None) -> None:
        """Nothing more comes; the reply follows what waits."""
        if not self.over:
            self.result = result
            self.cancel()
            self._client.flush()

    def cancel(self) -> None:
        """Stop what feeds it."""
        self.over = True
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def take(self, count: int) -> Iterator[bytes]:
        """The next items as lines."""
        for _ in range(min(count, len(self.queue))):
            value, dropped = self.queue.popleft()
            yield encode(StreamItem(self.id, value, dropped))


def failure(identity: Id | None, error: Exception) -> Failure:
    """The error that a client gets for an exception; an unexpected one is also logged as a fault."""
    if isinstance(error, RequestError):
        return Failure(identity, error.code, str(error), error.data)
    if isinstance(error, MachineError):
        return Failure(identity, MISTAKES, str(error), [mistake.as_data() for mistake in error.mistakes])
    if isinstance(error, UnknownElement):
        return Failure(identity, UNKNOWN_ELEMENT, str(error))
    if isinstance(error, TmelinkError | OSError):
        return Failure(identity, FAILED, str(error))
    log.error("please report this: a request failed", exc_info=error)
    return Failure(identity, INTERNAL_ERROR, f"{type(error).__name__}: {error}")


def _may_ask(connection: Any) -> bool:
    """Whether the other end runs as this user or as root; the kernel says who that is."""
    with contextlib.suppress(AttributeError, OSError):
        size = struct.calcsize("3i")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _pid, uid, _gid = struct.unpack("3i", credentials)
        return uid in (0, os.geteuid())
    # Where the system does not tell, the directory's mode has to do.
    return not hasattr(socket, "SO_PEERCRED")
