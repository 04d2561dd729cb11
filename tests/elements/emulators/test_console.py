"""Consoles of emulators: a program at a terminal, history, several who watch, a pseudo-terminal as well."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from tests.support.aio import eventually, run
from tests.support.machines import Events
from tmelink import registry
from tmelink.elements.emulators.console import HISTORY_BYTES, WAITING_BYTES, EmulatorConsole
from tmelink.elements.emulators.process import Process
from tmelink.source import Mistake, Place, Source, Word

PLACE = Place(Source("lab/test.conf", ""), 1, 1)

ASKS = "import os, sys; print(os.ttyname(2), open('/dev/tty').name); print('you said', input('name? '))"


def process(*given: str) -> tuple[Process | None, list[Mistake]]:
    found: list[Mistake] = []
    cls = registry.element_class("tmelink/process")
    arguments = cls.parse([Word(word, PLACE) for word in given], PLACE, found.append)
    return (cls("/simh", arguments) if arguments is not None else None), found  # type: ignore[return-value]


def test_a_program_at_a_terminal_is_watched_and_typed_to() -> None:
    async def body() -> None:
        words = ("user", str(os.geteuid()), "restart", "never", "terminal", sys.executable, "-c", ASKS)
        element, _ = process(*words)
        assert element is not None
        assert element.console is not None
        element.status = Events()
        seen = bytearray()
        await element.open()
        try:
            element.console.watch(seen.extend)
            await eventually(lambda: b"name? " in seen)
            assert b"/dev/pts/" in seen
            assert b"/dev/tty" in seen
            element.console.type(b"amy\r")
            await eventually(lambda: b"you said amy" in seen)
            # Somebody who comes later is shown what was there.
            late = bytearray()
            element.console.watch(late.extend)
            assert b"you said amy" in late
        finally:
            await element.close()

    run(body)


def test_frames_and_a_terminal_do_not_share_the_standard_streams() -> None:
    _, mistakes = process("stdio", "terminal", "vde_plug")
    assert ["standard streams" in mistake.message for mistake in mistakes] == [True]


async def joined(console: EmulatorConsole) -> socket.socket:
    """The emulator's side of a console."""
    ours, theirs = socket.socketpair()
    console.attach(ours.detach())
    theirs.setblocking(False)
    return theirs


def test_the_pseudo_terminal_sees_and_types_the_same_and_keeps_what_came_last() -> None:
    async def body() -> None:
        console = EmulatorConsole(terminal=True)
        console.open()
        emulator = await joined(console)
        seen: list[bytes] = []
        console.watch(seen.append)
        # Nobody reads the terminal yet: that holds nothing up.
        for number in range(3000):
            emulator.send(b"line %d\r\n" % number)
            await asyncio.sleep(0)
        await eventually(lambda: b"line 2999" in b"".join(seen))
        assert console.path is not None
        person = os.open(console.path, os.O_RDWR | os.O_NOCTTY)
        kept = b""
        while b"line 2999" not in kept:
            kept += os.read(person, 65536)
        assert len(kept) < 3000 * len(b"line 2999\r\n")
        os.write(person, b"from screen")
        console.type(b" and from the page")
        heard = bytearray()

        def both() -> bool:
            try:
                heard.extend(emulator.recv(4096))
            except BlockingIOError:
                pass
            return b"from screen" in heard and b"and from the page" in heard

        await eventually(both)
        # The person leaves, and the emulator starts again: the terminal stays.
        os.close(person)
        path = console.path
        emulator.close()
        await asyncio.sleep(0.01)
        again = await joined(console)
        again.send(b"booting")
        await eventually(lambda: b"booting" in seen[-1])
        assert console.path == path
        console.close()
        console.close()
        again.close()

    run(body)


def test_what_is_kept_is_bounded() -> None:
    async def body() -> None:
        console = EmulatorConsole()
        emulator = await joined(console)
        count = 0
        stop = console.watch(lambda data: None)
        emulator.setblocking(True)
        for _ in range(50):
            emulator.send(b"x" * 4000)
            count += 4000
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        stop()
        stop()
        late: list[bytes] = []
        console.watch(late.append)
        assert len(late[0]) <= HISTORY_BYTES
        for _ in range(100):
            console.type(b"y" * 8192)  # the emulator reads nothing
        assert len(console._waiting) < WAITING_BYTES + 8192
        console.close()
        console.type(b"z")
        emulator.close()

    run(body)


def test_lines_go_to_the_log_where_they_are_wanted() -> None:
    async def body() -> None:
        lines: list[str] = []
        console = EmulatorConsole(line=lines.append)
        emulator = await joined(console)
        emulator.send(b"Linux version 6\r\n\r\nlog")
        await eventually(lambda: lines == ["Linux version 6"])
        emulator.send(b"in:\n")
        await eventually(lambda: lines == ["Linux version 6", "login:"])
        console.close()
        emulator.close()

    run(body)
