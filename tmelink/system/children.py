"""Programs that run as long as an element does, and never longer than tmelink itself.

Linux ends them when the thread that started them is gone, for whatever reason (PR_SET_PDEATHSIG, prctl(2)):
setpriv(1) of util-linux sets that between the fork and the program, so that no Python code runs there.
A child has a session of its own, so that the terminal's Ctrl-C reaches tmelink alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence

from tmelink.errors import ElementError

TERM_SECONDS = 0.4
"""How long a child may take to end when asked, before it is killed: all elements together have 1.5 s
for closing."""

TAIL = 5
"""How many of the last lines that a child wrote are kept to explain its exit."""

MAX_LINE = 500
"""The most characters in a line; the rest of a longer line follows as another line."""


class Child:
    """A running program; `line` gets what it writes, line by line."""

    def __init__(self, process: asyncio.subprocess.Process, line: Callable[[str], None]) -> None:
        self.pid = process.pid
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._process = process
        self._line = line
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def wait(self) -> int:
        """Its exit status once it has ended (negative: the signal that ended it), and all that it wrote."""
        status = await self._process.wait()
        # A process that it left in the background may hold the pipe open.
        await asyncio.wait([self._reading], timeout=TERM_SECONDS)
        return status

    async def stop(self, *, kill: bool = False) -> None:
        """Ask it to end, and kill it and its children if it does not; with `kill` kill them at once."""
        try:
            if self._process.returncode is None and not kill:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TERM_SECONDS):
                        await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)
        await self._process.wait()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    def _signal(self, number: signal.Signals) -> None:
        # The child leads a process group, which outlives it while any of its own children runs.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _read(self) -> None:
        reader = self._process.stdout
        assert reader is not None, "its output is a pipe"
        rest = b""
        while data := await reader.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._say(line)
        if rest:
            self._say(rest)

    def _say(self, data: bytes) -> None:
        text = data.decode(errors="replace").strip()
        while text:
            self.tail.append(text[:MAX_LINE])
            self._line(text[:MAX_LINE])
            text = text[MAX_LINE:]


async def start(
    words: Sequence[str], line: Callable[[str], None], *, pass_fds: Sequence[int] = (), cwd: str | None = None
) -> Child:
    """Start a program that inherits `pass_fds` under the same numbers; raises `ElementError`."""
    if shutil.which(words[0]) is None:
        raise ElementError(f"{words[0]} is not installed, or not in PATH")
    try:
        process = await asyncio.create_subprocess_exec(
            *_tied(words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
            cwd=cwd,
        )
    except OSError as error:
        raise ElementError(f"starting {words[0]}: {error.strerror}") from error
    return Child(process, line)


def _tied(words: Sequence[str]) -> list[str]:
    """The command, wrapped so that it ends with this thread."""
    if sys.platform != "linux":
        return [*words]
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ElementError(f"{words[0]} is started through setpriv, which is not installed (util-linux)")
    return [setpriv, "--pdeathsig", "KILL", "--", *words]
