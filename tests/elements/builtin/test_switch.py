"""The learning bridge, with elements that record what reaches them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.aio import eventually
from tests.support.bridge import BROADCAST, Bridge, Recorder, RuledBridge, frame, station
from tests.support.fuzzing import examples
from tests.support.sockets import free_port
from tmelink import ethernet
from tmelink.arguments import parse
from tmelink.element import Port, connect, disconnect
from tmelink.elements.builtin import learning_segment
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.learning_segment import AGEING
from tmelink.elements.builtin.loop_watch import MOVES, WINDOW
from tmelink.elements.builtin.switch import MAX_DEPTH, Switch
from tmelink.errors import ElementError
from tmelink.frame import Burst, Frame, Gso
from tmelink.machine import load
from tmelink.runtime import Lab
from tmelink.source import Mistake, Place, Source, Word
from tmelink.stack import arp

SPANNING_TREE = bytes.fromhex("0180c2000000")
LABEL = Gso(1, 1448, 66, 34, 16)


def test_an_unknown_station_is_looked_for_everywhere_but_back() -> None:
    bridge = Bridge()
    bridge.ends[0].send(frame(2, 1))
    assert bridge.taken() == [[], [frame(2, 1)], [frame(2, 1)]]


def test_a_known_station_gets_its_frames_alone() -> None:
    bridge = Bridge()
    bridge.ends[1].send(frame(BROADCAST, 2))
    bridge.taken()
    bridge.ends[0].send(frame(2, 1), frame(2, 1, b"more"))
    assert bridge.taken() == [[], [frame(2, 1), frame(2, 1, b"more")], []]
    bridge.ends[1].send(frame(1, 2))
    assert bridge.taken() == [[frame(1, 2)], [], []]


@pytest.mark.parametrize("to", [BROADCAST, bytes.fromhex("01005e000001"), bytes.fromhex("0180c2000010")])
def test_groups_are_flooded(to: bytes) -> None:
    bridge = Bridge()
    bridge.ends[2].send(frame(to, 1))
    assert bridge.taken() == [[frame(to, 1)], [frame(to, 1)], []]


def test_a_station_that_moves_is_found_again() -> None:
    bridge = Bridge()
    bridge.ends[1].send(frame(BROADCAST, 2))
    bridge.ends[2].send(frame(BROADCAST, 2))
    bridge.taken()
    bridge.ends[0].send(frame(2, 1))
    assert bridge.taken() == [[], [], [frame(2, 1)]]


def test_a_frame_never_goes_back() -> None:
    bridge = Bridge()
    bridge.ends[0].send(frame(BROADCAST, 1), frame(BROADCAST, 2))
    bridge.taken()
    bridge.ends[0].send(frame(2, 1), frame(2, 1))
    assert bridge.taken() == [[], [], []]
    assert bridge.drops(0) == {}


def test_a_mixed_burst_reaches_each_end_in_order() -> None:
    bridge = Bridge(4)
    for end, number in ((1, 2), (2, 3)):
        bridge.ends[end].send(frame(BROADCAST, number))
    bridge.taken()
    burst = [
        frame(2, 1, b"a"),
        frame(3, 1, b"b"),
        frame(BROADCAST, 1, b"c"),
        frame(2, 9, b"d"),
        frame(1, 1, b"e"),
    ]
    bridge.ends[0].send(*burst)
    a, b, c, d, _ = burst
    # The last one is for a station behind the port that it came from.
    assert bridge.taken() == [[], [a, c, d], [b, c], [c]]


def test_labels_stay_with_their_frames() -> None:
    bridge = Bridge()
    for end, number in ((1, 2), (2, 3)):
        bridge.ends[end].send(frame(BROADCAST, number))
    bridge.taken()
    bridge.ends[0].send(frame(2, 1), frame(3, 1), frame(2, 1), gso=[LABEL, None, None])
    assert bridge.ends[1].bursts == [Burst([frame(2, 1), frame(2, 1)], [LABEL, None])]
    assert bridge.ends[2].bursts == [Burst([frame(3, 1)], [None])]
    bridge.taken()
    bridge.ends[0].send(frame(2, 1), frame(2, 1), gso=[LABEL, LABEL])
    assert bridge.ends[1].bursts == [Burst([frame(2, 1), frame(2, 1)], [LABEL, LABEL])]


def test_what_is_no_frame_is_counted_and_the_rest_goes_on() -> None:
    bridge = Bridge()
    bridge.ends[0].send(b"", frame(2, 1), bytes(13), gso=[None, LABEL, None])
    assert bridge.ends[1].bursts == [Burst([frame(2, 1)], [LABEL])]
    assert bridge.drops(0) == {"short frame": 2}
    bridge.ends[0].send(b"")
    assert bridge.drops(0) == {"short frame": 3}


def test_a_group_is_never_learned() -> None:
    bridge = Bridge()
    bridge.ends[0].send(frame(BROADCAST, BROADCAST))
    assert bridge.switch.table() == []


def test_silent_stations_are_forgotten() -> None:
    bridge = Bridge()
    bridge.ends[1].send(frame(BROADCAST, 2))
    bridge.clock.now += AGEING
    bridge.taken()
    bridge.ends[0].send(frame(2, 1))
    assert bridge.taken() == [[], [frame(2, 1)], []]
    bridge.clock.now += 1
    bridge.ends[0].send(frame(2, 1))
    assert bridge.taken() == [[], [frame(2, 1)], [frame(2, 1)]]


def test_stations_that_speak_are_remembered() -> None:
    bridge = Bridge(ageing=10.0)
    for _ in range(5):
        bridge.ends[1].send(frame(BROADCAST, 2))
        bridge.clock.now += 9
    bridge.taken()
    bridge.ends[0].send(frame(2, 1))
    assert bridge.taken() == [[], [frame(2, 1)], []]


def test_a_full_table_floods_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_segment, "TABLE_SIZE", 3)
    bridge = Bridge(ageing=10.0)
    bridge.ends[1].send(*(frame(BROADCAST, number) for number in range(5)))
    bridge.taken()
    assert [mac for mac, *_ in bridge.switch.table()] == [station(0), station(1), station(2)]
    assert bridge.switch.counters()["learning"].drops == {"table full": 2}
    bridge.ends[0].send(frame(2, 0), frame(4, 0))
    assert bridge.taken()[2] == [frame(4, 0)]
    # Room is made by those that have been silent for long.
    bridge.clock.now += 11
    bridge.ends[1].send(frame(BROADCAST, 4))
    assert [mac for mac, *_ in bridge.switch.table()] == [station(4)]


@pytest.mark.parametrize("last", [0, 1, 2, 15])
def test_frames_for_the_nearest_bridge_end_here(last: int) -> None:
    to = SPANNING_TREE[:5] + bytes((last,))
    bridge = Bridge()
    bridge.ends[0].send(frame(to, 1), frame(BROADCAST, 1))
    assert bridge.taken() == [[], [frame(BROADCAST, 1)], [frame(BROADCAST, 1)]]
    assert bridge.drops(0) == {"reserved for the nearest bridge": 1}
    bridge = Bridge(transparent=True)
    bridge.ends[0].send(frame(to, 1))
    assert bridge.taken() == [[], [frame(to, 1)], [frame(to, 1)]]


def test_a_disconnected_port_is_neither_flooded_nor_remembered() -> None:
    bridge = Bridge()
    bridge.ends[1].send(frame(BROADCAST, 2))
    bridge.taken()
    disconnect(bridge.switch.ports[1])
    bridge.ends[0].send(frame(2, 1))
    assert bridge.taken() == [[], [], [frame(2, 1)]]
    assert bridge.drops(1) == {}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_frames_are_handed_on_without_a_copy(kind: Callable[[bytes], Frame]) -> None:
    bridge = Bridge()
    sent = [kind(frame(2, 1)), kind(frame(3, 9))]
    bridge.ends[0].send(*sent)
    [burst] = bridge.ends[1].bursts
    assert all(a is b for a, b in zip(burst.frames, sent, strict=True))


@pytest.mark.parametrize("cables", [1, 2, 3, 10])
def test_a_loop_ends(cables: int) -> None:
    one, two = Bridge(1), Bridge(1)
    for _ in range(cables):
        connect(one.switch.port(), two.switch.port())
    one.ends[0].send(frame(BROADCAST, 1), frame(7, 1))
    # Each cable brings it once, and what comes back by the others goes no further.
    assert two.ends[0].taken() == [frame(BROADCAST, 1), frame(7, 1)] * cables
    assert one.ends[0].taken() == []
    dropped = sum(port.sent.drops["switch loop"] for port in one.switch.ports)
    assert dropped == 2 * cables * (cables - 1)
    # The loop does no harm to what comes after.
    two.ends[0].send(frame(BROADCAST, 2))
    assert one.ends[0].taken() == [frame(BROADCAST, 2)] * cables


@pytest.mark.parametrize("same", [True, False])
def test_a_switch_connected_to_itself(same: bool) -> None:
    bridge = Bridge(2)
    port = bridge.switch.port()
    connect(port, port if same else bridge.switch.port())
    bridge.ends[0].send(frame(BROADCAST, 1))
    assert bridge.taken() == [[], [frame(BROADCAST, 1)]]


def test_a_loop_through_what_copies_ends_too() -> None:
    class Copier(Recorder):
        capacity = 2

        def receive(self, port: Port, burst: Burst) -> None:
            self.ports[1 - port.index].send(Burst([bytes(bytearray(frame)) for frame in burst.frames]))

    bridge = Bridge(2)
    copier = Copier("copier")
    for _ in range(2):
        connect(bridge.switch.port(), copier.port())
    bridge.ends[0].send(frame(BROADCAST, 1))
    assert 1 <= len(bridge.ends[1].taken()) <= 2 * MAX_DEPTH
    assert sum(port.sent.drops["switch loop"] for port in bridge.switch.ports) == 2


def test_answers_on_the_way_are_no_loop() -> None:
    class Answering(Recorder):
        def receive(self, port: Port, burst: Burst) -> None:
            super().receive(port, burst)
            for one in map(bytes, burst.frames):
                if len(one) < 19:
                    port.send(Burst([one[6:12] + one[:6] + one[12:] + b"!"]))

    bridge = Bridge(0)
    bridge.ends = [Answering("a"), Answering("b")]
    for end in bridge.ends:
        connect(end.port(), bridge.switch.port())
    bridge.ends[0].send(frame(2, 1))
    assert bridge.taken() == [[frame(1, 2) + b"!"], [frame(2, 1)]]


def test_it_forwards_only_while_open() -> None:
    async def run() -> None:
        bridge = Bridge()
        await bridge.switch.close()
        bridge.ends[0].send(frame(2, 1))
        assert bridge.taken() == [[], [], []]
        assert bridge.drops(0) == {"not open": 1}
        await bridge.switch.open()
        bridge.ends[0].send(frame(2, 1))
        assert bridge.taken() == [[], [frame(2, 1)], [frame(2, 1)]]

    asyncio.run(run())


def test_command_table() -> None:
    async def run() -> None:
        bridge = Bridge()
        bridge.ends[1].send(frame(BROADCAST, 2), frame(BROADCAST, 3))
        bridge.clock.now += 7
        bridge.ends[0].send(frame(BROADCAST, 9))
        assert await bridge.switch.command(["table"]) == (
            "3 of 8192 stations\n"
            "02:00:00:00:00:09  port 0 (end0)  0 s\n"
            "02:00:00:00:00:02  port 1 (end1)  7 s\n"
            "02:00:00:00:00:03  port 1 (end1)  7 s"
        )
        for words in ([], ["tabel"], ["table", "x"]):
            with pytest.raises(ElementError, match="knows the commands: table"):
                await bridge.switch.command(words)

    asyncio.run(run())


def test_arguments() -> None:
    mistakes: list[Mistake] = []
    place = Place(Source("test", ""), 1, 1)

    def read(text: str) -> Any:
        return parse(Switch.Arguments, [Word(word, place) for word in text.split()], place, mistakes.append)

    assert read("") == Switch.Arguments(ageing=300.0, transparent=False)
    assert read("ageing 15 transparent") == Switch.Arguments(ageing=15.0, transparent=True)
    assert not mistakes
    assert read("ageing 0") is None
    assert "out of range" in mistakes[0].message


@examples()
@given(st.lists(st.lists(st.binary(max_size=16), max_size=5), max_size=10), st.integers(0, 2))
def test_any_bytes_are_forwarded_or_counted(bursts: list[list[bytes]], end: int) -> None:
    bridge = Bridge()
    for frames in bursts:
        bridge.ends[end].send(*frames)
    assert bridge.ends[end].taken() == []


def test_it_forwards_as_a_plain_bridge_would() -> None:
    """Against the simplest description of a bridge, frame by frame, over random traffic."""
    bridge = Bridge(5)
    source = random.Random(7)
    where: dict[bytes, int] = {}
    for _ in range(2000):
        port = source.randrange(5)
        # Nobody in a burst speaks to another of its senders: these are learned by the burst.
        numbers = source.sample(range(12), 12)
        senders, receivers = numbers[:4], [BROADCAST, *map(station, numbers[4:])]
        burst = [
            frame(source.choice(receivers), source.choice(senders), source.randbytes(4))
            for _ in range(source.choice((1, 1, 2, 8)))
        ]
        expected: list[list[bytes]] = [[] for _ in range(5)]
        for one in burst:
            where[one[6:12]] = port
            known = where.get(one[:6])
            for end in range(5) if known is None else (known,):
                if end != port:
                    expected[end].append(one)
        bridge.ends[port].send(*burst)
        assert bridge.taken() == expected


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("rules", [["", "", "", ""], ["vlan access 10", "vlan access 10", "", ""]], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_frames_that_come_alone_fare_as_in_bursts(seed: int, rules: list[str], transparent: bool) -> None:
    """Stations move, fall silent, and say which IP addresses they have; some frames are none."""
    source = random.Random(seed)
    places = [*map(station, range(8)), BROADCAST, SPANNING_TREE, bytes.fromhex("01005e000001")]
    sent = []
    for _ in range(600):
        to, own = source.choice(places), station(source.randrange(8))
        whole = frame(to, own, source.randbytes(4))
        if source.random() < 0.2:
            whole = arp.build(arp.Arp(arp.REPLY, own, own[2:], to, to[2:]), to)
        sent.append(
            (source.randrange(4), source.choice((0.0, 1.0, 60.0)), whole[: source.choice((99, 99, 13))])
        )
    found = []
    for alone in (False, True):
        bridge = RuledBridge(*rules, ageing=100.0, transparent=transparent)
        for end, pause, one in sent:
            bridge.clock.now += pause
            (bridge.ends[end].send_one if alone else bridge.ends[end].send)(one)
        ports, learnt = bridge.switch.ports, bridge.switch.learning
        stations = [(mac, ports.index(port), age) for mac, port, age in bridge.switch.table()]
        addresses = [bridge.switch._addresses.of(mac) for mac, _, _ in stations]
        sent_on = [(port.sent.frames, port.sent.bytes, dict(port.sent.drops)) for port in ports]
        found.append((bridge.taken(), stations, addresses, sent_on, learnt.frames))
    assert found[0] == found[1]
    assert all(found[0][0])


def test_a_frame_that_comes_alone_for_a_known_station_goes_on_without_a_burst() -> None:
    bridge = Bridge()
    bridge.ends[1].send(frame(BROADCAST, 2))
    bridge.taken()
    lone: list[Frame] = []
    bridge.ends[1].receive_one = lambda port, frame: lone.append(frame)  # type: ignore[method-assign]
    bridge.ends[0].send_one(frame(2, 1))
    assert lone == [frame(2, 1)]
    assert bridge.taken() == [[], [], []]


# What it cannot work with is named


def test_one_address_at_two_places_is_named(caplog: pytest.LogCaptureFixture) -> None:
    bridge = Bridge()
    with caplog.at_level("WARNING", "tmelink"):
        for _ in range(500):
            bridge.ends[0].send(frame(BROADCAST, 1))
            bridge.ends[1].send(frame(BROADCAST, 1))
            bridge.clock.now += 0.01
    text = (
        f"{ethernet.text(station(1))} is heard at port 1 (end1) and port 0 (end0) in turn: two machines have "
        "this MAC address, or the connections form a loop"
    )
    assert caplog.messages == [text]
    assert bridge.switch.details().summary == f"1 station; {text}"
    bridge.clock.now += WINDOW
    assert bridge.switch.details().summary == "1 station", "it is over"


def test_several_stations_in_turn_at_two_places_are_a_loop_and_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bridge = Bridge()
    with caplog.at_level("WARNING", "tmelink"):
        for _ in range(2):
            for _ in range(20):
                for end in bridge.ends[:2]:
                    end.send(*(frame(BROADCAST, number) for number in range(300)))
                    bridge.taken()
            bridge.clock.now += WINDOW
    assert len(caplog.messages) == 4
    for first, second in zip(caplog.messages[::2], caplog.messages[1::2], strict=True):
        assert "two machines have this MAC address, or the connections form a loop" in first
        assert second.startswith("several stations are heard at port ")
        assert "the connections form a loop; remove one of them" in second


def test_a_station_that_moves_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    bridge = Bridge()
    with caplog.at_level("WARNING", "tmelink"):
        for move in range(50):
            bridge.ends[move % 3].send(frame(BROADCAST, 1))
            bridge.clock.now += WINDOW / (MOVES - 1)
    assert caplog.messages == []
    assert bridge.switch.details().trouble == ""


def test_a_loop_of_switches_is_named(caplog: pytest.LogCaptureFixture) -> None:
    one, two = Bridge(1), Bridge(1)
    for _ in range(3):
        connect(one.switch.port(), two.switch.port())
    with caplog.at_level("WARNING", "tmelink"):
        for _ in range(3):
            one.ends[0].send(frame(BROADCAST, 1))
    back = [message for message in caplog.messages if message.startswith("what it sends comes back at port ")]
    assert len(back) == 1, caplog.messages
    assert "the connections form a loop; remove one of them" in back[0]
    assert "the connections form a loop" in one.switch.details().summary


def test_a_storm_through_sockets_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Two cables between two switches, as two processes have them: nothing ends such a loop but a person."""
    ports = [free_port() for _ in range(4)]
    text = "".join(
        f"{name}: tmelink/switch\nle{number} at {name}: tmelink/host inet 10.0.77.{number + 1}/24\n"
        for number, name in enumerate(("sw0", "sw1"))
    )
    for cable in range(2):
        for end, name in enumerate(("sw0", "sw1")):
            here, there = ports[2 * cable + end], ports[2 * cable + 1 - end]
            text += f"u{cable}{end} at {name}: tmelink/udp local 127.0.0.1:{here} remote 127.0.0.1:{there}\n"

    async def main() -> None:
        async with Lab(load(text)) as lab:
            host, switch = lab["le0"], lab["sw0"]
            assert isinstance(host, Host)
            assert isinstance(switch, Switch)
            ping = asyncio.create_task(host.ping("10.0.77.2", count=1))
            await eventually(lambda: "the connections form a loop" in switch.details().summary)
            ping.cancel()

    with caplog.at_level("WARNING", "tmelink"):
        asyncio.run(main())
    assert any("(u00)" in message or "(u10)" in message for message in caplog.messages)
