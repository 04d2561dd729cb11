"""Programs of the host, run in a network namespace while a command waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence

from tmelink.errors import ElementError
from tmelink.system import namespaces

SECONDS = 30.0
"""Seconds for a program to end; a machine file's command is not meant for programs that keep running."""

INPUT = 32 * 1024
"""The most bytes that a program is given: a pipe of Linux's holds twice as many."""

OUTPUT = 64 * 1024
"""The most bytes of output that are kept: more than a person reads."""


async def run(words: Sequence[str], netns: str | None = None) -> str:
    """The program's output, and a last line in brackets unless it ended by itself with status 0.

    As `result` otherwise.
    """
    said, ending = await result(words, netns)
    return f"{said}\n({ending})" if ending else said


async def result(
    words: Sequence[str],
    netns: str | None = None,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> tuple[str, str]:
    """The program's output, and how it ended in words (empty if it ended by itself with status 0).

    It reads what is `given`, at most `INPUT` bytes. With `environment` it has that and no other. It is
    killed when it writes more than `OUTPUT`, after `SECONDS`, and when the call is cancelled; what it has
    left running in the background is not waited for.
    Raises `ElementError` if it cannot be started.
    """

    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        # Called in a thread in that namespace: a child has the namespace of the thread that started it.
        started.append(
            subprocess.Popen(
                words,
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        )

    try:
        await namespaces.run(start, netns)
        _give(started[0], given)
        return await _output(started[0])
    except OSError as error:
        raise ElementError(f"running {' '.join(words)}: {error.strerror}") from error
    finally:
        for process in started:
            process.kill()
            await asyncio.to_thread(process.wait)
            if process.stdout is not None:
                process.stdout.close()


def _give(process: subprocess.Popen[bytes], given: bytes) -> None:
    """Let the program read `given`, which a pipe holds."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(given[:INPUT])


async def _output(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    assert process.stdout is not None
    loop, descriptor, output = asyncio.get_running_loop(), process.stdout.fileno(), bytearray()
    os.set_blocking(descriptor, False)

    def read() -> bool:
        try:
            data = os.read(descriptor, OUTPUT)
        except BlockingIOError:
            return False
        output.extend(data)
        if data and len(output) <= OUTPUT:
            return True
        loop.remove_reader(descriptor)
        if data:
            process.kill()
        return False

    loop.add_reader(descriptor, read)
    ending = ""
    try:
        async with asyncio.timeout(SECONDS):
            if status := await asyncio.to_thread(process.wait):
                ending = f"exit status {status}"
    except TimeoutError:
        ending = f"killed after {SECONDS:.0f} s"
    finally:
        loop.remove_reader(descriptor)
    while len(output) <= OUTPUT and read():
        pass
    if len(output) > OUTPUT:
        ending = f"killed after {OUTPUT} bytes"
    return output[:OUTPUT].decode(errors="replace").rstrip(), ending
