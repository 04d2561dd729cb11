"""`tmelink top`: what its table has, and its keys."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tmelink.cli import top_table

pytest.importorskip("textual")

from textual.widgets import DataTable, Static

from tmelink.cli.top_screen import TopScreen

SINCE = 1_700_000_000.0


def counters(frames: float, drops: int = 0) -> dict[str, Any]:
    return {
        "frames": 1,
        "bytes": 100,
        "drops": {"queue full": drops} if drops else {},
        "frames_per_second": frames,
        "bits_per_second": 800 * frames,
    }


def element(name: str, state: str = "up", **more: Any) -> dict[str, Any]:
    row = {"name": name, "module": "tmelink/nic", "state": state, "since": SINCE}
    return {**row, "reason": "", "summary": "", "details": None, "counters": {}, **more}


STATUS: dict[str, Any] = {
    "name": "lab",
    "file": "lab.conf",
    "host": None,
    "pid": 1,
    "since": SINCE,
    "up": 1,
    "total": 2,
    "elements": [
        element("b", counters={"wire sent": counters(0, drops=2)}),
        element("a", "down", reason="waiting", details={"peer": None}),
    ],
    "connections": [{"from": "b", "to": "a", "sent": counters(10, drops=1), "received": counters(2)}],
}


def test_a_row_has_an_elements_traffic_and_every_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmelink.cli.labs.time.time", lambda: SINCE + 5)
    b, a = top_table.rows(STATUS)
    assert b[4:] == (10, 8000, 3)
    assert a[4:] == (2, 1600, 0)
    assert top_table.shown(a) == ("a", "down", "5 s", "waiting", "2", "1.6 kbit/s", "0")


def test_keys_sort_pause_and_show_one_element() -> None:
    asked: list[str | None] = []

    def look(name: str | None) -> dict[str, Any]:
        asked.append(name)
        if name is None:
            return STATUS
        return {**STATUS, "elements": [row for row in STATUS["elements"] if row["name"] == name]}

    async def main() -> None:
        screen = TopScreen(look, 3600)
        async with screen.run_test() as pilot:
            table = screen.query_one(DataTable)

            def names() -> list[str]:
                return [table.get_row_at(index)[0] for index in range(table.row_count)]

            assert names() == ["a", "b"]
            await pilot.press("r")
            assert names() == ["b", "a"]
            await pilot.press("s", "s", "s", "s")
            assert names() == ["b", "a"], "most frames first"
            looked = len(asked)
            await pilot.press("p")
            screen.look()
            assert len(asked) == looked
            await pilot.press("p", "enter")
            assert asked[-1] == "b"
            assert screen.query_one("#one", Static).display
            assert not table.display
            await pilot.press("escape")
            assert table.display
            assert asked[-1] is None

    asyncio.run(main())
