"""The card that a program holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.aio import run
from tests.support.fuzzing import examples
from tmelink.arguments import parse
from tmelink.element import connect
from tmelink.elements.builtin.nic import Nic
from tmelink.errors import ClosedError
from tmelink.frame import Burst, Frame
from tmelink.source import Mistake, Place, Source, Word

MAC, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
BROADCAST, GROUP = b"\xff" * 6, bytes.fromhex("01005e000001")


def frame(to: bytes, data: bytes = b"data") -> bytes:
    return to + OTHER + b"\x08\x00" + data


def pair(**arguments: Any) -> tuple[Nic, Nic]:
    """A card with these arguments, and a plain one at its other end."""
    nic, other = Nic("nic", Nic.Arguments(**arguments)), Nic("other", Nic.Arguments())
    connect(nic.port(), other.port())
    return nic, other


async def waiting(nic: Nic) -> list[bytes]:
    """What can be taken at once."""
    return [await nic.recv() for _ in range(len(nic.waiting))]


def test_frames_go_both_ways_in_order() -> None:
    async def test() -> None:
        a, b = pair()
        for data in (b"one", b"two"):
            a.send(frame(MAC, data))
        assert [await b.recv(), await b.recv()] == [frame(MAC, b"one"), frame(MAC, b"two")]
        b.send(frame(OTHER))
        assert await a.recv() == frame(OTHER)
        assert (a.sent.frames, a.sent.bytes) == (2, 34)
        assert (a.received.frames, a.received.bytes) == (1, 18)
        assert a.counters() == {"received": a.received}

    run(test)


def test_recv_waits() -> None:
    async def test() -> None:
        a, b = pair()
        takers = [asyncio.create_task(b.recv()) for _ in range(3)]
        await asyncio.sleep(0)
        for data in (b"one", b"two", b"three"):
            a.send(frame(MAC, data))
        assert await asyncio.gather(*takers) == [frame(MAC, data) for data in (b"one", b"two", b"three")]

    run(test)


def test_a_cancelled_taker_loses_no_frame() -> None:
    async def test() -> None:
        a, b = pair()
        first, second = asyncio.create_task(b.recv()), asyncio.create_task(b.recv())
        await asyncio.sleep(0)
        # The first is woken for the frame and cancelled before it can take it.
        a.send(frame(MAC))
        first.cancel()
        assert await second == frame(MAC)
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(b.recv(), 0.001)
        a.send(frame(MAC, b"next"))
        assert await b.recv() == frame(MAC, b"next")

    run(test)


def test_iteration_ends_with_close() -> None:
    async def test() -> None:
        a, b = pair()
        got = []
        enough = asyncio.Event()

        async def take() -> None:
            async for one in b:
                got.append(one)
                if len(got) == 2:
                    enough.set()

        taker = asyncio.create_task(take())
        a.send(frame(MAC, b"one"))
        a.send(frame(MAC, b"two"))
        await enough.wait()
        await b.close()
        await taker
        assert got == [frame(MAC, b"one"), frame(MAC, b"two")]

    run(test)


def test_a_closed_card_refuses_every_use() -> None:
    async def test() -> None:
        a, b = pair()
        a.send(frame(MAC))
        takers = [asyncio.create_task(a.recv()) for _ in range(2)]
        await asyncio.sleep(0)
        await a.close()
        await b.close()
        for taker in takers:
            with pytest.raises(ClosedError, match="nic is closed"):
                await taker
        with pytest.raises(ClosedError):
            a.send(frame(MAC))
        with pytest.raises(ClosedError):
            await b.recv()
        assert [one async for one in b] == []
        await b.open()
        await a.open()
        assert not b.waiting
        await b.close()
        a.send(frame(MAC))
        assert b.ports[0].sent.drops == {"not open": 1}

    run(test)


def test_address_filter() -> None:
    async def test() -> None:
        nic, other = pair(mac=MAC)
        to = [MAC, OTHER, BROADCAST, GROUP]

        async def passed() -> list[bytes]:
            other.ports[0].send(Burst([frame(address) for address in to]))
            return [one[:6] for one in await waiting(nic)]

        assert await passed() == [MAC, BROADCAST]
        nic.join(GROUP)
        assert await passed() == [MAC, BROADCAST, GROUP]
        nic.leave(GROUP)
        nic.leave(GROUP)
        nic.leave(MAC)
        nic.leave(BROADCAST)
        assert await passed() == [MAC, BROADCAST]
        nic.promiscuous = True
        assert await passed() == to
        for wrong in (MAC, b"\x01"):
            with pytest.raises(ValueError, match="is not a group address"):
                nic.join(wrong)

    run(test)


@pytest.mark.parametrize("arguments", [{}, {"mac": MAC, "promiscuous": True}])
def test_promiscuous(arguments: dict[str, Any]) -> None:
    async def test() -> None:
        nic, other = pair(**arguments)
        other.send(frame(OTHER))
        assert await nic.recv() == frame(OTHER)

    run(test)


@pytest.mark.parametrize(("full", "kept"), [("drop-oldest", [3, 4, 5]), ("drop-newest", [0, 1, 2])])
def test_a_full_queue_drops_and_counts(full: str, kept: list[int]) -> None:
    async def test() -> None:
        nic, other = pair(queue=3, full=full)
        frames: list[Frame] = [frame(MAC, bytes((number,))) for number in range(6)]
        other.ports[0].send(Burst(frames[:2]))
        other.ports[0].send(Burst(frames[2:]))
        assert await waiting(nic) == [frames[number] for number in kept]
        assert nic.received.frames == 6
        assert nic.received.drops == {"queue full": 3}

    run(test)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_frames_are_copies(kind: Callable[[bytearray], Frame]) -> None:
    async def test() -> None:
        a, b = pair()
        buffer = bytearray(frame(MAC))
        a.send(kind(buffer))
        buffer[14:] = b"XXXX"
        got = await b.recv()
        assert type(got) is bytes
        assert got == frame(MAC)

    run(test)


def test_without_a_connection_frames_are_counted() -> None:
    nic = Nic("nic", Nic.Arguments())
    nic.send(frame(MAC))
    assert nic.sent.drops == {"not connected": 1}


def test_what_is_no_frame_is_counted() -> None:
    a, b = pair()
    a.send(bytes(13))
    assert a.sent.drops == {"short frame": 1}
    a.ports[0].send(Burst([bytes(13), frame(MAC)]))
    assert b.received.drops == {"short frame": 1}
    assert b.received.frames == 1


def test_arguments() -> None:
    mistakes: list[Mistake] = []
    place = Place(Source("test", ""), 1, 1)

    def read(text: str) -> Any:
        return parse(Nic.Arguments, [Word(word, place) for word in text.split()], place, mistakes.append)

    assert read("") == Nic.Arguments()
    assert read("mac 02:00:00:00:00:01 promiscuous queue 5 full drop-newest") == Nic.Arguments(
        mac=MAC, promiscuous=True, queue=5, full="drop-newest"
    )
    assert not mistakes
    for wrong in ("mac 01:00:00:00:00:01", "queue 0", "full drop", "promiscous"):
        assert read(wrong) is None
    assert [mistake.message for mistake in mistakes] == [
        "mac: '01:00:00:00:00:01' is a group address; a station's first byte is even",
        "queue: queue length 0 is out of range: 1 to 1000000",
        "full: 'drop' is not one of drop-oldest, drop-newest, block",
        "unknown argument 'promiscous'",
    ]


@examples()
@given(st.lists(st.binary(max_size=20), max_size=20), st.booleans())
def test_any_bytes_are_kept_or_counted(frames: list[bytes], filtered: bool) -> None:
    nic, other = pair(**({"mac": MAC} if filtered else {}))
    other.ports[0].send(Burst(list(frames)))
    assert len(nic.waiting) == nic.received.frames <= len([one for one in frames if len(one) >= 14])
