"""Two connections joined: every byte, every half-close, every reset, a chunk of memory a way."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.aio import run
from tmelink.transport.splice import CHUNK, splice

TIMEOUT = 10

TURNS = 500
"""Turns of the loop in which nothing is taken any more."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection over the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _address = server.accept()
    for sock in (near, far):
        sock.setblocking(False)
    return near, far


def spliced(
    test: Callable[[socket.socket, socket.socket], Coroutine[Any, Any, None]], head: bytes = b""
) -> None:
    """Run a test with the outer ends of two connections whose inner ends are joined."""

    async def main() -> None:
        visitor, a = pair()
        b, server = pair()
        joined = asyncio.create_task(splice(a, b, head))
        async with asyncio.timeout(TIMEOUT):
            await test(visitor, server)
            visitor.close()
            server.close()
            await joined
        assert a.fileno() == b.fileno() == -1

    run(main)


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while more := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
        data += more
    return data


def test_what_was_read_before_goes_first() -> None:
    async def test(visitor: socket.socket, server: socket.socket) -> None:
        await send(visitor, b" second")
        visitor.shutdown(socket.SHUT_WR)
        assert await read_to_end(server) == b"first second"

    spliced(test, b"first")


def test_one_way_ends_and_the_other_goes_on() -> None:
    async def test(visitor: socket.socket, server: socket.socket) -> None:
        await send(visitor, b"request")
        visitor.shutdown(socket.SHUT_WR)
        assert await read_to_end(server) == b"request"
        await send(server, b"a long answer")
        server.shutdown(socket.SHUT_WR)
        assert await read_to_end(visitor) == b"a long answer"

    spliced(test)


def test_large_transfers_cross_both_ways_at_once() -> None:
    data = random.Random(5).randbytes(8 * CHUNK + 3)

    async def test(visitor: socket.socket, server: socket.socket) -> None:
        async def one_way(source: socket.socket) -> None:
            await send(source, data)
            source.shutdown(socket.SHUT_WR)

        _, _, there, back = await asyncio.gather(
            one_way(visitor), one_way(server), read_to_end(server), read_to_end(visitor)
        )
        assert there == back == data

    spliced(test)


def test_a_side_that_does_not_read_stops_the_other_side() -> None:
    async def test(visitor: socket.socket, server: socket.socket) -> None:
        sent = idle = 0
        while idle < TURNS:
            try:
                sent += visitor.send(bytes(CHUNK))
                idle = 0
            except BlockingIOError:
                idle += 1
            assert sent < 64 << 20, "nobody reads, and it goes on taking"
            await asyncio.sleep(0)
        reading = asyncio.create_task(read_to_end(server))
        visitor.shutdown(socket.SHUT_WR)
        assert len(await reading) >= sent

    spliced(test)


def test_a_reset_on_one_side_is_a_reset_on_the_other() -> None:
    async def test(visitor: socket.socket, server: socket.socket) -> None:
        await send(server, b"the beginning of an answer")
        assert await asyncio.get_running_loop().sock_recv(visitor, 100)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.close()
        with pytest.raises(ConnectionResetError):
            await read_to_end(visitor)

    spliced(test)


def test_cancelled_it_closes_both() -> None:
    async def main() -> None:
        visitor, a = pair()
        b, server = pair()
        joined = asyncio.create_task(splice(a, b))
        await asyncio.sleep(0)
        joined.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joined
        assert a.fileno() == b.fileno() == -1
        visitor.close()
        server.close()

    run(main)
