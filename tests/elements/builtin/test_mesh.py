"""Houses with a link between each two and no hub: frames arrive once, also with a cable beside the mesh."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

import pytest

from tests.support.aio import eventually, run_jumping
from tests.support.cabled import Cable, Cabled, until
from tests.support.sockets import free_port
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.loop_finder import HELD, INTERVAL
from tmelink.elements.builtin.switch import Switch
from tmelink.machine import load
from tmelink.proof.problems import problems
from tmelink.runtime import Lab

HOUSES = 10

OVER = 2 * HELD * INTERVAL * 2.5
"""Seconds until whatever was cut for a loop that is gone is whole again."""


async def all_reached_once(house: Cabled, but: Sequence[int] = ()) -> None:
    """Every host hears every other one's broadcasts once, and answers its pings once."""
    alive = [number for number in range(len(house.hosts)) if number not in but]
    for sender in alive:
        heard = await house.heard(sender)
        assert [heard[other] for other in alive] == [5 * (other != sender) for other in alive], sender
        for other in alive:
            if other != sender:
                assert await house.answers(sender, other, 1) == (1, 0), (sender, other)


def test_a_mesh_of_ten_is_no_loop() -> None:
    house = Cabled()
    house.switches(HOUSES)
    house.mesh(range(HOUSES))

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(30)
            await all_reached_once(house)
            assert house.cut() == []
            # Only probes go on: one for each end of each cable and each round.
            before = house.carried()
            await asyncio.sleep(10 * INTERVAL)
            assert house.carried() - before <= 14 * HOUSES * (HOUSES - 1)

    run_jumping(main)


def beside(seed: int, houses: int = 5) -> tuple[Cabled, dict[tuple[int, int], Cable], Cable]:
    """A mesh, and a second cable between the first two."""
    house = Cabled(seed)
    house.switches(houses)
    mesh = house.mesh(range(houses))
    return house, mesh, house.cable(0, 1)


class Watched:
    """Which cables have been cut at any time."""

    def __init__(self, house: Cabled) -> None:
        self.cut: set[str] = set()
        for switch in house.all:
            cut_one = switch._loops._cut_one

            def watched(newest: int, other: int, switch: Switch = switch, cut=cut_one) -> None:  # type: ignore[no-untyped-def]
                peer = switch.ports[newest].peer
                assert peer is not None
                self.cut.add(peer.element.name[:-1])
                cut(newest, other)

            switch._loops._cut_one = watched  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", range(4))
def test_of_a_mesh_and_a_cable_beside_it_only_the_cable_is_ever_cut(seed: int) -> None:
    house, _mesh, second = beside(seed)
    watched = Watched(house)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(1)
            assert house.cut() == [second.name]
            await asyncio.sleep(OVER)
            assert house.cut() == [second.name]
            assert watched.cut == {second.name}
            await all_reached_once(house)

    run_jumping(main)


@pytest.mark.parametrize("seed", range(4))
def test_a_house_that_is_gone_and_comes_back_is_missed_by_nobody_else(seed: int) -> None:
    house, mesh, second = beside(seed)
    watched = Watched(house)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(5)
            for ends, cable in mesh.items():
                if 3 in ends:
                    cable.pull(noticed=False)
            await all_reached_once(house, but=[3])
            await asyncio.sleep(OVER)
            await all_reached_once(house, but=[3])
            for ends, cable in mesh.items():
                if 3 in ends:
                    cable.plug()
            await asyncio.sleep(1)
            await all_reached_once(house)
            await asyncio.sleep(OVER)
            assert house.cut() == [second.name]
            assert watched.cut == {second.name}

    run_jumping(main)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noticed", [True, False])
def test_a_cable_beside_a_mesh_stays_cut_though_the_two_have_no_other(seed: int, noticed: bool) -> None:
    """Otherwise all others would hear each other by it too, though no probe of these two goes round."""
    house, mesh, second = beside(seed)
    watched = Watched(house)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(5)
            mesh[0, 1].pull(noticed=noticed)
            await asyncio.sleep(OVER)
            assert house.cut() == [second.name]
            for sender in range(2, 5):
                assert await house.heard(sender) == [5 * (other != sender) for other in range(5)]
            # The third parties are gone: nothing speaks against the cable any more.
            for ends, cable in mesh.items():
                if ends != (0, 1):
                    cable.pull(noticed=noticed)
            await until(lambda: house.cut() == [], seconds=OVER)
            await asyncio.sleep(0.2)
            assert await house.answers(0, 1) == (3, 0)
            assert watched.cut == {second.name}

    run_jumping(main)


@pytest.mark.parametrize("seed", range(4))
def test_two_cables_of_one_mesh_between_two_houses_are_one_too_many(seed: int) -> None:
    house = Cabled(seed)
    house.switches(3)
    house.mesh(range(3))
    spare = house.cable(0, 1, "mesh houses")

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(OVER)
            assert house.cut() == [spare.name]
            await all_reached_once(house)

    run_jumping(main)


@pytest.mark.parametrize("seed", range(4))
def test_a_switch_with_a_cable_to_two_houses_of_a_mesh_stays_joined(seed: int) -> None:
    house = Cabled(seed)
    house.switches(5)
    mesh = house.mesh(range(4))
    names = {house.cable(4, 0).name, house.cable(4, 1).name}
    watched = Watched(house)

    async def main() -> None:
        async with house.open():
            await asyncio.sleep(OVER)
            assert len(house.cut()) == 1
            assert watched.cut <= names
            await all_reached_once(house)
            mesh[0, 1].pull(noticed=False)
            await asyncio.sleep(OVER)
            assert len(house.cut()) == 1
            assert watched.cut <= names
            for sender in (2, 3):
                assert await house.heard(sender) == [5 * (other != sender) for other in range(5)]

    run_jumping(main)


def mesh(houses: int) -> str:
    """A file: each house has a switch, a host, and a link to each other house."""
    ports = {(here, there): free_port() for here in range(houses) for there in range(houses) if here != there}
    lines: list[str] = []
    for here in range(houses):
        lines += [
            f"host house{here} address 127.0.1.{here + 1} {{",
            f"    sw{here}: tmelink/switch loop-probe 0.2",
            f"    le{here} at sw{here}: tmelink/host inet 10.0.77.{here + 1}/24",
        ]
        for there in range(houses):
            if there != here:
                ends = f"--local 127.0.1.{here + 1} --lport {ports[here, there]}"
                ends += f" --remote 127.0.1.{there + 1} {ports[there, here]}"
                link = f"tme/host/openvpn/socket/link --dev tap {ends}"
                lines.append(f"    l{here}-{there} at sw{here} mesh houses: {link}")
        lines.append("}")
    return "\n".join(lines) + "\n"


def rounds(switch: Switch, count: int) -> bool:
    """Whether a switch has sent so many rounds of probes."""
    return switch._loops._finder.number >= count


def test_houses_reach_each_other_over_links_from_one_file() -> None:
    houses = 4
    text = mesh(houses)
    assert problems(load(text)) == []

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            machines = [load(text, host=f"house{number}") for number in range(houses)]
            labs = [await stack.enter_async_context(Lab(machine)) for machine in machines]
            for number, lab in enumerate(labs):
                host = lab[f"le{number}"]
                assert isinstance(host, Host)
                for other in range(1, houses):
                    there = (number + other) % houses + 1
                    said = await host.command(["ping", f"10.0.77.{there}", "count", "1"])
                    assert "1 received" in said, (number, there)
            for number, lab in enumerate(labs):
                switch = lab[f"sw{number}"]
                assert isinstance(switch, Switch)
                await eventually(partial(rounds, switch, 3))
                assert not switch._cut, "a mesh is no loop"
                assert switch.details().trouble == ""

    asyncio.run(main())
