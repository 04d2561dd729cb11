"""The serial console of an emulator: what it wrote last, who watches it, and what they type.

Bytes in both directions, as a terminal has them. Whoever watches never holds the emulator up, and a person
may use it by a pseudo-terminal at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import Callable

HISTORY_BYTES = 32 << 10
"""What somebody who begins to watch is shown: some screens."""

WAITING_BYTES = 64 << 10
"""Bytes typed that an emulator has not read yet; what is typed beyond is lost, as on a real line."""

CHUNK = 4096

ROWS, COLUMNS = 24, 80


class EmulatorConsole:
    """A console; `attach` gives it the emulator's end each time that the emulator starts.

    With `terminal` a person reaches it by the pseudo-terminal `path`, for screen or picocom. `line` gets what
    the emulator writes, line by line.
    """

    def __init__(self, *, terminal: bool = False, line: Callable[[str], None] | None = None) -> None:
        self.path: str | None = None
        self._with_terminal = terminal
        self._line = line
        self._rest = b""
        self._history = bytearray()
        self._watchers: list[Callable[[bytes], None]] = []
        self._end = -1
        self._waiting = bytearray()
        self._terminal: tuple[int, int] | None = None

    def open(self) -> None:
        """Make the terminal; raises `OSError`."""
        if self._with_terminal:
            # The other side stays open here, so that nobody's leaving is an end.
            ours, theirs = self._terminal = os.openpty()
            tty.setraw(theirs)
            os.set_blocking(ours, False)
            self.path = os.ttyname(theirs)
            asyncio.get_running_loop().add_reader(ours, self._typed_there, ours)

    def close(self) -> None:
        """End it; a second call does nothing."""
        self.detach()
        self._watchers.clear()
        if self._terminal is not None:
            ours, theirs = self._terminal
            asyncio.get_running_loop().remove_reader(ours)
            os.close(ours)
            os.close(theirs)
            self._terminal = self.path = None

    def attach(self, descriptor: int) -> None:
        """Take the emulator's end, a socket or the master of a pseudo-terminal, and close it in the end."""
        self.detach()
        os.set_blocking(descriptor, False)
        self._end = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def detach(self) -> None:
        """The emulator has ended."""
        if self._end < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._end)
        loop.remove_writer(self._end)
        os.close(self._end)
        self._end = -1
        self._waiting.clear()

    def watch(self, watcher: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `watcher` with what was written last, and then with what is written; returns what ends it."""
        if self._history:
            watcher(bytes(self._history))
        self._watchers.append(watcher)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._watchers.remove(watcher)

        return stop

    def type(self, data: bytes) -> None:
        """Send what somebody typed."""
        if self._end >= 0 and len(self._waiting) < WAITING_BYTES:
            self._waiting += data
            self._write()

    def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                del self._waiting[: os.write(self._end, self._waiting[:CHUNK])]
        except BlockingIOError:
            loop.add_writer(self._end, self._write)
            return
        except OSError:
            self._waiting.clear()
        loop.remove_writer(self._end)

    def _read(self) -> None:
        try:
            data = os.read(self._end, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # a pseudo-terminal that no program has open any more
            data = b""
        if not data:
            self.detach()
            return
        self._history += data
        del self._history[:-HISTORY_BYTES]
        for watcher in list(self._watchers):
            watcher(data)
        if self._line is not None:
            self._log(self._line, data)
        self._show_there(data)

    def _log(self, line: Callable[[str], None], data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > CHUNK:
            lines, self._rest = [*lines, self._rest], b""
        for each in lines:
            if text := each.decode(errors="replace").strip():
                line(text)

    def _show_there(self, data: bytes) -> None:
        """Write to the terminal; where nobody reads it, it keeps what came last."""
        if self._terminal is None:
            return
        ours, theirs = self._terminal
        for _ in range(2):
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(ours, data) :]
            if not data:
                return
            with contextlib.suppress(termios.error):
                termios.tcflush(theirs, termios.TCIFLUSH)

    def _typed_there(self, ours: int) -> None:
        with contextlib.suppress(OSError):
            self.type(os.read(ours, CHUNK))
