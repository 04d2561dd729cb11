"""Impairments on running connections: in the file and live, by direction, filtered, and gone afterwards."""

from __future__ import annotations

import asyncio

import pytest

from tests.inline.joined_machines import TWO, frames, pair
from tmelink import load
from tmelink.difference import between
from tmelink.errors import ElementError, MachineError
from tmelink.frame import Burst, Gso
from tmelink.inline import chain
from tmelink.inline.impairment import impair, stage_of
from tmelink.inline.netem_words import Impairment, request


def test_a_delayed_frame_arrives_later_unchanged_and_in_order() -> None:
    async def body() -> None:
        a, b = pair()
        impair(a.ports[0], request(["delay", "20ms", "direction", "out"]))
        buffer = bytearray(b"".join(frames(3)))
        size = len(frames(1)[0])
        begun = asyncio.get_running_loop().time()
        a.ports[0].send(Burst([memoryview(buffer)[i * size : (i + 1) * size] for i in range(3)]))
        buffer[:] = bytes(len(buffer))  # The sender fills its buffer anew as soon as `send` returns.
        assert b.got == []
        await b.until(lambda: len(b.got) == 3)
        assert asyncio.get_running_loop().time() - begun >= 0.0199
        assert b.frames == frames(3)
        b.send(b"x" * 60)
        assert len(a.got) == 1, "the other direction is not impaired"

    asyncio.run(body())


def test_nothing_named_stays_and_clear_takes_the_stage_out() -> None:
    async def body() -> None:
        a, b = pair()
        port = a.ports[0]
        impair(port, request(["delay", "1s", "loss", "50%", "direction", "out"]))
        holds = impair(port, request(["loss", "10%"]))
        assert str(holds["out"]) == "delay 1s loss 10%"
        assert str(holds["in"]) == "loss 10%"
        impair(port, request(["loss", "0%", "direction", "out"]))
        a.send(*frames(4))
        assert b.got == []
        assert impair(port, request(["clear"])) == {"out": Impairment(), "in": Impairment()}
        assert port.inline is None
        assert b.ports[0].inline is None
        assert port.sent.drops == {"impairment: cleared": 4}
        a.send(*frames(2))
        assert len(b.got) == 2

    asyncio.run(body())


def test_a_filter_chooses_what_is_impaired() -> None:
    async def body() -> None:
        a, b = pair()
        impair(a.ports[0], request(["match", "ether proto 0x88b5", "loss", "100%"]))
        a.send(frames(1)[0], b"\xff" * 12 + b"\x08\x06" + bytes(46), frames(1)[0])
        assert len(b.got) == 1
        assert a.ports[0].sent.drops == {"impairment: loss": 2}

    asyncio.run(body())


def test_super_frames_stay_whole_under_a_delay_and_are_cut_where_single_frames_count() -> None:
    async def body() -> None:
        packet = bytes.fromhex("45000bcc00010000400600000a0000010a000002")
        tcp = bytes.fromhex("0400040000000001000000015010ffff00000000") + bytes(3000 - 20)
        frame = b"\x02" * 12 + b"\x08\x00" + packet + tcp
        gso = Gso(1, 1000, 54, 34, 16)
        a, b = pair()
        impair(a.ports[0], request(["delay", "1ms"]))
        a.ports[0].send(Burst([frame], [gso]))
        await b.until(lambda: len(b.got) == 1)
        assert b.got[0][1] == gso
        impair(a.ports[0], request(["clear", "rate", "1gbit"]))
        a.ports[0].send(Burst([frame], [gso]))
        await b.until(lambda: len(b.got) == 4)

    asyncio.run(body())


def test_an_impairment_of_the_file_holds_as_soon_as_the_lab_runs_and_ends_with_it() -> None:
    async def body() -> None:
        machine = load(TWO + "impair host0 at host1 loss 100% direction out\n")
        async with machine.run() as lab:
            (a, b) = machine.connections[0]
            port = a if a.element is lab["host0"] else b
            assert [str(stage.impairment) for stage in chain.stages(port)] == ["loss 100%"]  # type: ignore[attr-defined]
            result = await lab["host0"].command(["ping", "10.0.0.2", "count", "1", "timeout", "0.05"])
            assert "100% packet loss" in result or "0 received" in result
            lab.impair("host0", "host1", ["clear"])
            result = await lab["host0"].command(["ping", "10.0.0.2", "count", "1"])
            assert "1 received" in result
            with pytest.raises(ElementError, match="'los' is not a word of impair"):
                lab.impair("host0", "host1", ["los", "1%"])
            lab.impair("host0", "host1", ["delay", "1s"])
        assert a.inline is None
        assert b.inline is None

    asyncio.run(body())


def test_apply_changes_the_impairments_that_the_file_changes_and_leaves_the_others() -> None:
    async def body() -> None:
        three = TWO + "host2: tmelink/host inet 10.0.1.1/24\nhost3 at host2: tmelink/host inet 10.0.1.2/24\n"
        slow = "impair host0 at host1 delay 1s\n"
        async with load(three + slow).run() as lab:
            lab.impair("host2", "host3", ["loss", "5%"])

            async def apply(text: str) -> None:
                assert await lab.reconcile(between(lab.machine, load(text))) == {}

            def holds(path: str, other: str) -> str:
                (port,) = lab.ports_between(path, other)
                stage = stage_of(port)
                return "" if stage is None else str(stage.impairment)

            await apply(three + slow)
            assert (holds("host0", "host1"), holds("host2", "host3")) == ("delay 1s", "loss 5%")
            await apply(three + "impair host0 at host1 rate 1mbit direction out\n")
            assert (holds("host0", "host1"), holds("host1", "host0")) == ("rate 1mbit", "")
            assert holds("host2", "host3") == "loss 5%"
            await apply(three)
            assert holds("host0", "host1") == ""

    asyncio.run(body())


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        ("impair host0 at host1 loss", "4:23", "'loss' needs a share"),
        ("impair host0 at host1 dely 5ms", "4:23", "'dely' is not a word of impair"),
        ("impair host0 at host2 delay 5ms", "4:17", "unknown element host2"),
        ("impair host0 at host0 delay 5ms", "4:8", "not connected"),
        ('impair host0 at host1 match "udp prt 5" loss 1%', "4:23", "not a valid filter expression"),
    ],
)
def test_mistakes_are_told_at_their_words(line: str, place: str, message: str) -> None:
    with pytest.raises(MachineError, match=message) as caught:
        load(TWO + line + "\n")
    (mistake,) = caught.value.mistakes
    assert f"{mistake.place.line}:{mistake.place.column}" == place
