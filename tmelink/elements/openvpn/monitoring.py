"""--status and --management of a link or server: the file is written, the socket answered.

The content comes from `tmelink.openvpn.monitoring`; this module has its file, socket and clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from pathlib import Path

from tmelink.elements.openvpn.details import TITLE
from tmelink.errors import ElementError
from tmelink.openvpn.monitoring.management import LOG_LINES, MAX_LINE, LogLine, ManagedElement, Management
from tmelink.openvpn.monitoring.status import status
from tmelink.openvpn.options.values import MonitoringOptions

MAX_CLIENTS = 8
"""The most monitors of one element at once; OpenVPN accepts one."""

MAX_WAITING = 256 << 10
"""Bytes that wait for a monitor that does not read, before its connection is closed."""

_FLAGS = {logging.DEBUG: "D", logging.INFO: "I", logging.WARNING: "W"}


class Monitoring:
    """The status file and management socket of one element, while that is open."""

    def __init__(self, options: MonitoringOptions, subject: ManagedElement, log: logging.Logger) -> None:
        self._options = options
        self._subject = subject
        self._log = log
        self._history: deque[LogLine] = deque(maxlen=LOG_LINES)
        self._monitors: set[_Monitor] = set()
        self._server: asyncio.Server | None = None
        self._writing: asyncio.Task[None] | None = None
        self._handler = _HistoryHandler(self._logged)
        self._path: str | None = None

    async def open(self) -> None:
        """Write the file for the first time, and listen; raises `ElementError` if either is impossible."""
        loop = asyncio.get_running_loop()
        if self._options.status_file is not None:
            self._write(Path(self._options.status_file))
            self._writing = loop.create_task(self._keep_writing(Path(self._options.status_file)))
        if self._options.management is not None:
            self._log.addHandler(self._handler)
            await self._listen(*self._options.management)

    async def _listen(self, host: str, port: str) -> None:
        loop = asyncio.get_running_loop()
        password = _password(self._options.management_password)

        def make() -> _Monitor:
            management = Management(self._subject, TITLE, os.getpid(), self._history, password)
            return _Monitor(self._monitors, management)

        try:
            if port == "unix":
                _remove(host)
                self._server = await loop.create_unix_server(make, host)
                os.chmod(host, 0o600)
                self._path = host
            else:
                self._server = await loop.create_server(make, host, int(port))
        except OSError as error:
            raise ElementError(f"--management {host} {port}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Write the file a last time, and end every connection."""
        self._log.removeHandler(self._handler)
        if self._server is not None:
            self._server.close()
            self._server = None
        for monitor in list(self._monitors):
            monitor.close()
        if self._path is not None:
            _remove(self._path)
            self._path = None
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
            self._writing = None

    def changed(self) -> None:
        """The element came up or went down."""
        for monitor in list(self._monitors):
            monitor.say(monitor.management.changed())

    async def _keep_writing(self, path: Path) -> None:
        while True:
            await asyncio.sleep(self._options.status_seconds)
            try:
                self._write(path)
            except ElementError as error:
                self._log.warning("%s", error)

    def _write(self, path: Path) -> None:
        """In one step, so that nobody reads half of it."""
        lines = status(self._subject.snapshot(), self._options.status_version)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            new.write_text("".join(f"{line}\n" for line in lines))
            new.replace(path)
        except OSError as error:
            raise ElementError(f"--status {path}: {error.strerror or error}") from error

    def _logged(self, record: logging.LogRecord) -> None:
        text = record.getMessage().replace("\n", " ")
        line = LogLine(record.created, _FLAGS.get(record.levelno, "N"), text)
        self._history.append(line)
        for monitor in list(self._monitors):
            monitor.say(monitor.management.logged(line))


class _HistoryHandler(logging.Handler):
    def __init__(self, take: object) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        assert callable(self._take)
        self._take(record)


class _Monitor(asyncio.Protocol):
    """One connection to the management socket."""

    def __init__(self, monitors: set[_Monitor], management: Management) -> None:
        self.management = management
        self._monitors = monitors
        self._transport: asyncio.Transport | None = None
        self._line = b""
        self._counting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._monitors) >= MAX_CLIENTS:
            transport.close()
            return
        self._monitors.add(self)
        self.say(self.management.greeting())

    def connection_lost(self, error: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        self._monitors.discard(self)
        if self._counting is not None:
            self._counting.cancel()
            self._counting = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def data_received(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > MAX_LINE:
            self.close()
        for line in lines:
            if self._transport is None:
                return
            self.say(self.management.receive(line.decode("utf-8", "replace")))
            if self.management.over:
                self.close()
            self._count()

    def say(self, text: str) -> None:
        if self._transport is None or not text:
            return
        self._transport.write(text.encode())
        if self._transport.get_write_buffer_size() > MAX_WAITING:
            self._transport.abort()

    def _count(self) -> None:
        """Begin to report bytes periodically, as last requested."""
        if self._counting is not None:
            self._counting.cancel()
            self._counting = None
        if self.management.byte_count and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._counting = loop.call_later(self.management.byte_count, self._tell_bytes)

    def _tell_bytes(self) -> None:
        self.say(self.management.bytes())
        self._count()


def _remove(path: str) -> None:
    """Remove a socket that an earlier run, or this one, left behind."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _password(path: str | None) -> str | None:
    """The first line of --management's password file."""
    if path is None:
        return None
    with contextlib.suppress(OSError, IndexError):
        return Path(path).read_text().splitlines()[0]
    raise ElementError(f"--management: cannot read a password from {path}")
