"""--shaper: frames leave in their order at the rate, the machine is held, and no more than so many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.support.aio import run
from tests.support.links import End
from tests.support.machines import frame
from tests.support.sockets import bare_peer, free_port, received
from tmelink.elements.openvpn import shaper
from tmelink.elements.openvpn.shaper import QUEUE, FrameShaper
from tmelink.frame import Counters, Frame, Run


class Wire:
    """Counts as a transport does, and keeps what was sent with the time."""

    def __init__(self) -> None:
        self.sent = Counters()
        self.held: list[bool] = []
        self.frames: list[bytes] = []
        self.released = asyncio.Event()

    def send(self, frames: Sequence[Frame]) -> None:
        for one in frames:
            self.frames.append(bytes(one))
            self.sent.frames += 1
            self.sent.bytes += len(one)

    def hold(self, held: bool) -> None:
        self.held.append(held)
        if not held:
            self.released.set()


def test_the_rate_is_kept_and_nothing_is_lost_or_reordered() -> None:
    async def body() -> None:
        wire = Wire()
        loop = asyncio.get_running_loop()
        shaped = FrameShaper(100_000, 28, wire.send, wire.hold, wire.sent)
        begun = loop.time()
        data = bytes(range(100)) * 100
        shaped.enqueue([frame(1, 1000), Run(memoryview(data), 972)])
        assert wire.frames == [frame(1, 1000)], "the first may go at once, and pays for the others to wait"
        async with asyncio.timeout(10):
            await wire.released.wait()
        assert b"".join(wire.frames[1:]) == data
        # 11 kB at 100 kB/s: the clock is the shaper's own, and what was sent last is still to be paid for.
        assert loop.time() - begun >= (sum(map(len, wire.frames[:-1])) + 28 * 11) / 100_000 - 0.011
        assert wire.held == [True, False]
        shaped.close()

    run(body)


def test_no_more_wait_than_a_queue_holds() -> None:
    async def body() -> None:
        wire = Wire()
        shaped = FrameShaper(100, 28, wire.send, wire.hold, wire.sent)
        shaped.enqueue([frame(n) for n in range(QUEUE + 10)])
        assert len(wire.frames) == 1
        assert wire.sent.drops == {"over --shaper": 10}
        shaped.close()
        assert wire.sent.drops == {"over --shaper": 10 + QUEUE - 1}
        assert wire.held == [True, False]

    run(body)


def test_a_link_is_shaped_and_its_machine_held() -> None:
    async def body() -> None:
        peer = bare_peer()
        here = f"--dev tap --local 127.0.0.1 --lport {free_port()} --disable-occ"
        async with End(f"{here} --remote 127.0.0.1 {peer.getsockname()[1]} --shaper 50000") as end:
            end.machine.send(*(frame(n) for n in range(8)))
            assert [await received(peer) for _ in range(8)] == [frame(n) for n in range(8)]
            await end.machine.until(lambda: end.machine.held == [True, False])
            assert shaper.QUEUE > 8
            assert end.link.counters()["wire sent"].frames == 8
        peer.close()

    run(body)
