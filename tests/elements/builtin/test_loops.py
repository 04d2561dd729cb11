"""Loops of connections: found by probes, cut at the newest connection, healed when they are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.support.aio import eventually
from tests.support.sockets import free_port
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.loop_probe import (
    GROUP,
    HELD,
    INTERVAL,
    MOST_HOPS,
    LoopFinder,
    Probe,
    build_probe,
    handed_on,
    parse_probe,
)
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst
from tmelink.machine import load
from tmelink.runtime import Lab

LOW, HIGH = b"\0" * 8, b"\xff" * 8


def test_a_probe_is_a_small_multicast_frame_that_reads_as_it_was_written_tagged_or_not() -> None:
    probe = Probe(bytes(range(8)), 300, 0xFFFFFFFF, True, (LOW, HIGH))
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


def test_of_two_connections_in_a_loop_the_newest_is_cut_until_no_probe_comes_back() -> None:
    finder = LoopFinder(LOW, INTERVAL)
    for port, now in ((0, 1.0), (1, 3.0), (2, 2.0)):
        finder.came_up(port, now)
    ((_, frame), *_) = finder.probes([2])
    probe = parse_probe(frame)
    assert probe is not None
    assert finder.came_back(probe, 1) == (1, 2)
    assert finder.came_back(Probe(LOW, 1, 5), 2) is None, "it is known"
    for _ in range(HELD):
        assert finder.healed(12.0) == []
        finder.probes([0, 1, 2])
    for _ in range(HELD + 1):
        finder.probes([0, 1, 2])
    assert finder.healed(14.0) == [1]
    assert finder.cut == {}
    assert finder.came_back(Probe(LOW, 0, 6), 1) == (1, 0), "and found again"


def test_a_connection_of_a_mesh_is_kept_though_it_is_the_newest() -> None:
    finder = LoopFinder(LOW, INTERVAL)
    for port, now in ((0, 1.0), (1, 3.0), (2, 4.0)):
        finder.came_up(port, now, kept=port > 0)
    assert finder.came_back(Probe(LOW, 0, 1), 1) == (0, 1)
    assert finder.came_back(Probe(LOW, 1, 1), 2) == (2, 1), "of two of a mesh the newest is cut"


def test_the_lowest_number_of_a_loop_cuts_and_the_others_leave_it_to_it() -> None:
    high, low = LoopFinder(HIGH, INTERVAL), LoopFinder(LOW, INTERVAL)
    (*_, (_, frame)) = high.probes([0, 1])
    probe = parse_probe(frame)
    assert probe is not None
    assert low.is_new(probe)
    assert not low.is_new(probe), "each is handed on once"
    onward = parse_probe(handed_on(frame, probe, LOW))
    assert onward == Probe(HIGH, 1, 1, False, (LOW,))
    assert high.came_back(onward, 0) is None
    assert low.came_back(Probe(LOW, 1, 1, False, (HIGH,)), 0) == (1, 0)
    assert not low.is_new(Probe(HIGH, 1, 2, False, (HIGH,) * MOST_HOPS)), "an end to what may be handed on"


def test_a_probe_that_comes_back_where_it_was_sent_cuts_nothing() -> None:
    finder = LoopFinder(LOW, INTERVAL)
    assert finder.came_back(Probe(LOW, 3, 1), 3) is None
    assert finder.reflected == {3}
    assert finder.cut == {}


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


def cut(lab: Lab) -> list[str]:
    """The elements behind the connections that are cut."""
    found = [element for element in lab.values() if isinstance(element, Switch)]
    return [port.peer.element.name for each in found for port in each._cut if port.peer is not None]


def cut_cables(lab: Lab) -> set[str]:
    """The cables that are cut, at either end or both."""
    return {name[:-1] for name in cut(lab)}


def probes(lab: Lab) -> int:
    """How many times all switches have sent probes."""
    return sum(each._loops._finder.number for each in lab.values() if isinstance(each, Switch))


def circulating(lab: Lab) -> int:
    """Frames that all switches have sent so far."""
    return sum(port.sent.frames for each in lab.values() if isinstance(each, Switch) for port in each.ports)


async def broadcast(lab: Lab, count: int) -> None:
    host = lab["le0"]
    for number in range(count):
        host.ports[0].send(Burst([b"\xff" * 6 + b"\x02\0\0\0\0\x09\x88\xb5" + number.to_bytes(50, "big")]))
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("cables", "loops"),
    [
        ([("sw0", "sw1")] * 2, 1),
        ([("sw0", "sw1")] * 3, 2),
        ([("sw0", "sw1"), ("sw1", "sw2"), ("sw2", "sw0")], 1),
        ([("sw0", "sw1"), ("sw1", "sw2"), ("sw2", "sw0"), ("sw2", "sw3"), ("sw3", "sw1")], 2),
    ],
    ids=["two", "three", "ring", "two rings"],
)
def test_switches_in_a_loop_do_not_melt(
    cables: list[tuple[str, str]], loops: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with Lab(load(switches(cables))) as lab:
            await broadcast(lab, 10)  # It circulates until the loop is cut.
            # Where two switches have cut at once, one cut too many heals first.
            settled, rounds = set[str](), probes(lab)
            while len(settled) != loops or probes(lab) < rounds + 120:
                await asyncio.sleep(0.01)
                if cut_cables(lab) != settled:
                    settled, rounds = cut_cables(lab), probes(lab)
            before, cpu, begun = circulating(lab), time.process_time(), time.monotonic()
            await broadcast(lab, 10)
            await asyncio.sleep(0.5)
            share = (time.process_time() - cpu) / (time.monotonic() - begun)
            with capsys.disabled():
                frames = circulating(lab) - before
                print(f"\n{len(cables)} cables: {share:.1%} of a core, {frames} frames in 0.5 s")
            # Ten broadcasts cross each connection once; the rest are probes.
            assert circulating(lab) - before < 10 * 3 * len(cables) + 40 * 3 * len(cables)
            host = lab["le0"]
            assert isinstance(host, Host)
            for number in range(1, len(dict.fromkeys(name for cable in cables for name in cable))):
                assert "1 received" in await host.command(["ping", f"10.0.77.{number + 1}", "count", "1"])

    asyncio.run(main())


def test_a_loop_that_is_gone_is_healed_and_both_ends_are_said(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Lab(load(switches([("sw0", "sw1")] * 2))) as lab:
            await eventually(lambda: len(cut(lab)) == 1)
            name = cut(lab)[0]
            switch = next(port.peer.element for port in lab[name].ports if port.peer is not None)
            assert isinstance(switch, Switch)
            assert "is cut while that" in switch.details().summary
            assert name.startswith("u1"), "the newest"
            # The other cable is pulled, and this one has to carry what that did.
            lab.disconnect("u00", "sw0")
            await eventually(lambda: cut(lab) == [])
            host = lab["le0"]
            assert isinstance(host, Host)
            said = ""
            while "1 received" not in said:  # until sw1 has heard that it is to forget where le1 was heard
                said = await host.command(["ping", "10.0.77.2", "count", "1", "timeout", "0.5"])

    with caplog.at_level("INFO", "tmelink"):
        asyncio.run(main())
    (said,) = [message for message in caplog.messages if "is cut while that" in message]
    assert "the connections form a loop between port 1 (u0" in said
    assert "and port 2 (u1" in said
    assert any("is whole again: the loop is gone" in message for message in caplog.messages)


def test_switches_with_one_connection_that_leads_further_send_no_probes() -> None:
    async def main() -> None:
        async with Lab(load(switches([("sw0", "sw1")]))) as lab:
            await asyncio.sleep(0.3)
            assert probes(lab) == 0

    asyncio.run(main())


def test_probes_can_be_turned_off() -> None:
    async def main() -> None:
        text = switches([("sw0", "sw1"), ("sw1", "sw2")], "loop-probe 0")
        async with Lab(load(text)) as lab:
            await asyncio.sleep(0.3)
            assert probes(lab) == 0

    asyncio.run(main())
