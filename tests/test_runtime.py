"""A lab opens its elements, supervises them and closes them in reverse; the counters tell what passed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

import tmelink
from tests.support.aio import run
from tmelink import registry
from tmelink.arguments import flag
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.nic import Nic
from tmelink.summary import table

HELLO = """
machine a { le0: tmelink/host inet 10.0.77.1/24; n0: tmelink/nic; }
machine b { le0: tmelink/host inet 10.0.77.2/24; }
sw0: tmelink/switch
/a/le0 at sw0
/b/le0 at sw0
/a/n0 at sw0
"""


def test_machines_ping_each_other_and_the_counters_agree() -> None:
    async def body() -> None:
        machine = tmelink.load(HELLO)
        async with machine.run() as lab:
            host = lab["/a/le0"]
            assert isinstance(host, Host)
            result = await host.ping("10.0.77.2", count=3, interval=0.01)
            assert (result.sent, result.received) == (3, 3)
            assert set(lab) == {"/a/le0", "/a/n0", "/b/le0", "/sw0"}
            traffic = dict(lab.traffic())
            # Three echo replies, the answer to one ARP request, and what a machine announces by itself.
            assert traffic["b/le0 -> sw0"].frames >= 4
            text = table(lab.traffic())
            assert text.splitlines()[0].split() == ["connection", "frames", "bytes", "dropped"]
            assert any(line.startswith("b/le0 -> sw0") for line in text.splitlines())

    run(body)


def test_a_machine_without_elements_runs_and_ends() -> None:
    async def body() -> None:
        async with tmelink.load("\n").run() as lab:
            assert len(lab) == 0

    run(body)


def test_a_nic_is_taken_hold_of_by_name() -> None:
    async def body() -> None:
        async with tmelink.load("one: tmelink/nic\ntwo: tmelink/nic\none at two\n").run() as lab:
            one, two = lab["one"], lab["/two"]
            assert isinstance(one, Nic)
            assert isinstance(two, Nic)
            frame = bytes(range(60))
            one.send(frame)
            assert await two.recv() == frame
            with pytest.raises(tmelink.TmelinkError, match="did you mean"):
                lab["onee"]

    run(body)


class Spy(tmelink.Element):
    """Notes when it is opened and closed, and fails when told to."""

    @dataclass(frozen=True)
    class Arguments:
        fails: bool = flag(help="fail to open")
        hangs: bool = flag(help="never finish closing")
        waits: bool = flag(help="never finish opening")
        stuck: bool = flag(help="never finish putting back what was changed")
        spoilt: bool = flag(help="fail to put back what was changed")

    events: list[str]
    waiting: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    """Called when one begins to wait."""

    async def open(self) -> None:
        self.events.append(f"open {self.name}")
        if self.arguments.waits:
            type(self).waiting()
            await asyncio.Event().wait()
        if self.arguments.fails:
            raise tmelink.ElementError("told to")

    async def restore(self) -> None:
        if self.arguments.stuck:
            await asyncio.Event().wait()
        if self.arguments.spoilt:
            raise tmelink.ElementError("the route stays")

    async def close(self) -> None:
        self.events.append(f"close {self.name}")
        if self.arguments.hangs:
            await asyncio.Event().wait()


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    known = dict(registry._entry_points())
    known["test/spy"] = EntryPoint("test/spy", f"{__name__}:Spy", registry.GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: known)
    monkeypatch.setattr(registry, "element_class", lambda name: Spy if name == "test/spy" else None)
    Spy.events = []
    return Spy.events


def test_elements_close_in_reverse_order(events: list[str]) -> None:
    async def body() -> None:
        async with tmelink.load("a: test/spy\nb: test/spy\nc: test/spy\n").run():
            assert events == ["open a", "open b", "open c"]
        assert events[3:] == ["close c", "close b", "close a"]

    run(body)


def test_one_that_fails_to_open_closes_everything(events: list[str]) -> None:
    async def body() -> None:
        lab = tmelink.load("a: test/spy\nb: test/spy fails\nc: test/spy\n").run()
        with pytest.raises(tmelink.ElementError, match="b: told to"):
            await lab.__aenter__()
        assert events[3:] == ["close c", "close b", "close a"]

    run(body)


def test_keep_going_runs_the_rest(events: list[str], caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async with tmelink.load("a: test/spy\nb: test/spy fails\n").run(keep_going=True) as lab:
            assert list(lab.failures) == ["b"]
        assert events[2:] == ["close b", "close a"]

    with caplog.at_level(logging.ERROR, "tmelink"):
        run(body)
    assert "told to" in caplog.text


def test_one_that_hangs_does_not_keep_the_lab_from_closing(
    events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmelink.runtime.CLOSE_SECONDS", 0.05)

    async def body() -> None:
        async with tmelink.load("a: test/spy\nb: test/spy hangs\n").run():
            pass

    run(body)
    assert "close b" in events


@pytest.mark.parametrize(
    ("how", "why"), [("stuck", "could not be undone in 0.05 s"), ("spoilt", "the route stays")]
)
def test_what_cannot_be_put_back_is_said_and_kept(
    events: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
    why: str,
) -> None:
    monkeypatch.setattr("tmelink.runtime.RESTORE_SECONDS", 0.05)

    async def body() -> None:
        async with tmelink.load(f"a: test/spy\nb: test/spy {how}\n").run() as lab:
            assert lab.left == []
        [left] = lab.left
        assert left.startswith("b: ")
        assert why in left

    run(body)
    assert "left on this computer: b: " in caplog.text
    assert events[-2:] == ["close b", "close a"], "the rest ends as always"


def test_a_lab_that_is_still_opening_stops_at_once(
    events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        lab = tmelink.load("a: test/spy\nb: test/spy waits\n").run()
        monkeypatch.setattr(Spy, "waiting", lab.stop)
        async with asyncio.timeout(5):
            async with lab:
                await lab.wait()
        assert events == ["open a", "open b", "close b", "close a"]

    run(body)


def test_one_that_fails_does_not_wait_for_one_that_waits(events: list[str]) -> None:
    async def body() -> None:
        async with asyncio.timeout(5):
            with pytest.raises(tmelink.ElementError, match="b: told to"):
                await tmelink.load("a: test/spy waits\nb: test/spy fails\n").run().__aenter__()
        assert events[2:] == ["close b", "close a"]

    run(body)


def test_a_lab_stops_when_every_element_has_failed(events: list[str]) -> None:
    async def body() -> None:
        async with tmelink.load("a: test/spy\nb: test/spy\n").run() as lab:
            lab["a"].failed(tmelink.ElementError("gone"))
            lab["b"].failed(tmelink.ElementError("gone too"))
            async with asyncio.timeout(5):
                await lab.wait()
            assert list(lab.failures) == ["a", "b"]

    run(body)


def test_a_machine_runs_once(events: list[str]) -> None:
    async def body() -> None:
        lab = tmelink.load("a: test/spy\n").run()
        async with lab:
            pass
        with pytest.raises(tmelink.ClosedError):
            await lab.__aenter__()

    run(body)


def test_commands_are_carried_out_in_order_and_print() -> None:
    async def body() -> None:
        printed: list[str] = []
        machine = tmelink.load(HELLO + "command /a/le0 ping 10.0.77.2 count 2 interval 0.01\n")
        async with machine.run(output=printed.append):
            assert len(printed) == 1
            assert "2 received" in printed[0]

    run(body)


def test_a_command_that_an_element_does_not_know_names_its_line(tmp_path: Path) -> None:
    async def body() -> None:
        file = tmp_path / "m.conf"
        file.write_text("n0: tmelink/nic\ncommand n0 dance\n")
        with pytest.raises(tmelink.MachineError, match=r"m\.conf:2:12: 'dance' is not a command of n0"):
            tmelink.load(file)
        file.write_text("h0: tmelink/host inet 10.0.0.1/24\ncommand h0 ping nowhere\n")
        with pytest.raises(tmelink.ElementError, match=r"m\.conf:2:9: "):
            await tmelink.load(file).run().__aenter__()

    run(body)
