"""Loops of connections: found by probes, cut at the newest connection, healed when they are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.support.aio import eventually, run_jumping
from tests.support.cabled import Cabled, until
from tests.support.sockets import free_port
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.loop_finder import HELD, INTERVAL, LEAST, LoopFinder
from tmelink.elements.builtin.loop_probe import (
    GROUP,
    MOST_HOPS,
    NUMBERS,
    Probe,
    ProbeHop,
    build_probe,
    handed_on,
    parse_probe,
)
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst
from tmelink.machine import load
from tmelink.runtime import Lab

LOW, MIDDLE, HIGH = b"\0" * 8, b"\x77" * 8, b"\xff" * 8


def through(node: bytes, came: bool = False, went: bool = False) -> ProbeHop:
    return ProbeHop(node, came, went)


def test_a_probe_is_a_small_multicast_frame_that_reads_as_it_was_written_tagged_or_not() -> None:
    probe = Probe(
        bytes(range(8)), 300, 0xFFFFFFFF, True, False, True, (through(LOW), through(HIGH, went=True))
    )
    frame = build_probe(probe)
    assert len(build_probe(probe._replace(passed=()))) == 60
    assert (frame[:6], frame[6:12]) == (GROUP, bytes.fromhex("06000102012c"))
    assert parse_probe(frame) == parse_probe(memoryview(frame)) == probe
    assert parse_probe(frame[:12] + b"\x81\x00\x00\x07" + frame[12:]) == probe
    for wrong in (
        frame[:40],
        frame[:14],
        frame[:14] + b"x" + frame[15:],
        frame[:12] + b"\x88\xb5" + frame[14:],
    ):
        assert parse_probe(wrong) is None


def rounds(finder: LoopFinder, count: int, begin: float, heard: Sequence[int] = ()) -> float:
    """So many rounds at the finder's interval, in which probes of another switch are heard; when they end."""
    now = begin
    for _ in range(count):
        finder.probes([0, 1, 2], now)
        for port in heard:
            finder.heard(Probe(HIGH, 9, finder.number), port, now)
        now += finder.interval
        finder.healed(now)
    return now


def cut_finder(interval: float = INTERVAL) -> LoopFinder:
    """A finder that has cut connection 1, because of a loop with 2, at 0 s."""
    finder = LoopFinder(LOW, interval)
    for port, now in ((0, -3.0), (1, -1.0), (2, -2.0)):
        finder.came_up(port, now)
    ((_, frame), *_) = finder.probes([2], 0.0)
    probe = parse_probe(frame)
    assert probe is not None
    assert finder.came_back(probe, 1, 0.0) == (1, 2)
    return finder


def test_of_two_connections_in_a_loop_the_newest_is_cut_until_no_probe_comes_back() -> None:
    finder = cut_finder()
    assert finder.came_back(Probe(LOW, 1, 5), 2, 1.0) is None, "it is known"
    end = rounds(finder, HELD - 1, 1.0, heard=[1])
    assert [*finder.cut] == [1]
    rounds(finder, HELD + 2, end, heard=[1])
    assert finder.cut == {}
    assert finder.came_back(Probe(LOW, 0, 6), 1, 30.0) == (1, 0), "and found again"


def test_what_is_cut_heals_by_the_time_and_not_by_the_number_of_probes() -> None:
    finder = cut_finder()
    for number in range(100):  # as many as when a hundred connections come up in turn
        finder.probes([0, 1, 2], number / 100)
        finder.heard(Probe(HIGH, 9, number), 1, number / 100)
        assert finder.healed((number + 1) / 100) == []


def test_short_intervals_do_not_heal_before_busy_neighbours_have_had_time() -> None:
    finder = cut_finder(0.05)
    end = rounds(finder, int(HELD * LEAST / 0.05) - 1, 0.0, heard=[1])
    assert [*finder.cut] == [1]
    rounds(finder, int(HELD * LEAST / 0.05) + 5, end, heard=[1])
    assert finder.cut == {}


def test_a_program_that_stood_still_has_not_looked_meanwhile() -> None:
    finder = cut_finder()
    finder.probes([0, 1, 2], 1.0)
    assert finder.healed(600.0) == [], "one round, which was sent ten minutes ago"
    assert [*finder.cut] == [1]


def test_a_connection_that_hears_nobody_heals_later() -> None:
    finder = cut_finder()
    end = rounds(finder, 2 * HELD - 1, 0.0)
    assert [*finder.cut] == [1], "whoever hands probes on may be busy"
    rounds(finder, 2 * HELD + 3, end)
    assert finder.cut == {}, "or send none itself"


def test_a_connection_of_a_mesh_is_kept_though_it_is_the_newest() -> None:
    finder = LoopFinder(LOW, INTERVAL)
    for port, now in ((0, 1.0), (1, 3.0), (2, 4.0)):
        finder.came_up(port, now, kept=port > 0)
    assert finder.came_back(Probe(LOW, 0, 1), 1, 5.0) == (0, 1)
    assert finder.came_back(Probe(LOW, 1, 1), 2, 5.0) == (2, 1), "of two of a mesh the newest is cut"


def test_a_member_of_a_mesh_leaves_a_loop_to_those_who_have_a_connection_beside_the_mesh() -> None:
    lowest = LoopFinder(LOW, INTERVAL)
    for port in (1, 2):
        lowest.came_up(port, port, kept=True)
    beside = through(MIDDLE, came=True), through(HIGH, went=True)
    assert lowest.came_back(Probe(LOW, 1, 1, kept=True, passed=beside), 2, 5.0) is None
    assert lowest.cut == {}


def test_a_loop_that_no_probe_goes_round_shows_in_probes_of_others_by_two_paths() -> None:
    low, middle = LoopFinder(LOW, INTERVAL), LoopFinder(MIDDLE, INTERVAL)
    for finder in (low, middle):
        finder.came_up(1, 1.0, kept=True)
        finder.came_up(2, 2.0)
    # A third member's, which come from it, and from the other one of these two by the cable beside the mesh.
    assert low.heard(Probe(HIGH, 1, 7, kept=True), 1, 5.0) is None
    late = Probe(HIGH, 2, 6, kept=True, passed=(through(MIDDLE, came=True),))
    assert low.heard(late, 2, 5.0) is None, "of another round"
    same = late._replace(number=7)
    assert middle.heard(Probe(HIGH, 2, 7, kept=True), 1, 5.0) is None
    assert middle.heard(same._replace(port=1, passed=(through(LOW, came=True),)), 2, 5.0) is None
    assert low.heard(same, 2, 5.0) == (2, 1)
    assert middle.cut == {}, "the lower one cuts"
    assert low.heard(Probe(HIGH, 3, 8, kept=True), 1, 7.0) is None
    assert low.heard(same._replace(number=8), 2, 7.0) is None, "and goes on while they arrive"
    assert low.cut[2].sign == 7.0


def test_without_a_mesh_two_paths_are_left_to_the_probes_that_go_round() -> None:
    finder = LoopFinder(LOW, INTERVAL)
    for port in (1, 2):
        finder.came_up(port, port)
    assert finder.heard(Probe(HIGH, 1, 7), 1, 5.0) is None
    assert finder.heard(Probe(HIGH, 2, 7, passed=(through(MIDDLE),)), 2, 5.0) is None
    assert finder.heard(Probe(HIGH, 3, 7, cut=True, kept=True), 2, 5.0) is None, "only probes come from there"
    assert finder.cut == {}


def test_the_lowest_number_of_a_loop_cuts_and_the_others_leave_it_to_it() -> None:
    high, low = LoopFinder(HIGH, INTERVAL), LoopFinder(LOW, INTERVAL)
    (*_, (_, frame)) = high.probes([0, 1], 0.0)
    probe = parse_probe(frame)
    assert probe is not None
    assert low.is_new(probe)
    assert not low.is_new(probe), "each is handed on once"
    onward = parse_probe(handed_on(frame, probe, through(LOW)))
    assert onward == Probe(HIGH, 1, 1, passed=(through(LOW),))
    assert high.came_back(onward, 0, 0.0) is None
    assert low.came_back(Probe(LOW, 1, 1, passed=(through(HIGH),)), 0, 0.0) == (1, 0)
    many = (through(HIGH),) * MOST_HOPS
    assert not low.is_new(Probe(HIGH, 1, 2, passed=many)), "an end to what may be handed on"


def test_a_probe_is_not_handed_on_after_a_later_one() -> None:
    finder = LoopFinder(LOW, INTERVAL)
    numbers = (NUMBERS - 1, 0, NUMBERS - 1, 1, 0)
    assert [finder.is_new(Probe(HIGH, 1, number)) for number in numbers] == [True, True, False, True, False]


def test_a_probe_that_comes_back_where_it_was_sent_cuts_nothing() -> None:
    finder = LoopFinder(LOW, INTERVAL)
    assert finder.came_back(Probe(LOW, 3, 1), 3, 0.0) is None
    assert finder.reflected == {3}
    assert finder.cut == {}


RING = [(0, 1), (1, 2), (2, 0)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("cables", "loops"),
    [([(0, 1)] * 2, 1), ([(0, 1)] * 3, 2), (RING, 1), ([*RING, (2, 3), (3, 1)], 2)],
    ids=["two", "three", "ring", "two rings"],
)
def test_switches_in_a_loop_do_not_melt(cables: list[tuple[int, int]], loops: int, seed: int) -> None:
    house = Cabled(seed)
    count = 1 + max(max(ends) for ends in cables)
    house.switches(count)
    for ends in cables:
        house.cable(*ends)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(0.08)
            house.broadcast()  # It circulates until the loop is cut, and two loops double it each time.
            # Where two switches have cut at once, one cut too many heals first.
            await asyncio.sleep(60)
            settled = house.cut()
            assert len(settled) == loops
            await asyncio.sleep(60)
            assert house.cut() == settled
            for sender in range(count):
                assert await house.heard(sender) == [5 * (other != sender) for other in range(count)]
                assert await house.answers(sender, (sender + 1) % count) == (3, 0)

    run_jumping(main)


def test_a_loop_is_cut_at_once_and_stays_so_while_everybody_is_busy() -> None:
    house = Cabled()
    house.switches(2, "loop-probe 0.05")
    one, two = house.cable(0, 1), house.cable(0, 1)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(0.2)
            assert house.cut() == ["c1"]
            one.latency = two.latency = 1.5  # as if each took so long to read what has arrived
            for _ in range(200):
                await asyncio.sleep(0.1)
                assert house.cut() == ["c1"]

    run_jumping(main)


def test_two_cables_of_a_ring_that_are_cut_do_not_keep_each_other_so() -> None:
    house = Cabled()
    house.switches(3, order=[0, 1, 2])
    for ends in RING:
        house.cable(*ends)

    async def main() -> None:
        async with house.open():
            await until(lambda: house.cut() == ["c2"])
            second = house.all[1]
            second._loops._finder.came_back(Probe(second._loops._finder.node, 1, 1), 2, 0.0)
            second._loops._cut_one(2, 1)
            assert house.cut() == ["c1", "c2"]
            await until(lambda: len(house.cut()) == 1, seconds=6 * HELD * INTERVAL)

    run_jumping(main)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_loop_that_is_gone_is_healed_and_both_ends_are_said(
    noticed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    house = Cabled()
    house.switches(2)
    first, _second = house.cable(0, 1), house.cable(0, 1)

    async def main() -> None:
        async with house.open():
            await until(house.cut)
            assert house.cut() == ["c1"], "the newest"
            assert any("is cut until the" in switch.details().summary for switch in house.all)
            # The other cable is pulled, and this one has to carry what that did.
            first.pull(noticed=noticed)
            await until(lambda: house.cut() == [], seconds=4 * HELD * INTERVAL + 2)
            await asyncio.sleep(0.2)  # until the other switch has heard that it is to forget
            assert await house.answers(0, 1) == (3, 0)

    with caplog.at_level("INFO", "tmelink"):
        run_jumping(main)
    (said,) = [message for message in caplog.messages if "is cut until the" in message]
    assert "the connections form a loop between port 1 (c0" in said
    assert "and port 2 (c1" in said
    assert any("is connected again: the loop is gone" in message for message in caplog.messages)


def switches(cables: Sequence[tuple[str, str]], words: str = "loop-probe 0.05") -> str:
    """Switches with a host each, and cables of UDP between them, as between two processes."""
    names = dict.fromkeys(name for cable in cables for name in cable)
    text = "".join(
        f"{name}: tmelink/switch {words}\nle{number} at {name}: tmelink/host inet 10.0.77.{number + 1}/24\n"
        for number, name in enumerate(names)
    )
    for number, ends in enumerate(cables):
        ports = free_port(), free_port()
        for side, name in enumerate(ends):
            here, there = ports[side], ports[1 - side]
            text += (
                f"u{number}{side} at {name}: tmelink/udp local 127.0.0.1:{here} remote 127.0.0.1:{there}\n"
            )
    return text


def probes(lab: Lab) -> int:
    """How many times all switches have sent probes."""
    return sum(each._loops._finder.number for each in lab.values() if isinstance(each, Switch))


def test_a_loop_over_udp_takes_little_of_a_core(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with Lab(load(switches([("sw0", "sw1")] * 2))) as lab:
            host = lab["le0"]
            assert isinstance(host, Host)
            both = [each for each in lab.values() if isinstance(each, Switch)]

            def broadcast() -> None:
                for number in range(10):
                    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x09\x88\xb5" + number.to_bytes(50, "big")
                    host.ports[0].send(Burst([frame]))

            def sent() -> int:
                return sum(port.sent.frames for each in both for port in each.ports)

            broadcast()  # It circulates until the loop is cut.
            await eventually(lambda: sum(len(each._cut) for each in both) == 1)
            await asyncio.sleep(0.2)
            before, cpu, begun = sent(), time.process_time(), time.monotonic()
            broadcast()
            await asyncio.sleep(0.5)
            share = (time.process_time() - cpu) / (time.monotonic() - begun)
            with capsys.disabled():
                print(f"\ntwo cables: {share:.1%} of a core, {sent() - before} frames in 0.5 s")
            # Ten broadcasts cross each connection once; the rest are probes.
            assert sent() - before < 10 * 3 * 2 + 40 * 3 * 2
            assert "1 received" in await host.command(["ping", "10.0.77.2", "count", "1"])

    asyncio.run(main())


def test_switches_with_one_connection_that_leads_further_send_no_probes() -> None:
    house = Cabled()
    house.switches(2)
    house.cable(0, 1)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(10)
            before = house.carried()  # The hosts have said that they are there.
            await asyncio.sleep(60)
            assert house.carried() == before

    run_jumping(main)


def test_probes_can_be_turned_off() -> None:
    house = Cabled()
    house.switches(3, "loop-probe 0")
    house.cable(0, 1)
    house.cable(1, 2)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(10)
            before = house.carried()  # The hosts have said that they are there.
            await asyncio.sleep(60)
            assert house.carried() == before

    run_jumping(main)
