"""The client of the control socket: `connect(name)`, then `call` and `stream`; what the command line uses.

Blocking, and for one thread at a time. Raises `ControlError` for what the lab refuses.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from tmelink.control import lab_names
from tmelink.control.protocol import (
    MAX_REPLY,
    VERSION,
    Failure,
    Hello,
    Lines,
    Reply,
    Request,
    ServerMessage,
    StreamItem,
    encode,
    read_message,
)
from tmelink.errors import TmelinkError

TIMEOUT = 10.0
"""Seconds for a lab to answer; one that does not is stuck."""

CHUNK = 1 << 18


class ControlError(TmelinkError):
    """The lab refuses a request: `code` and `data` are the protocol's."""

    def __init__(self, message: str, code: int = 0, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class NotRunning(ControlError):
    """No lab of that name is running, or no lab at all."""


def connect(name: str | None = None, *, timeout: float | None = TIMEOUT) -> Client:
    """The control of the running lab of that name; without a name, of the only one.

    `timeout` in seconds is for each reply. Raises `NotRunning`, and `ControlError` if it does not answer.
    """
    lab = _only() if name is None else lab_names.find(name)
    if lab is None:
        running = ", ".join(other.name for other in lab_names.running())
        raise NotRunning(f"no lab named '{name}' is running" + (f"; there are {running}" if running else ""))
    return Client(lab, timeout)


def _only() -> lab_names.RunningLab:
    running = lab_names.running()
    if not running:
        raise NotRunning("no lab is running: 'tmelink run FILE' starts one")
    if len(running) > 1:
        names = ", ".join(lab.name for lab in running)
        raise NotRunning(f"{len(running)} labs are running, so say which: {names}")
    return running[0]


class LabControl(Protocol):
    """What a page or a screen needs of a lab: that of this computer, or those of all hosts of a file."""

    @property
    def lab(self) -> lab_names.RunningLab:
        """What the lab is called, and where it is."""
        ...

    def call(self, method: str, /, *, wait: float | None = ..., **parameters: Any) -> Any:
        """As `Client.call`."""
        ...

    def stream(self, method: str, /, **parameters: Any) -> Iterator[StreamItem]:
        """As `Client.stream`."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...

    def interrupt(self) -> None:
        """As `Client.interrupt`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Client:
    """A connection to one lab's control socket; use as a context manager, or `close` it.

    `connection` is one that already exists.
    """

    def __init__(
        self,
        lab: lab_names.RunningLab,
        timeout: float | None = TIMEOUT,
        connection: socket.socket | None = None,
    ) -> None:
        self.lab = lab
        self._timeout = timeout
        self._number = 0
        self._connected = True
        self._lines = Lines(MAX_REPLY)
        self._waiting: list[bytes | None] = []
        self._socket = connection or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            if connection is None:
                self._socket.connect(os.fspath(lab_names.socket_path(lab.name)))
            self.hello = self._greeting()
        except OSError as error:
            self.close()
            raise self._silent(error) from error
        except BaseException:
            self.close()
            raise

    def _greeting(self) -> Hello:
        message = self._receive()
        if isinstance(message, Failure):
            raise ControlError(message.message, message.code, message.data)
        if not isinstance(message, Hello):
            raise ControlError(f"lab '{self.lab.name}' does not greet like tmelink")
        if message.protocol != VERSION:
            raise ControlError(
                f"lab '{self.lab.name}' runs tmelink {message.version}, with version {message.protocol} "
                f"of the control protocol, but this tmelink has version {VERSION}: restart the lab"
            )
        return message

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and every stream of it."""
        self._socket.close()

    def interrupt(self) -> None:
        """End the connection from another thread: what waits there for the lab raises `ControlError`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @property
    def connected(self) -> bool:
        """Whether the lab was there at the last contact."""
        return self._connected

    def call(self, method: str, /, *, wait: float | None = -1.0, **parameters: Any) -> Any:
        """The result of a request; `wait` seconds for it, None for as long as it takes.

        A parameter that is None is left out. Raises `ControlError`.
        """
        self._socket.settimeout(self._timeout if wait is not None and wait < 0 else wait)
        number = self._send(method, parameters)
        while True:
            message = self._received()
            if isinstance(message, Reply | Failure) and message.id in (number, None):
                return _result(message)

    def call_interruptibly(self, method: str, /, **parameters: Any) -> Any:
        """Like `call`, without a time limit; on Ctrl-C the lab ends the request, and its reply is the result.

        A second Ctrl-C waits for nothing.
        """
        self._socket.settimeout(None)
        number, interrupted = self._send(method, parameters), False
        while True:
            try:
                message = self._received()
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                self._send("cancel", {"request": number})
                continue
            if isinstance(message, Reply | Failure) and message.id in (number, None):
                return _result(message)

    def stream(self, method: str, /, **parameters: Any) -> Iterator[StreamItem]:
        """The items of a stream, until it or the iterator ends; no other request may run meanwhile."""
        number = self._send(method, parameters)
        self._socket.settimeout(None)
        over = False
        try:
            while True:
                message = self._received()
                if isinstance(message, StreamItem) and message.id == number:
                    yield message
                elif isinstance(message, Reply | Failure) and message.id in (number, None):
                    over = True
                    _result(message)
                    return
        finally:
            if not over:
                self._end(number)

    def _end(self, number: int) -> None:
        """Leave the connection ready for the next request."""
        try:
            self.call("cancel", request=number)
        except (ControlError, OSError):
            self.close()

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            self._socket.sendall(encode(Request(self._number, method, given)))
        except OSError as error:
            raise self._silent(error) from error
        return self._number

    def _received(self) -> ServerMessage:
        try:
            return self._receive()
        except OSError as error:
            raise self._silent(error) from error

    def _receive(self) -> ServerMessage:
        while True:
            while self._waiting:
                message = read_message(self._waiting.pop(0))
                if message is not None:
                    return message
            data = self._socket.recv(CHUNK)
            if not data:
                self._connected = False
                raise ControlError(f"lab '{self.lab.name}' has ended")
            self._waiting += self._lines.feed(data)

    def _silent(self, error: OSError) -> ControlError:
        lab = self.lab
        self._connected = False
        if isinstance(error, TimeoutError):
            return ControlError(f"lab '{lab.name}' (process {lab.pid}) does not answer")
        return ControlError(
            f"lab '{lab.name}' (process {lab.pid}) cannot be reached: {error.strerror or error}"
        )


def _result(message: Reply | Failure) -> Any:
    if isinstance(message, Failure):
        raise ControlError(message.message, message.code, message.data)
    return message.result
