"""TCP framing: the same datagrams however the stream is cut; lengths that cannot be end it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.aio import run
from tests.support.fuzzing import examples
from tests.support.wire import pieces
from tmelink.frame import Counters, Frame, Run
from tmelink.transport.streams import FULL, LONG, SHORT, Framer, Stream, framed

DATAGRAMS = st.lists(st.binary(min_size=1, max_size=300), max_size=40)


def feed(framer: Framer, data: bytes) -> list[bytes]:
    framer.room()[: len(data)] = data
    return pieces(framer.feed(len(data)))


@examples()
@given(DATAGRAMS, st.lists(st.integers(1, 50), min_size=1, max_size=20), st.sampled_from((SHORT, LONG)))
def test_any_cut_gives_the_same_datagrams(
    datagrams: list[bytes], cuts: list[int], prefix: struct.Struct
) -> None:
    stream = b"".join(framed(datagrams, prefix))
    framer = Framer(prefix=prefix)
    got, at, turn = [], 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        got += feed(framer, stream[at : at + step])
        at, turn = at + step, turn + 1
    assert got == datagrams
    assert framer.bad is None


STRETCHES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 40)), min_size=1, max_size=8
)
"""How many datagrams, of what length, and the length of one after them."""


@examples()
@given(STRETCHES, st.integers(1, 700), st.sampled_from((SHORT, LONG)), st.randoms(use_true_random=False))
def test_equal_datagrams_are_the_same_as_runs_and_one_by_one(
    stretches: list[tuple[int, int, int]], step: int, prefix: struct.Struct, noise: random.Random
) -> None:
    items: list[Frame | Run] = []
    for count, length, last in stretches:
        items.append(Run(memoryview(noise.randbytes(count * length + min(last, length - 1))), length))
        if last:
            items.append(noise.randbytes(last))
    datagrams = pieces(items)
    stream = b"".join(framed(items, prefix))
    assert stream == b"".join(prefix.pack(len(one)) + one for one in datagrams)
    framer, got = Framer(prefix=prefix), []
    for at in range(0, len(stream), step):
        got += feed(framer, stream[at : at + step])
    assert got == datagrams
    assert framer.bad is None


def test_what_a_super_frame_was_cut_into_comes_as_one_run() -> None:
    run = Run(memoryview(bytes(range(250)) * 40), 240)
    framer = Framer()
    stream = b"".join(framed([run, b"other"]))
    framer.room()[: len(stream)] = stream
    found = framer.feed(len(stream))
    assert len(found) == 2
    assert isinstance(found[0], Run)
    assert (bytes(found[0].data), found[0].size) == (bytes(run.data), 240)


def test_framers_of_a_thread_share_what_they_read_into_and_nothing_else() -> None:
    one, two = Framer(), Framer()
    assert feed(one, b"\0\5fi") == []
    assert feed(two, b"\0\3two\0\4fo") == [b"two"]
    assert feed(one, b"rst") == [b"first"]
    assert feed(two, b"ur") == [b"four"]


def test_datagrams_longer_than_the_buffer_is_wide_in_sum() -> None:
    framer = Framer()
    datagrams = [bytes([n % 251]) * 60000 for n in range(40)]
    stream = b"".join(framed(datagrams))
    got = []
    for at in range(0, len(stream), 50001):
        got += feed(framer, stream[at : at + 50001])
    assert got == datagrams


def test_a_run_is_framed_piece_by_piece() -> None:
    run = Run(memoryview(b"aaaabbbbcc"), 4)
    assert b"".join(framed([run, b"x"])) == b"\0\4aaaa\0\4bbbb\0\2cc\0\1x"


def test_a_32_bit_length_is_bounded_like_a_short_one() -> None:
    assert b"".join(framed([Run(memoryview(b"aab"), 2)], LONG)) == b"\0\0\0\2aa\0\0\0\1b"
    framer = Framer(limit=1500, prefix=LONG)
    assert feed(framer, b"\0\0\0\3abc" + struct.pack("!I", 0x10001) + b"zzz") == [b"abc"]
    assert framer.bad == 0x10001


@pytest.mark.parametrize("length", [0, 1501, 65535])
def test_a_length_that_cannot_be_ends_the_stream(length: int) -> None:
    framer = Framer(limit=1500)
    assert feed(framer, b"\0\3abc" + struct.pack("!H", length) + b"zzz") == [b"abc"]
    assert framer.bad == length


class Ends:
    """A stream on one end of a connection, and a plain socket on the other."""

    def __init__(self, limit: int = 65535) -> None:
        ours, self.theirs = socket.socketpair()
        self.got: list[bytes] = []
        self.changed = asyncio.Event()
        self.held: list[bool] = []
        self.reason: str | None = None
        self.sent, self.received = Counters(), Counters()
        self.stream = Stream(
            ours, self._receive, self._closed, self.held.append, self.sent, self.received, limit=limit
        )

    def _receive(self, datagrams: list[Frame | Run]) -> None:
        self.got += pieces(datagrams)
        self.changed.set()

    def _closed(self, reason: str) -> None:
        self.reason = reason
        self.changed.set()

    async def until(self, condition: str) -> None:
        async with asyncio.timeout(10):
            while not eval(condition, {}, {"self": self}):
                self.changed.clear()
                await self.changed.wait()

    def close(self) -> None:
        self.stream.close()
        self.theirs.close()


def test_frames_that_arrive_together_are_all_delivered_at_once() -> None:
    async def body() -> None:
        ends = Ends()
        ends.theirs.send(b"".join(framed([b"one", b"two", b"three"])))
        await ends.until("self.got")
        assert ends.got == [b"one", b"two", b"three"]
        assert (ends.received.frames, ends.received.bytes) == (3, 11)
        ends.close()

    run(body)


def test_a_paused_stream_leaves_what_comes_to_the_connection() -> None:
    async def body() -> None:
        ends = Ends()
        ends.stream.pause(True)
        ends.theirs.send(b"\0\3one")
        # Whatever is readable by now has been looked at after a turn of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        assert ends.got == []
        ends.stream.pause(False)
        await ends.until("self.got")
        assert ends.got == [b"one"]
        ends.close()
        ends.stream.pause(False)

    run(body)


def test_a_bad_length_is_counted_and_resets_the_connection() -> None:
    async def body() -> None:
        ends = Ends(limit=1500)
        ends.theirs.send(b"\0\3abc\0\0garbage")
        await ends.until("self.reason")
        assert ends.got == [b"abc"]
        assert ends.received.drops == {"bad length": 1}
        assert "0 bytes" in (ends.reason or "")
        ends.theirs.close()

    run(body)


def test_a_big_transfer_waits_for_its_reader_and_arrives_whole() -> None:
    async def body() -> None:
        ends = Ends()
        frame = b"x" * 1500
        count = 0
        while not ends.held:
            ends.stream.send([frame] * 10)
            count += 10
        assert ends.held == [True]
        ends.theirs.setblocking(False)
        framer, received = Framer(), 0
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while received < count:
                got = await loop.sock_recv_into(ends.theirs, framer.room())
                received += len(pieces(framer.feed(got)))
        assert ends.held == [True, False]
        assert ends.sent.frames == count
        assert not ends.sent.drops
        ends.close()

    run(body)


def test_a_full_queue_drops_and_counts_and_a_break_counts_what_was_queued() -> None:
    async def body() -> None:
        ends = Ends()
        run = Run(memoryview(bytes(60000)), 1000)
        while not ends.sent.drops:
            ends.stream.send([run])
        assert ends.sent.drops["queue full"] == 60
        assert ends.sent.bytes > FULL
        ends.stream.close()
        assert ends.sent.drops["lost with the connection"] > 0
        ends.stream.send([b"late"])
        assert ends.sent.drops["not connected"] == 1
        ends.close()

    run(body)


def test_the_peer_closing_is_told_once() -> None:
    async def body() -> None:
        ends = Ends()
        ends.theirs.close()
        await ends.until("self.reason")
        assert ends.reason == "closed by the peer"
        assert not ends.stream.open
        ends.stream.close("again")
        assert ends.reason == "closed by the peer"

    run(body)
