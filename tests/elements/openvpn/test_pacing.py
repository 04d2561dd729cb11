"""A link whose peer loses what comes too fast: it slows down, and neither drops nor reorders what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from scapy.compat import raw
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from tests.support.aio import run
from tests.support.links import End
from tests.support.machines import frame
from tests.support.sockets import bare_peer, free_port, received
from tmelink.elements.openvpn.paced_sender import PacedSender
from tmelink.frame import Counters, Run, pieces
from tmelink.openvpn.session import Item

STAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
LOSS = raw(Ether() / IP() / TCP(flags="A", options=[*STAMPS, ("NOP", None), ("NOP", None), ("SAck", (1, 2))]))


class Wire:
    """What was sent, and whether the machine was held."""

    def __init__(self) -> None:
        self.sent = Counters()
        self.held: list[bool] = []
        self.portions: list[list[bytes]] = []
        self.begun = 0
        self.released = asyncio.Event()

    def send(self, items: Sequence[Item]) -> None:
        self.portions.append([bytes(piece) for piece in pieces(items)])
        self.sent.frames += len(self.portions[-1])

    def hold(self, held: bool) -> None:
        self.held.append(held)
        if not held:
            self.released.set()

    def begin(self) -> None:
        self.begun += 1


def test_after_a_loss_the_machine_is_held_and_all_goes_out_in_order() -> None:
    async def body() -> None:
        wire, loop = Wire(), asyncio.get_running_loop()
        paced = PacedSender(wire.send, wire.hold, wire.sent, wire.begin, ip=False)
        paced.heard([b""])
        wire.sent.frames += 10_000_000
        await asyncio.sleep(0.01)
        paced.heard([LOSS])
        assert wire.begun == 1
        paced.heard([LOSS])
        assert wire.begun == 1, "it is limited already"
        lent = bytearray(frame(1, 200))
        data = b"".join(frame(n, 100) for n in range(100))
        paced._pace._peak = 10_000.0  # the machine of this test may be slow
        begun = loop.time()
        paced.enqueue([lent, Run(memoryview(data), 100), frame(2)])
        lent[:] = bytes(len(lent))
        async with asyncio.timeout(10):
            await wire.released.wait()
        assert loop.time() - begun > 0.004, "100 datagrams, of which 32 go at once, at 10,000 a second"
        whole = [piece for portion in wire.portions for piece in portion]
        assert whole == [frame(1, 200), *(frame(n, 100) for n in range(100)), frame(2)]
        assert max(map(len, wire.portions)) <= 16
        assert wire.held == [True, False]
        paced.close()

    run(body)


def test_what_waits_when_a_link_is_closed_is_counted() -> None:
    async def body() -> None:
        wire = Wire()
        paced = PacedSender(wire.send, wire.hold, wire.sent, wire.begin, ip=False)
        paced._pace._peak = 1.0
        paced.enqueue([frame(n) for n in range(100)])
        gone = sum(map(len, wire.portions))
        paced.close()
        assert wire.sent.drops == {"link down": 100 - gone}
        assert wire.held == [True, False]

    run(body)


def test_a_link_is_paced_once_its_peer_tells_of_loss() -> None:
    async def body() -> None:
        peer = bare_peer()
        port = free_port()
        here = f"--dev tap --local 127.0.0.1 --lport {port} --disable-occ"
        async with End(f"{here} --remote 127.0.0.1 {peer.getsockname()[1]}") as end:
            for _ in range(2):
                peer.sendto(LOSS, ("127.0.0.1", port))
                await end.machine.until(lambda: LOSS in end.machine.frames)
                # As after a transfer that was too fast.
                end.link.sent.frames += 10_000_000
                await asyncio.sleep(0.01)
                end.machine.got.clear()
            end.machine.send(*(frame(n) for n in range(64)))
            assert [await received(peer) for _ in range(64)] == [frame(n) for n in range(64)]
            assert end.link._shaper is end.link._paced is not None
        peer.close()

    run(body)
