"""UDP sockets: runs cross in one call and arrive whole, with and without the kernel's help."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.aio import run
from tests.transport.udp_end import End
from tmelink.frame import Frame, Run
from tmelink.standing_queue import BULK, INTERVAL
from tmelink.transport import datagrams
from tmelink.transport.datagrams import MAX_RUN, MAX_SEGMENTS, Address


def run_pair(body: Callable[[End, End], Any], family: int = socket.AF_INET, **options: bool) -> None:
    async def both() -> None:
        a, b = End(family, **options), End(family, **options)
        try:
            await body(a, b)
        finally:
            a.datagrams.close()
            b.datagrams.close()

    run(both)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("segment", [True, False])
@pytest.mark.parametrize("gro", [True, False])
def test_everything_sent_arrives_in_order(family: int, segment: bool, gro: bool) -> None:
    data = bytes(n % 251 for n in range(1400 * 44 + 333))
    small = [bytes([n]) * 64 for n in range(100)]
    items: list[Frame | Run] = [b"first", Run(memoryview(data), 1400), *small, b"\x01" * 9000, b"last"]
    expected = [b"first", *map(bytes, Run(memoryview(data), 1400).pieces()), *small, b"\x01" * 9000, b"last"]

    async def body(a: End, b: End) -> None:
        a.datagrams.send(items, b.address)
        await b.until(len(expected))
        assert b.got == expected
        assert b.senders == {a.address}
        assert a.sent.frames == b.received.frames == len(expected)
        assert a.sent.bytes == b.received.bytes == sum(map(len, expected))
        assert not a.sent.drops
        assert (b.runs > 0) == (segment and gro)

    run_pair(body, family, segment=segment, gro=gro)


def test_a_run_beyond_one_call_is_cut_at_a_datagram() -> None:
    size = 1400
    data = memoryview(bytes(size * (MAX_SEGMENTS + 10)))
    assert len(data) > MAX_RUN

    async def body(a: End, b: End) -> None:
        a.datagrams.send([Run(data, size)], b.address)
        await b.until(MAX_SEGMENTS + 10)
        assert {len(d) for d in b.got} == {size}

    run_pair(body)


def test_what_the_kernel_will_not_cut_goes_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    # Stands for a path whose MTU is too small for the segments: the kernel then refuses the whole call.
    caplog.set_level(logging.INFO, "test")

    async def body(a: End, b: End) -> None:
        real = a.datagrams.sock

        class Refusing:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def sendmsg(self, *args: Any) -> int:
                raise OSError(errno.EINVAL, "Invalid argument")

        a.datagrams.sock = Refusing()  # type: ignore[assignment]
        for _ in range(3):
            a.datagrams.send([Run(memoryview(bytes(3000)), 1000), b"x"], b.address)
        await b.until(12)
        assert [len(d) for d in b.got] == [1000, 1000, 1000, 1] * 3
        a.datagrams.sock = real

    run_pair(body)
    assert len(caplog.records) == 1


def test_a_datagram_too_long_is_counted() -> None:
    async def body(a: End, b: End) -> None:
        a.datagrams.send([bytes(65508), b"fits"], b.address)
        await b.until(1)
        assert b.got == [b"fits"]
        assert a.sent.drops == {"too long for the path": 1}

    run_pair(body)


def test_one_that_comes_alone_goes_its_own_way() -> None:
    async def body(a: End, b: End) -> None:
        alone: list[bytes] = []

        def take(datagram: Frame, address: Address) -> None:
            assert address == a.address
            alone.append(bytes(datagram))
            b.changed.set()

        b.datagrams.receive_one = take
        a.datagrams.send([b"one"], b.address)
        async with asyncio.timeout(10):
            while not alone:
                b.changed.clear()
                await b.changed.wait()
        a.datagrams.send([Run(memoryview(bytes(1400 * 10)), 1400)], b.address)
        async with asyncio.timeout(10):
            while len(b.got) + len(alone) < 11:
                b.changed.clear()
                await b.changed.wait()
        assert alone[0] == b"one"
        assert b.got + alone[1:] == [bytes(1400)] * 10
        assert (b.received.frames, b.received.bytes) == (11, 14003)

    run_pair(body)


@pytest.mark.parametrize("size", [1400, 200])
def test_a_queue_that_stands_loses_one_long_datagram(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = memoryview(bytes(n % 251 for n in range(size * 40)))
    runs = [Run(data, size)] * (-(-BULK // len(data)) + 1)
    each = 40 * len(runs)
    now = [1000.0]
    monkeypatch.setattr(datagrams, "monotonic", lambda: now[0])

    async def body(a: End, b: End) -> None:
        take = b.datagrams.receive

        def slow(items: list[Frame | Run], address: Address) -> None:
            take(items, address)
            now[0] += INTERVAL / 2

        b.datagrams.receive = slow
        lost = 0
        for _ in range(8):
            # Everything waits before it is read, and is read in one wakeup.
            a.datagrams.send(runs, b.address)
            b.got.clear()
            b.datagrams._read_many(datagrams.READS)
            lost += each - len(b.got)
            assert each - len(b.got) in (0, 1)
        assert lost == b.received.drops["queue too long"]
        assert (lost > 2) if size == 1400 else not lost

    run_pair(body)


def test_datagrams_of_senders_in_turn_are_handed_on_by_sender() -> None:
    async def body(a: End, b: End) -> None:
        calls: list[tuple[Address, list[bytes]]] = []

        def take(items: list[Frame | Run], address: Address) -> None:
            assert b.received.frames == sum(len(got) for _, got in calls) + len(items)
            calls.append((address, [bytes(item) for item in items if not isinstance(item, Run)]))
            b.changed.set()

        b.datagrams.receive = take
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
        ):
            for number in range(20):
                for sender in (one, two):
                    sender.sendto(bytes([number]), b.address)
            addresses = [("127.0.0.1", sender.getsockname()[1]) for sender in (one, two)]
            async with asyncio.timeout(10):
                while b.received.frames < 40:
                    b.changed.clear()
                    await b.changed.wait()
            for address in addresses:
                got = [datagram for sender, several in calls for datagram in several if sender == address]
                assert got == [bytes([number]) for number in range(20)]
            assert len(calls) < 10

    run_pair(body)
