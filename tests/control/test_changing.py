"""`apply` and `exec` at a running lab: what differs changes, and nothing else notices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.sockets import free_port
from tests.support.traffic import Traffic, running, traffic_lab
from tmelink.control import changing
from tmelink.control.control import Control
from tmelink.control.methods import RequestError
from tmelink.element import Element
from tmelink.errors import MachineError
from tmelink.runtime import Lab

PORT_C = free_port()
LINK = "tme/host/openvpn/socket/link --dev tap --local 127.0.0.1"

TRAFFIC = traffic_lab()

REST = f"""\
sw0: tmelink/switch
sw1: tmelink/switch
le0 at sw0: tmelink/host inet 10.0.77.1/24
le1 at sw0: tmelink/host inet 10.0.77.2/24
other at sw0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport {PORT_C} --remote 127.0.0.1 9
program: tmelink/process restart never sleep 60
"""


CHANGES: dict[str, tuple[Callable[[str], str], list[str]]] = {
    "add an element": (lambda text: text + "le2 at sw0: tmelink/nic\n", ["add le2"]),
    "remove an element": (
        lambda text: text.replace("le1 at sw0: tmelink/host inet 10.0.77.2/24\n", ""),
        ["remove le1"],
    ),
    "rename an element": (lambda text: text.replace("le1 at", "station at"), ["remove le1", "add station"]),
    "an option of a link": (
        lambda text: text.replace(f"--lport {PORT_C}", f"--lport {PORT_C} --ping 3"),
        ["replace other (changed: ping)"],
    ),
    "another peer of a link": (
        lambda text: text.replace("127.0.0.1 9\n", "127.0.0.1 10\n"),
        ["replace other (changed: remotes)"],
    ),
    "an option of a host": (
        lambda text: text.replace("10.0.77.2/24", "10.0.77.3/24"),
        ["replace le1 (changed: inet)"],
    ),
    "an option of a process": (
        lambda text: text.replace("sleep 60", "sleep 61"),
        ["replace program (changed: command)"],
    ),
    "an option of a switch": (
        lambda text: text.replace("sw0: tmelink/switch", "sw0: tmelink/switch ageing 10"),
        ["replace sw0 (changed: ageing)"],
    ),
    "connect elsewhere": (
        lambda text: text.replace("le1 at sw0", "le1 at sw1"),
        ["disconnect le1 at sw0", "connect le1 at sw1"],
    ),
    "one connection more": (lambda text: text + "sw0 at sw1\n", ["connect sw0 at sw1"]),
    "another module": (
        lambda text: text.replace("le1 at sw0: tmelink/host inet 10.0.77.2/24", "le1 at sw0: tmelink/nic"),
        ["replace le1 (it is a tmelink/nic now)"],
    ),
    "nothing": (lambda text: f"# a comment\n{text}", []),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_leaves_every_other_connection_untouched(kind: str, tmp_path: Path) -> None:
    change, expected = CHANGES[kind]

    async def main() -> None:
        async with running(TRAFFIC + REST, tmp_path) as control:
            before = dict(control.lab.machine.elements)
            traffic = Traffic(control.lab)
            await traffic.up()
            (tmp_path / "lab.conf").write_text(change(TRAFFIC + REST))
            told = await changing.apply(control, dry_run=True)
            assert [_line(row) for row in told["changes"]] == expected
            assert dict(control.lab.machine.elements) == before, "a dry run changes nothing"
            task = asyncio.create_task(_called(changing.apply(control)))
            await traffic.run(task)
            done = await task
            assert [_line(row) for row in done["changes"]] == expected
            assert done["failed"] == {}
            assert traffic.got == list(range(1, traffic.sent + 1)), "frames were lost or came twice"
            after = control.lab.machine.elements
            touched = {
                line.split()[1] for line in expected if line.split()[0] in ("replace", "remove", "add")
            }
            for path, element in before.items():
                if path.lstrip("/") not in touched:
                    assert after[path] is element
            assert all(element.state.condition in ("up", "down") for element in after.values())
            again = await changing.apply(control)
            assert again["changes"] == [], "what was applied is what runs"
            _check_connections(control.lab)

    asyncio.run(main())


def test_a_lab_in_its_files_folder_follows_that_folders_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    current = tmp_path / "current"
    current.symlink_to("one")
    monkeypatch.chdir(current)

    async def main() -> None:
        async with running("sw0: tmelink/switch\n", current) as control:
            (folders[1] / "lab.conf").write_text("sw0: tmelink/switch\np0: tmelink/process cat disk\n")
            (folders[1] / "disk").write_text("of the second")
            current.unlink()
            current.symlink_to("two")
            await changing.apply(control, dry_run=True)
            assert Path.cwd() == folders[0]
            await changing.apply(control, file=str(current / "lab.conf"))
            assert Path.cwd() == folders[1]
            (folders[0] / "lab.conf").unlink()

    asyncio.run(main())


async def _called(awaitable: Any) -> Any:
    return await awaitable


def _line(row: dict[str, str]) -> str:
    return f"{row['kind']} {row['what']}" + (f" ({row['why']})" if row["why"] else "")


def _check_connections(lab: Lab) -> None:
    """Ports are joined as the machine says, and to running elements alone."""
    elements: set[Element] = set(lab.machine.elements.values())
    for a, b in lab.machine.connections:
        assert a.peer is b
        assert b.peer is a
        assert {a.element, b.element} <= elements
    joined = {port for pair in lab.machine.connections for port in pair}
    assert {port for e in elements for port in e.ports if port.peer is not None} == joined


def test_a_file_with_mistakes_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(REST, tmp_path) as control:
            before = dict(control.lab.machine.elements)
            with pytest.raises(MachineError, match="unknown module tmelink/swich"):
                await changing.apply(control, text="sw0: tmelink/swich")
            with pytest.raises(RequestError, match="not both"):
                await changing.apply(control, text="", file="/x")
            assert dict(control.lab.machine.elements) == before

    asyncio.run(main())


def test_what_cannot_be_opened_is_told_and_the_rest_is_applied(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("sw0: tmelink/switch\n", tmp_path) as control:
            text = "sw0: tmelink/switch\nsw1: tmelink/switch\nprogram: tmelink/process /nonexistent/program\n"
            done = await changing.apply(control, text=text)
            assert list(done["failed"]) == ["program"]
            assert control.lab["program"].state.condition == "failed"
            assert control.lab["sw1"].state.condition == "up"
            kinds = [(event.kind, event.element) for event in control.events.since(None)]
            assert kinds == [("failed", "program"), ("applied", "")]
            again = await changing.apply(control, text=text)
            assert [_line(row) for row in again["changes"]] == ["replace program (it had failed)"]

    asyncio.run(main())


# Statements


async def say(control: Control, *lines: str, directory: str = "/") -> dict[str, Any]:
    done: dict[str, Any] = await changing.execute(control, text="\n".join(lines), directory=directory)
    return done


def test_statements_run_as_if_they_stood_at_the_end_of_the_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("sw0: tmelink/switch\nle0 at sw0: tmelink/nic\n", tmp_path) as control:
            switch = control.lab["sw0"]
            done = await say(control, "le1 at sw0: tmelink/nic", "ls", "pwd")
            assert [_line(row) for row in done["changes"]] == ["add le1"]
            listed = "sw0: tmelink/switch\nle0 at sw0: tmelink/nic\nle1 at sw0: tmelink/nic"
            assert done["output"] == [listed, "/"]
            assert control.lab["sw0"] is switch
            assert (await say(control, "sw0 table"))["output"][0].startswith("0 of 8192 stations")
            assert (await say(control, "command sw0 table"))["changes"] == []
            done = await say(control, "disconnect le1")
            assert [_line(row) for row in done["changes"]] == ["disconnect le1 at sw0"]
            assert control.lab["le1"].ports[0].peer is None
            done = await say(control, "connect le1 at sw0")
            assert [_line(row) for row in done["changes"]] == ["connect le1 at sw0"]
            done = await say(control, "rm le1")
            assert [_line(row) for row in done["changes"]] == ["remove le1"]
            _check_connections(control.lab)
            again = await changing.apply(control)
            assert again["changes"] == []

    asyncio.run(main())


def test_a_file_that_is_applied_undoes_what_was_typed(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("sw0: tmelink/switch\n", tmp_path) as control:
            await say(control, "sw1: tmelink/switch")
            assert [_line(row) for row in (await changing.apply(control))["changes"]] == ["remove sw1"]
            assert [_line(row) for row in (await say(control, "sw2: tmelink/switch"))["changes"]] == [
                "add sw2"
            ]

    asyncio.run(main())


def test_each_shell_has_a_directory_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("machine a { sw0: tmelink/switch; }\n", tmp_path) as control:
            done = await say(control, "cd a")
            assert done["directory"] == "/a"
            done = await say(control, "le0 at sw0: tmelink/nic", directory="/a")
            assert done["directory"] == "/a"
            assert "/a/le0" in control.lab
            assert (await say(control, "sw0 table", directory="/a"))["output"][0].startswith("0 of")
            assert (await say(control, "pwd"))["output"] == ["/"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("le1 at nowhere: tmelink/nic", "<shell>:1:8: unknown element nowhere"),
        ("le1: tmelink/hst", "unknown module tmelink/hst"),
        ("disconnect le0 at sw1", "unknown element sw1"),
        ("disconnect", "write 'disconnect ELEMENT"),
        ("disconnect sw0", "sw0 is not connected to anything"),
        ("le0: tmelink/nic", "le0 already exists"),
        ("nonsense here", "<shell>:1:"),
    ],
)
def test_a_statement_with_a_mistake_changes_nothing(text: str, message: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with running("sw0: tmelink/switch\nle0: tmelink/nic\n", tmp_path) as control:
            before = dict(control.lab.machine.elements)
            with pytest.raises(MachineError) as refused:
                await say(control, "sw7: tmelink/switch", text)
            assert message.replace("<shell>:1", "<shell>:") in str(refused.value) or message in str(
                refused.value
            )
            assert dict(control.lab.machine.elements) == before
            assert control.edits == []

    asyncio.run(main())


def test_what_an_element_logs_can_be_changed_and_stays_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("sw0: tmelink/switch\n", tmp_path) as control:
            await say(control, "log sw0 debug")
            assert control.lab["sw0"].log.level == logging.DEBUG
            await say(control, "sw1: tmelink/switch")
            assert control.lab["sw0"].log.level == logging.DEBUG
            await changing.apply(control)
            assert control.lab["sw0"].log.level == logging.NOTSET

    asyncio.run(main())
