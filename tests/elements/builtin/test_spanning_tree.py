"""The rapid spanning tree: what bridges in one memory agree on, and what they say on the wire."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable

import pytest
from scapy.layers.l2 import STP, Dot3

from tests.support.aio import eventually
from tests.support.fuzzing import scaled
from tests.support.machines import frame
from tests.support.sockets import free_port
from tmelink.elements.builtin import bpdu, tree_guard
from tmelink.elements.builtin.bpdu import Bpdu, ChangeNotice, Times, Vector
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.spanning_tree import MIGRATE, SpanningTree
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst
from tmelink.machine import load
from tmelink.runtime import Lab

DELAY = 15
End = tuple[int, int]
"""A bridge's number, and its port's."""


class Bridges:
    """Bridges with cables between their ports, whose messages arrive at once and in order."""

    def __init__(self, count: int, cables: list[tuple[int, int]]) -> None:
        self.flushed: list[End] = []
        self.trees = [
            SpanningTree(0x8000 << 48 | number + 1, DELAY, self._flushes(number)) for number in range(count)
        ]
        self.other: dict[End, End] = {}
        self.loops = 0
        self._last: list[tuple[End, End]] = []
        self._ports: dict[int, int] = defaultdict(int)
        for one, two in cables:
            self.join(one, two)

    def _flushes(self, number: int) -> Callable[[int], None]:
        return lambda port: self.flushed.append((number, port))

    def join(self, one: int, two: int) -> tuple[End, End]:
        ends = []
        for bridge in (one, two):
            self._ports[bridge] += 1
            ends.append((bridge, self._ports[bridge]))
        self.other[ends[0]], self.other[ends[1]] = ends[1], ends[0]
        for bridge, port in ends:
            self.trees[bridge].add(port, edge=False)
        self.deliver()
        return ends[0], ends[1]

    def part(self, end: End) -> None:
        other = self.other.pop(end)
        del self.other[other]
        for bridge, port in (end, other):
            self.trees[bridge].remove(port)
        self.deliver()

    def deliver(self) -> None:
        for _ in range(1000):
            sent = [(number, each) for number, tree in enumerate(self.trees) for each in tree.sent]
            if not sent:
                return
            for tree in self.trees:
                tree.sent = []
            for number, (port, message) in sent:
                if (number, port) in self.other:
                    bridge, far = self.other[number, port]
                    # As it is on the wire.
                    received = bpdu.parse(bpdu.build(message, bytes(6)))
                    assert received == message
                    self.trees[bridge].heard(far, received)
                self._watch()
        raise AssertionError("they never fall silent")

    def tick(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            for tree in self.trees:
                tree.tick()
                self._watch()
            self.deliver()

    def _watch(self) -> None:
        """Count the moments with a loop."""
        forwarding = self.forwarding()
        if forwarding != self._last:
            self._last = forwarding
            self.loops += has_loop(forwarding)

    def forwarding(self) -> list[tuple[End, End]]:
        """The cables by which frames pass."""
        return [
            (one, two)
            for one, two in self.other.items()
            if one < two and all(self.trees[bridge].forwards(port) for bridge, port in (one, two))
        ]

    def groups(self, cables: list[tuple[End, End]]) -> int:
        """How many parts the bridges are in that frames do not pass between."""
        return len({find(parents(len(self.trees), cables), number) for number in range(len(self.trees))})


def find(above: list[int], number: int) -> int:
    while above[number] != number:
        number = above[number]
    return number


def parents(count: int, cables: list[tuple[End, End]]) -> list[int]:
    above = list(range(count))
    for (one, _), (two, _) in cables:
        above[find(above, one)] = find(above, two)
    return above


def has_loop(cables: list[tuple[End, End]]) -> bool:
    above = list(range(64))
    for (one, _), (two, _) in cables:
        first, second = find(above, one), find(above, two)
        if first == second:
            return True
        above[first] = second
    return False


def test_of_two_cables_one_forwards_within_seconds_and_the_other_when_that_is_gone() -> None:
    bridges = Bridges(2, [(0, 1), (0, 1)])
    bridges.tick(2)
    ((one, _two),) = bridges.forwarding()
    assert one == (0, 1), "the lower port of the root"
    assert bridges.trees[1].ports[2].role == "alternate"
    bridges.part(one)
    ((one, _two),) = bridges.forwarding()
    assert one == (0, 2), "at once"
    assert (1, 1) in bridges.flushed, "and stations are forgotten"
    assert bridges.loops == 0


def test_a_port_that_hears_no_bridge_forwards_after_three_seconds_and_an_edge_at_once() -> None:
    tree = SpanningTree(1, DELAY, lambda port: None)
    tree.add(1, edge=False)
    tree.add(2, edge=True)
    assert (tree.forwards(1), tree.forwards(2)) == (False, True)
    for _ in range(MIGRATE):
        tree.tick()
    assert tree.forwards(1)


def test_a_cable_back_to_the_same_bridge_is_blocked_at_one_end() -> None:
    bridges = Bridges(1, [(0, 0)])
    bridges.tick(3 * DELAY)
    assert bridges.forwarding() == []
    assert {port.role for port in bridges.trees[0].ports.values()} == {"designated", "backup"}


@pytest.mark.fuzz
def test_random_networks_become_trees_and_stay_them_while_cables_come_and_go() -> None:
    chance = random.Random(23)
    loops = 0
    for _ in range(scaled(20)):
        count = chance.randrange(2, 9)
        cables = [(chance.randrange(number), number) for number in range(1, count)]
        cables += [(chance.randrange(count), chance.randrange(count)) for _ in range(chance.randrange(8))]
        bridges = Bridges(count, cables)
        for _ in range(4):
            bridges.tick(2 * DELAY + 20)
            forwarding = bridges.forwarding()
            assert not has_loop(forwarding)
            every = [(one, two) for one, two in bridges.other.items()]
            assert bridges.groups(forwarding) == bridges.groups(every)
            root = min(tree.root.root for tree in bridges.trees)
            if bridges.groups(every) == 1:
                assert {tree.root.root for tree in bridges.trees} == {root}
            if chance.random() < 0.5 and bridges.other:
                bridges.part(chance.choice(sorted(bridges.other)))
            else:
                bridges.join(chance.randrange(count), chance.randrange(count))
        loops += bridges.loops
    assert loops == 0, "no loop at any moment"


def test_a_neighbour_of_the_older_protocol_is_answered_in_it_and_waited_for() -> None:
    tree = SpanningTree(0x8000 << 48 | 1, 4, lambda port: None)
    tree.add(1, edge=False)
    older = Bpdu(False, 0, Vector(0x8000 << 48 | 2, 0, 0x8000 << 48 | 2, 0x8001), Times(0, 6, 1, 4))
    seconds = 0
    while not tree.forwards(1):
        tree.heard(1, older)
        tree.tick()
        seconds += 1
    assert 8 <= seconds < 12, "twice the forward delay"
    said = [message for _, message in tree.sent if isinstance(message, Bpdu)]
    assert [message.rapid for message in said] == sorted((message.rapid for message in said), reverse=True)
    assert not said[-1].rapid
    tree.sent.clear()
    tree.heard(1, ChangeNotice())
    for _ in range(3):
        tree.tick()
    said = [message for _, message in tree.sent if isinstance(message, Bpdu)]
    assert any(message.flags & bpdu.CHANGE_ACKNOWLEDGED for message in said)
    rapid = older._replace(rapid=True, flags=bpdu.role_flags("designated"))
    for _ in range(MIGRATE + 1):
        tree.heard(1, rapid)
        tree.tick()
    assert tree.ports[1].rapid, "and back"


def test_messages_are_what_another_program_reads() -> None:
    message = Bpdu(
        True,
        bpdu.role_flags("designated") | bpdu.PROPOSAL | bpdu.TOPOLOGY_CHANGE,
        Vector(0x1000_02000000_0001, 20000, 0x8000_02000000_0002, 0x8003),
        Times(1, 20, 2, 15),
    )
    whole = bpdu.build(message, b"\x02\0\0\0\0\x09")
    assert len(whole) == 60
    read = Dot3(whole)
    assert (read.dst, read.src, read.len) == ("01:80:c2:00:00:00", "02:00:00:00:00:09", 39)
    stp = read[STP]
    assert (stp.proto, stp.version, stp.bpdutype, stp.bpduflags) == (0, 2, 2, 0b1111)
    assert (stp.rootid, stp.rootmac, stp.pathcost) == (0x1000, "02:00:00:00:00:01", 20000)
    assert (stp.bridgeid, stp.bridgemac, stp.portid) == (0x8000, "02:00:00:00:00:02", 0x8003)
    assert (stp.age, stp.maxage, stp.hellotime, stp.fwddelay) == (1, 20, 2, 15)
    older = bytes(
        Dot3(dst="01:80:c2:00:00:00", src="02:00:00:00:00:09")
        / bpdu._LLC
        / STP(rootid=4096, rootmac="02:00:00:00:00:01", bridgeid=32768, bridgemac="02:00:00:00:00:02", age=3)
    )
    found = bpdu.parse(older)
    assert isinstance(found, Bpdu)
    assert (found.rapid, found.role, found.times) == (False, "designated", Times(3, 20, 2, 15))
    assert found.vector.root == 0x1000_02000000_0001


@pytest.mark.fuzz
def test_mutated_messages_are_heard_or_passed_over() -> None:
    chance = random.Random(5)
    tree = SpanningTree(0x8000 << 48 | 5, DELAY, lambda port: None)
    tree.add(1, edge=False)
    tree.add(2, edge=False)
    good = bpdu.build(Bpdu(True, 0x3C, Vector(1, 2, 3, 4), Times(0, 20, 2, 15)), bytes(6))
    heard = 0
    for _ in range(scaled(5_000)):
        data = bytearray(good)
        for _ in range(chance.randrange(5)):
            data[chance.randrange(14, 60)] = chance.randrange(256)
        del data[chance.choice((60, 60, chance.randrange(61))) :]
        message = bpdu.parse(data)
        if message is not None:
            heard += 1
            tree.heard(chance.choice((1, 2)), message)
        if chance.random() < 0.2:
            tree.tick()
        tree.sent.clear()
        assert all(each.role != "disabled" for each in tree.ports.values())
    assert heard > 0


def two_switches(words: str) -> str:
    text = "".join(
        f"sw{number}: tmelink/switch {words}\n"
        f"le{number} at sw{number}: tmelink/host inet 10.0.77.{number + 1}/24\n"
        for number in (0, 1)
    )
    for cable in (0, 1):
        ports = free_port(), free_port()
        for side in (0, 1):
            here, there = ports[side], ports[1 - side]
            text += (
                f"u{cable}{side} at sw{side}: tmelink/udp local 127.0.0.1:{here} remote 127.0.0.1:{there}\n"
            )
    return text


def test_two_switches_with_two_cables_agree_and_frames_pass_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_guard, "SECOND", 0.1)

    async def main() -> None:
        async with Lab(load(two_switches("rstp"))) as lab:
            host = lab["le0"]
            assert isinstance(host, Host)
            said = ""
            while "1 received" not in said:
                said = await host.command(["ping", "10.0.77.2", "count", "1", "timeout", "0.5"])
            switches = [lab["sw0"], lab["sw1"]]
            trees = [await each.command(["tree"]) for each in switches]
            assert sum("which is this switch" in text for text in trees) == 1
            assert "alternate discarding" in "".join(trees)
            before = sum(port.sent.frames for each in switches for port in each.ports)
            for number in range(10):
                host.ports[0].send(Burst([frame(number)]))
            await asyncio.sleep(0.2)
            after = sum(port.sent.frames for each in switches for port in each.ports)
            assert after - before < 10 * 4 + 10
            # The cable that carries the frames is pulled.
            (used,) = [
                number for number in (0, 1) if not any(_blocked(lab, f"u{number}{side}") for side in (0, 1))
            ]
            lab.disconnect(f"u{used}0", "sw0")
            await eventually(lambda: not any(_blocked(lab, name) for name in ("u00", "u01", "u10", "u11")))
            assert "1 received" in await host.command(["ping", "10.0.77.2", "count", "1", "timeout", "5"])

    asyncio.run(main())


def _blocked(lab: Lab, name: str) -> bool:
    peers = [port.peer for port in lab[name].ports if port.peer is not None]
    found = [(peer, peer.element) for peer in peers]
    return any(isinstance(switch, Switch) and peer in switch._cut for peer, switch in found)
