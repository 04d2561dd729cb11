"""Programs that run as long as an element does, and never longer than tmelink itself.

A process of its own, the keeper, starts them and ends them with everything they have started, also when
tmelink is killed (`keeper`). A child has a session of its own, so that the terminal's Ctrl-C reaches tmelink
alone.
"""

from __future__ import annotations

import array
import asyncio
import atexit
import contextlib
import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tmelink.errors import ElementError
from tmelink.system import keeper
from tmelink.system.accounts import Account

TERM_SECONDS = 0.4
"""How long a child may take to end when asked, before it is killed: all elements together have 1.5 s
for closing."""

KILL_SECONDS = 2.0
"""How long the kernel may take to end what was killed: only what hangs in the kernel takes longer, and
waiting for that ends nothing."""

START_SECONDS = 20.0
"""How long the keeper may take to start a program, on a machine that has much else to do."""

TAIL = 5
"""How many of the last lines that a child wrote are kept to explain its exit."""

MAX_LINE = 500
"""The most characters in a line; the rest of a longer line follows as another line."""


class Child:
    """A running program; `line` gets what it writes, line by line."""

    def __init__(self, minder: _Minder, output: int, line: Callable[[str], None]) -> None:
        self.pid = 0
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._minder = minder
        self._line = line
        self._rest = b""
        self._output = output
        self._silent = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(output, self._read)

    async def wait(self) -> int:
        """Its exit status once it has ended (negative: the signal that ended it), and all that it wrote.

        What it has started itself has ended then too.
        """
        status = await asyncio.shield(self._minder.ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERM_SECONDS):
                await self._silent.wait()
        self._close()
        return status

    async def stop(self, *, kill: bool = False) -> None:
        """Ask it to end, and kill it and all that it has started if it does not; with `kill` at once."""
        ended = self._minder.ended
        try:
            if not ended.done() and not kill:
                self._minder.ask(keeper.END)
                await asyncio.wait([ended], timeout=TERM_SECONDS)
        finally:
            self._minder.ask(keeper.KILL)
        await asyncio.wait([ended], timeout=KILL_SECONDS)
        self._close()

    def _close(self) -> None:
        self._minder.close()
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1

    def _read(self) -> None:
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE or (not data and self._rest):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._send_message(line)
        if not data:
            self._loop.remove_reader(self._output)
            self._silent.set()

    def _send_message(self, data: bytes) -> None:
        text = data.decode(errors="replace").strip()
        while text:
            self.tail.append(text[:MAX_LINE])
            self._line(text[:MAX_LINE])
            text = text[MAX_LINE:]


def _folder() -> str:
    """Where tmelink runs; a folder that has been removed has no name any more."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


async def start(
    words: Sequence[str],
    line: Callable[[str], None],
    *,
    pass_fds: Sequence[int] = (),
    stdio: int | None = None,
    terminal: int | None = None,
    cwd: str | None = None,
    user: Account | None = None,
) -> Child:
    """Start a program that has `pass_fds` under their own numbers, as `user` (None: as tmelink itself).

    `stdio` is its standard input and output, if given, and `terminal` is those, its standard error and its
    controlling terminal; else it reads nothing, and `line` gets what it writes. Raises `ElementError`.
    """
    environment = dict(os.environ)
    if user is not None:
        environment |= {"HOME": cwd or "/", "USER": user.name, "LOGNAME": user.name}
    if shutil.which(words[0]) is None:
        raise ElementError(f"{words[0]} is not installed, or not in PATH")
    ours, theirs = socket.socketpair()
    output, written = os.pipe()
    os.set_blocking(output, False)
    given, numbers = [*pass_fds], [*pass_fds]
    if stdio is not None:
        given, numbers = [*given, stdio, stdio], [*numbers, 0, 1]
    if terminal is not None:
        given, numbers = [*given, terminal, terminal, terminal], [*numbers, 0, 1, 2]
        environment["TERM"] = "xterm"
    minder = _Minder(ours)
    child = Child(minder, output, line)
    try:
        with theirs:
            request = {
                "words": [*words],
                "environment": environment,
                "cwd": cwd,
                "folder": _folder(),
                "user": None if user is None else [user.uid, user.gid, *user.groups],
                "fds": numbers,
                "terminal": terminal is not None,
            }
            try:
                _Keeper.here().ask(request, [theirs.fileno(), written, *given])
            finally:
                os.close(written)
        async with asyncio.timeout(START_SECONDS):
            child.pid = await minder.started
    except TimeoutError:
        await child.stop(kill=True)
        raise ElementError(f"starting {words[0]}: it did not start within {START_SECONDS:g} s") from None
    except OSError as error:
        await child.stop(kill=True)
        whose = "" if user is None else f" as the user {user.name}"
        more = (
            ": let that user reach it, or write 'user root'" if whose and error.errno == errno.EACCES else ""
        )
        raise ElementError(f"starting {words[0]}{whose}: {error.strerror}{more}") from error
    except BaseException:
        # Closing its socket is enough for the minder to end what it may have started by now.
        child._close()
        raise
    return child


async def empty(folder: Path, user: Account) -> None:
    """Remove what a program of that user has left in its folder, as that user: it need not be ours."""
    if not os.listdir(folder):
        return
    with contextlib.suppress(ElementError):
        child = await start(
            ["find", str(folder), "-mindepth", "1", "-delete"], lambda line: None, cwd="/", user=user
        )
        await asyncio.wait([child._minder.ended], timeout=KILL_SECONDS)
        await child.stop(kill=True)


def seal() -> None:
    """From now on the keepers start programs only as users that they have started programs as before."""
    for each in _Keeper.all.values():
        each.ask({"seal": True}, [])


class _Minder:
    """The other end of a program's minder: what it says, and what it is asked."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = self._loop.create_future()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._socket: socket.socket | None = sock
        self._heard = b""
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    def ask(self, word: bytes) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(word)

    def close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            sock.close()
            self._settle()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "pid" in said:
                self._set(self.started, said["pid"])
            elif "error" in said:
                if not self.started.done():
                    self.started.set_exception(OSError(said["error"], os.strerror(said["error"])))
                self._set(self.ended, 127)
            else:
                self._set(self.ended, said["status"])
        if not data:
            self._loop.remove_reader(self._socket.fileno())
            self._settle()

    def _settle(self) -> None:
        """Nothing more will be heard: a minder that was killed ends its program with it."""
        if not self.started.done():
            self.started.cancel()
        self._set(self.ended, -9)

    @staticmethod
    def _set(future: asyncio.Future[int], value: int) -> None:
        if not future.done():
            future.set_result(value)


class _Keeper:
    """A keeper, of the network namespace in which it was started; a child has its keeper's."""

    all: dict[int, _Keeper] = {}  # noqa: RUF012 - of the process, and not of an instance
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # Without site and environment it starts in a few milliseconds, whatever the user has set.
                [sys.executable, "-I", "-S", str(Path(keeper.__file__).resolve()), str(theirs.fileno())],
                # The interpreter that runs: its path may lead through folders that this user may not enter.
                executable="/proc/self/exe",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @classmethod
    def here(cls) -> _Keeper:
        """The keeper for the calling thread's namespace."""
        try:
            number = os.stat("/proc/thread-self/ns/net").st_ino
        except OSError:
            number = 0
        with cls._lock:
            found = cls.all.get(number)
            if found is None or found._process.poll() is not None:
                found = cls.all[number] = _Keeper()
            return found

    def ask(self, request: Mapping[str, object], fds: Sequence[int]) -> None:
        """Send a request with descriptors; raises `OSError`."""
        text = json.dumps(request).encode()
        with self._lock:
            self._socket.sendmsg(
                [struct.pack("!I", len(text))],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [],
            )
            self._socket.sendall(text)

    @classmethod
    def end_all(cls) -> None:
        """Let every keeper end, and with it what it has started."""
        for each in cls.all.values():
            each._socket.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                each._process.wait(KILL_SECONDS)
        cls.all.clear()


atexit.register(_Keeper.end_all)
