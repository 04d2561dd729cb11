"""A link over UDP asks a peer with a small buffer how far it has read; what waits keeps its order."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.aio import eventually, run
from tests.support.links import OCC, End
from tests.support.machines import frame
from tests.support.sockets import bare_peer, free_port, received
from tmelink.elements.openvpn.metered_sender import FEW, MANY, PIECES, MeteredSender
from tmelink.frame import Run, pieces
from tmelink.openvpn import occ
from tmelink.openvpn.data.credit import QUESTION, ROOM
from tmelink.openvpn.session import Item

OVERHEAD = 40
FRAMES = [frame(number, 100) for number in range(2 * MANY)]


class Wire:
    """What was sent, which questions are open, and whether the machine was held."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.questions: list[int] = []
        self.held: list[bool] = []

    def send(self, items: Sequence[Item], question: int) -> None:
        self.sent += [bytes(piece) for piece in pieces(items)]
        if question:
            self.questions.append(question)

    def hold(self, held: bool) -> None:
        self.held.append(held)

    def answer(self, sender: MeteredSender) -> None:
        sender.answered(self.questions.pop(0) - OVERHEAD)


def test_no_more_is_sent_than_there_is_room_for_and_all_of_it_in_order() -> None:
    async def body() -> None:
        wire = Wire()
        sender = MeteredSender(wire.send, wire.hold)
        sender.enqueue(FRAMES[:10])
        wire.answer(sender)
        lent = bytearray(FRAMES[10])
        data = memoryview(b"".join(FRAMES[11:-1]))
        sender.enqueue([lent, Run(data, 100), FRAMES[-1]])
        lent[:] = bytes(len(lent))
        assert len(wire.sent) - 10 <= ROOM + PIECES
        assert wire.held == [True]
        assert sender.busy
        while sender.busy:
            before = len(wire.sent)
            wire.answer(sender)
            assert len(wire.sent) - before <= ROOM + PIECES
            if len(FRAMES) - len(wire.sent) < FEW:
                assert wire.held == [True, False]
        assert wire.sent == FRAMES
        assert sender.close() == 0

    run(body)


def test_what_waits_when_it_is_closed_is_counted() -> None:
    async def body() -> None:
        wire = Wire()
        sender = MeteredSender(wire.send, wire.hold)
        sender.enqueue(FRAMES[:10])
        wire.answer(sender)
        sender.enqueue(FRAMES)
        waiting = len(FRAMES) + 10 - len(wire.sent)
        assert sender.close() == waiting > 0
        assert wire.held == [True, False]

    run(body)


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    async def body() -> None:
        wire = Wire()
        sender = MeteredSender(wire.send, wire.hold)
        sender.enqueue(FRAMES[:10])
        wire.answer(sender)
        sender.enqueue(FRAMES)
        wire.questions.clear()
        await eventually(lambda: bool(wire.questions))
        wire.answer(sender)
        assert len(wire.sent) > 10 + ROOM
        sender.close()

    run(body)


async def _asked(peer: object, count: int) -> int:
    """Take `count` frames and the question behind them; the bytes that it asks for."""
    assert [await received(peer) for _ in range(count)] == FRAMES[:count]  # type: ignore[arg-type]
    question = await received(peer)  # type: ignore[arg-type]
    assert question[:17] == OCC + bytes((occ.MTU_LOAD_REQUEST,))
    return int.from_bytes(question[17:])


def _ends(port: int, peer: int, more: str = "") -> str:
    return f"--dev tap --local 127.0.0.1 --lport {port} --remote 127.0.0.1 {peer} {more}"


def test_a_peer_like_openvpn_is_sent_no_more_than_it_has_room_for() -> None:
    async def body() -> None:
        peer, port = bare_peer(), free_port()
        async with End(_ends(port, peer.getsockname()[1])) as end:
            peer.sendto(frame(1), ("127.0.0.1", port))
            await end.machine.until(lambda: frame(1) in end.machine.frames)
            end.machine.send(*FRAMES[:10])
            wanted = await _asked(peer, 10)
            assert wanted == QUESTION
            load = OCC + bytes((occ.MTU_LOAD,)) + bytes(wanted - OVERHEAD - 17)
            peer.sendto(load, ("127.0.0.1", port))
            peer.sendto(frame(2), ("127.0.0.1", port))
            await end.machine.until(lambda: frame(2) in end.machine.frames)
            end.machine.send(*FRAMES)
            assert end.link.sent.frames < 10 + 1 + 2 * (ROOM + PIECES)
            shaper = end.link._shaper
            assert shaper is not None
            assert shaper.busy
        assert end.link.sent.drops["link down"] > 0
        peer.close()

    run(body)


def test_a_peer_of_tmelinks_is_asked_once() -> None:
    async def body() -> None:
        here, there = free_port(), free_port()
        async with End(_ends(here, there)) as one, End(_ends(there, here)) as other:
            one.machine.send(frame(1))
            other.machine.send(frame(2))
            await one.machine.until(lambda: frame(2) in one.machine.frames)
            await other.machine.until(lambda: frame(1) in other.machine.frames)
            assert one.link._shaper is not None
            one.machine.send(*FRAMES[:64])
            await other.machine.until(lambda: FRAMES[63] in other.machine.frames)
            await eventually(lambda: one.link._shaper is None)
            one.machine.send(*FRAMES)

    run(body)


def test_under_disable_occ_nobody_is_asked() -> None:
    async def body() -> None:
        peer, port = bare_peer(), free_port()
        async with End(_ends(port, peer.getsockname()[1], "--disable-occ")) as end:
            peer.sendto(frame(1), ("127.0.0.1", port))
            await end.machine.until(lambda: frame(1) in end.machine.frames)
            end.machine.send(*FRAMES[:64], frame(9))
            assert [await received(peer) for _ in range(65)] == [*FRAMES[:64], frame(9)]
        peer.close()

    run(body)
