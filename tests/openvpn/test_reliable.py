"""The reliability layer: order, windows, back-off."""

import random

from tmelink.openvpn.data.packet import Opcode
from tmelink.openvpn.tls.reliable import RECEIVE_WINDOW, SEND_WINDOW, Reliable

V1 = Opcode.CONTROL_V1


def test_a_peer_that_has_said_nothing_yet_is_asked_at_even_intervals() -> None:
    one = Reliable(2.0)
    one.queue(V1, b"a", 0.0)
    times = []
    for _ in range(5):
        times.append(one.deadline())
        one.due(times[-1] or 0.0)
    assert times == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_a_packet_is_sent_again_later_and_later_until_acknowledged() -> None:
    one = Reliable(2.0)
    one.receive(0, V1, b"")
    one.queue(V1, b"a", 0.0)
    times = []
    for _ in range(5):
        now = one.deadline()
        assert now is not None
        assert one.due(now - 0.01) == []
        assert one.due(now) == [(0, V1, b"a")]
        times.append(now)
    assert times == [0.0, 2.0, 6.0, 14.0, 22.0]
    one.acknowledged((0,), 0.2)
    assert one.idle()
    assert one.deadline() is None


def test_acknowledgements_of_later_packets_bring_an_early_repetition() -> None:
    one = Reliable(2.0)
    for n in range(4):
        one.queue(V1, bytes([n]), 0.0)
    assert len(one.due(0.0)) == 4
    one.acknowledged((1, 2), 0.1)
    assert one.due(0.1) == []
    one.acknowledged((3,), 0.1)
    assert one.due(0.1) == [(0, V1, b"\0")]
    assert one.due(0.1) == []


def test_the_round_trip_is_that_of_packets_sent_once() -> None:
    one = Reliable(2.0)
    one.queue(V1, b"a", 0.0)
    one.due(0.0)
    one.due(2.0)
    one.acknowledged((0,), 2.01)
    assert one.round_trip is None  # which of its two sendings was heard?
    for number, taken in ((1, 0.3), (2, 0.1), (3, 0.2)):
        one.queue(V1, b"b", 10.0)
        one.due(10.0)
        one.acknowledged((number,), 10.0 + taken)
    assert one.round_trip == 0.1 + 10.0 - 10.0


def test_the_send_window_fills_and_moves_with_its_oldest_packet() -> None:
    one = Reliable(2.0)
    for n in range(SEND_WINDOW):
        assert one.room() == SEND_WINDOW - n
        one.queue(V1, b"", 0.0)
    assert one.room() == 0
    one.acknowledged((1, 2), 0.1)
    assert one.room() == 0
    one.acknowledged((0,), 0.2)
    assert one.room() == 3


def test_packets_come_out_in_order_and_once() -> None:
    one = Reliable(2.0)
    for n in (2, 1, 2):
        one.receive(n, V1, bytes([n]))
    assert one.take() is None
    one.receive(0, V1, b"\0")
    assert [one.take(), one.take(), one.take()] == [(n, V1, bytes([n])) for n in range(3)]
    assert one.take() is None
    assert one.receive(1, V1, b"\1") == "repeated control packet"
    assert one.take() is None


def test_a_packet_beyond_the_window_is_neither_kept_nor_acknowledged() -> None:
    one = Reliable(2.0)
    assert one.receive(RECEIVE_WINDOW, V1, b"") == "beyond the control window"
    assert not one.owes_acks()
    assert one.receive(RECEIVE_WINDOW - 1, V1, b"") is None
    assert one.acks(8) == (RECEIVE_WINDOW - 1,)


def test_acknowledgements_owed_go_first_and_the_latest_again() -> None:
    one = Reliable(2.0)
    for n in range(6):
        one.receive(n, V1, b"")
    assert one.acks(4) == (0, 1, 2, 3)
    assert one.owes_acks()
    assert one.acks(4) == (4, 5, 0, 1)
    assert not one.owes_acks()
    assert one.acks(8) == (4, 5, 0, 1, 2, 3)


def test_hurry_sends_everything_again_at_once() -> None:
    one = Reliable(2.0)
    one.queue(V1, b"a", 0.0)
    one.due(0.0)
    one.due(2.0)
    one.hurry(3.0)
    assert one.due(3.0) == [(0, V1, b"a")]
    assert one.deadline() == 5.0


def test_a_stream_survives_a_bad_wire() -> None:
    chance = random.Random(5)
    for _ in range(20):
        sender, receiver = Reliable(1.0), Reliable(1.0)
        wanted = [bytes([n]) for n in range(40)]
        left, now = list(wanted), 0.0
        got: list[bytes] = []
        wire: list[tuple[int, Opcode, bytes]] = []
        while len(got) < len(wanted) or not sender.idle():
            while left and sender.room():
                sender.queue(V1, left.pop(0), now)
            for item in sender.due(now):
                wire += [item] * chance.choice((0, 1, 1, 2))
            chance.shuffle(wire)
            for number, opcode, payload in wire[: len(wire) // 2 + 1]:
                receiver.receive(number, opcode, payload)
            wire = wire[len(wire) // 2 + 1 :]
            while (taken := receiver.take()) is not None:
                got.append(taken[2])
            acks = receiver.acks(4)
            if acks and chance.random() < 0.7:
                sender.acknowledged(acks, now)
            now += 0.5
            assert now < 10_000
        assert got == wanted
