"""asyncio's loop with readers that the selector calls: whatever asyncio promises of readers holds."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tmelink.system.event_loop import DirectLoop, DirectSelector, new_event_loop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    a, b = socket.socketpair()
    for end in (a, b):
        end.setblocking(False)
    with a, b:
        yield a, b


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert isinstance(runner.get_loop(), DirectLoop)
        runner.run(main())


def test_a_reader_is_called_until_it_is_removed(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    heard: list[bytes] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        whole = asyncio.Event()

        def read(more: str) -> None:
            assert asyncio.get_running_loop() is loop
            heard.append(a.recv(1) + more.encode())
            if len(heard) == 3:
                assert loop.remove_reader(a)
                assert not loop.remove_reader(a)
                whole.set()

        loop.add_reader(a, read, "!")
        b.send(b"abcd")
        await whole.wait()
        await asyncio.sleep(0)

    run(main)
    assert heard == [b"a!", b"b!", b"c!"]
    assert a.recv(9) == b"d"


def test_a_reader_replaces_another(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bytes] = loop.create_future()
        loop.add_reader(a.fileno(), lambda: pytest.fail("the first one was to be forgotten"))
        loop.add_reader(a.fileno(), lambda: heard.set_result(a.recv(9)))
        b.send(b"x")
        assert await heard == b"x"
        loop.remove_reader(a.fileno())

    run(main)


def test_a_reader_and_a_writer_share_a_descriptor(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bytes] = loop.create_future()
        writable = asyncio.Event()
        loop.add_reader(a, lambda: heard.set_result(a.recv(9)))
        loop.add_writer(a, writable.set)
        await writable.wait()
        assert loop.remove_writer(a)
        assert not heard.done()
        b.send(b"x")
        assert await heard == b"x"
        loop.add_writer(a, writable.set)
        assert loop.remove_reader(a)
        writable.clear()
        await writable.wait()
        assert loop.remove_writer(a)

    run(main)


def test_what_a_reader_raises_is_reported_and_ends_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    a, b = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[dict[str, Any]] = loop.create_future()
        loop.set_exception_handler(lambda loop, context: told.set_result(context))

        def broken() -> None:
            loop.remove_reader(a)
            raise ValueError("broken")

        loop.add_reader(a, broken)
        b.send(b"x")
        context = await told
        assert str(context["exception"]) == "broken"
        assert "broken" in context["message"]

    run(main)


def test_a_reader_learns_that_the_other_end_has_left(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bytes] = loop.create_future()

        def read() -> None:
            loop.remove_reader(a)
            heard.set_result(a.recv(9))

        loop.add_reader(a, read)
        b.close()
        assert await heard == b""

    run(main)


def test_timers_and_callbacks_come_in_time_beside_a_busy_reader(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    a, b = pair
    b.send(b"x")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns, soon = 0, asyncio.Event()

        def read() -> None:
            # Nothing is read: the descriptor stays ready.
            nonlocal turns
            turns += 1
            if turns == 3:
                loop.call_soon(soon.set)

        loop.add_reader(a, read)
        async with asyncio.timeout(10):
            await soon.wait()
            await asyncio.sleep(0.02)
        loop.remove_reader(a)
        assert turns > 3

    run(main)


def test_a_reader_may_stop_the_loop(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    b.send(b"x")
    loop = new_event_loop()
    loop.add_reader(a, loop.stop)
    loop.run_forever()
    loop.close()


def test_another_thread_is_heard_while_nothing_else_happens() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(heard.set,))
        thread.start()
        async with asyncio.timeout(10):
            await heard.wait()
        thread.join()

    run(main)


def test_one_reader_may_remove_another_of_the_same_turn() -> None:
    pairs = [socket.socketpair() for _ in range(2)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        called: asyncio.Future[int] = loop.create_future()

        def read(number: int) -> None:
            for a, _ in pairs:
                loop.remove_reader(a)
            called.set_result(number)

        for number, (a, b) in enumerate(pairs):
            b.send(b"x")
            loop.add_reader(a, read, number)
        await called
        await asyncio.sleep(0)

    run(main)
    for ends in pairs:
        for end in ends:
            end.close()


def test_streams_timers_threads_and_children_work_as_ever() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        writer.close()
        server.close()
        await server.wait_closed()
        assert await asyncio.to_thread(os.getpid) == os.getpid()
        child = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
        written, _ = await child.communicate()
        assert written == b"hi\n"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)

    run(main)


def test_what_asyncio_waits_for_on_a_socket_is_forgotten_once_it_has_come(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    a, b = pair
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DirectLoop)
        waited_for = loop._direct.get_map()
        before = set(waited_for)
        received = asyncio.ensure_future(loop.sock_recv(a, 9))
        accepted = asyncio.ensure_future(loop.sock_accept(listening))
        with socket.socket() as dialling:
            dialling.setblocking(False)
            await loop.sock_connect(dialling, listening.getsockname())
            other, _ = await accepted
            assert len(set(waited_for) - before) == 1
            b.send(b"x")
            assert await received == b"x"
            await asyncio.sleep(0)
            assert set(waited_for) == before
            other.close()

    run(main)
    listening.close()


def test_the_selector_keeps_to_the_rules_of_selectors(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    selector = DirectSelector(lambda reader, error: pytest.fail(str(error)))
    key = selector.register(a, selectors.EVENT_READ | selectors.EVENT_WRITE, "data")
    assert selector.get_key(a) == key
    assert selector.select(0) == [(key, selectors.EVENT_WRITE)]
    with pytest.raises(KeyError):
        selector.register(a, selectors.EVENT_READ)
    key = selector.modify(a, selectors.EVENT_READ)
    assert selector.select(0) == []
    b.send(b"x")
    assert selector.select(None) == [(key, selectors.EVENT_READ)]
    assert selector.unregister(a) == key
    with pytest.raises(KeyError):
        selector.unregister(a)
    with pytest.raises(OSError, match="file descriptor"):
        selector.register(10**6, selectors.EVENT_READ)
    assert not selector.get_map()
    selector.close()


class Scripted:
    """An epoll that finds what it is told to, and keeps how long it was to wait."""

    def __init__(self, *found: int) -> None:
        self._found = list(found)
        self.waits: list[float] = []

    def fileno(self) -> int:
        return 10_000

    def poll(self, wait: float, _most: int) -> list[tuple[int, int]]:
        self.waits.append(wait)
        ready = self._found.pop(0) if self._found else 0
        return [(ready, select.EPOLLIN)] if ready else []


def scripted(*found: int) -> tuple[DirectSelector, Scripted, list[int]]:
    """A selector on it, and how often its one reader, at 7, was called."""
    selector, epoll, calls = DirectSelector(lambda *_: None), Scripted(*found), [0]

    def read() -> None:
        calls[0] += 1

    selector._epoll.close()
    selector._epoll = epoll  # type: ignore[assignment]
    selector._precise = False
    selector._readers[7] = read
    return selector, epoll, calls


def test_after_traffic_it_polls_before_it_sleeps() -> None:
    selector, epoll, calls = scripted(7, 0, 0, 7)
    selector.busy = 0.001
    assert selector.select() == []
    assert calls == [2]
    assert epoll.waits[:4] == [-1.0, 0.0, 0.0, 0.0], "it sleeps before there was any traffic, and not after"
    assert epoll.waits[-1] == -1.0, "and again after a while without"
    assert len(epoll.waits) > 6


def test_without_the_option_it_sleeps_at_once() -> None:
    selector, epoll, calls = scripted(7, 7)
    assert selector.select() == []
    assert (calls, epoll.waits) == ([2], [-1.0, -1.0, -1.0])


def test_polling_that_never_pays_is_given_up_but_for_a_try_now_and_then() -> None:
    selector, _epoll, _calls = scripted()
    selector.busy = None
    tried = []
    for _ in range(300):
        epoll = Scripted(7)
        selector._epoll = epoll  # type: ignore[assignment]
        selector.select()
        tried.append(0.0 in epoll.waits)
    assert tried[:8] == [True] * 8
    assert 2 <= sum(tried[8:]) <= 6


def test_the_longest_wish_to_poll_counts_until_it_is_withdrawn() -> None:
    loop = new_event_loop()
    assert isinstance(loop, DirectLoop)
    first, second, third = object(), object(), object()
    loop.poll_busily(first, 0.001)
    loop.poll_busily(second, 0.002)
    loop.poll_busily(third, None)
    assert loop._direct.busy == 0.002
    loop.poll_busily(second, 0.0)
    assert loop._direct.busy == 0.001
    loop.poll_busily(first, 0.0)
    assert loop._direct.busy is None
    loop.poll_busily(third, 0.0)
    assert loop._direct.busy == 0.0
    loop.close()
