"""ICMP errors about UDP datagrams: counted as what was sent, by reason, and they cost no other datagram."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.aio import run
from tests.support.sockets import free_port
from tests.transport.udp_end import End
from tmelink.frame import Run
from tmelink.transport import undelivered


async def until_counted(end: End, reason: str, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while end.sent.drops[reason] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_closed_port_is_counted_among_what_was_sent(family: int) -> None:
    async def main() -> None:
        end = End(family)
        host = end.address[0]
        try:
            end.datagrams.send([b"x"], (host, free_port(host=host)))
            await until_counted(end, undelivered.PORT_CLOSED)
            assert not end.received.drops
        finally:
            end.datagrams.close()

    run(main)


@pytest.mark.parametrize("runs", [False, True], ids=["one by one", "in runs"])
def test_what_becomes_of_one_peer_costs_another_nothing(runs: bool) -> None:
    """A pending error makes the next call fail, which is about another datagram."""

    async def main() -> None:
        end, peer = End(), End()
        nowhere = ("127.0.0.1", free_port())
        item = Run(memoryview(bytes(3000)), 1000) if runs else b"y" * 1000
        try:
            for _ in range(200):
                end.datagrams.send([b"x"], nowhere)
                end.datagrams.send([item], peer.address)
            await peer.until(600 if runs else 200)
            await until_counted(end, undelivered.PORT_CLOSED, 200)
            assert set(end.sent.drops) == {undelivered.PORT_CLOSED}
            assert end.sent.frames == 200 + len(peer.got)
        finally:
            end.datagrams.close()
            peer.datagrams.close()

    run(main)


def test_a_socket_with_errors_alone_does_not_keep_the_loop_busy() -> None:
    async def main() -> None:
        end = End()
        calls = 0
        read_errors = end.datagrams._read_errors

        def counted() -> None:
            nonlocal calls
            calls += 1
            read_errors()

        end.datagrams._read_errors = counted  # type: ignore[method-assign]
        try:
            end.datagrams.send([b"x"], ("127.0.0.1", free_port()))
            await until_counted(end, undelivered.PORT_CLOSED)
            before = calls
            for _ in range(100):
                await asyncio.sleep(0)
            assert calls <= before + 2
        finally:
            end.datagrams.close()

    run(main)
