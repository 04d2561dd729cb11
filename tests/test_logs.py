"""The log stays readable: one line an event, and never more of a kind than a person can read."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tmelink import logs, state_log


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> object:
    def read() -> list[str]:
        return capsys.readouterr().err.splitlines()

    yield read
    logging.getLogger("tmelink").handlers = []


def test_a_line_begins_with_the_element_and_says_how_bad_it_is(written) -> None:  # type: ignore[no-untyped-def]
    logs.configure(0)
    log = logging.getLogger("tmelink.element.a/le0")
    log.info("up")
    log.warning("slow")
    log.debug("not shown")
    assert written() == ["a/le0: up", "a/le0: warning: slow"]


@pytest.mark.parametrize(("verbosity", "count"), [(-3, 1), (-2, 1), (-1, 2), (0, 3), (1, 4), (2, 5), (3, 5)])
def test_v_adds_and_q_removes(written, verbosity: int, count: int) -> None:  # type: ignore[no-untyped-def]
    logs.configure(verbosity)
    log = logging.getLogger("tmelink.element.le0")
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    log.log(logs.TRACE, "t")
    assert len(written()) == count


def test_the_level_of_one_element_alone(written) -> None:  # type: ignore[no-untyped-def]
    logs.configure(0)
    logs.set_level("link0", logging.DEBUG)
    logging.getLogger("tmelink.element.link0").debug("shown")
    logging.getLogger("tmelink.element.link1").debug("hidden")
    logs.set_level("link0", 0)
    logging.getLogger("tmelink.element.link0").debug("hidden again")
    assert written() == ["link0: shown"]


def test_lines_have_their_time_unless_the_journal_takes_them(
    written: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("tmelink.element.le0")
    logs.configure(0, dated=True)
    log.info("up")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d le0: up", written()[0])
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    logs.configure(0, dated=True)
    log.info("up")
    assert written() == ["le0: up"]


def test_lines_as_json(written) -> None:  # type: ignore[no-untyped-def]
    logs.configure(0, form="json", dated=True)
    logging.getLogger("tmelink.element.a/le0").warning("slow: %d\n", 5)
    logging.getLogger("tmelink.run").info("running")
    first, second = map(json.loads, written())
    assert time.time() - 60 < first.pop("time") <= time.time() + 0.001
    assert first == {"level": "warning", "element": "a/le0", "message": "slow: 5\n"}
    assert second["element"] is None


def test_a_file_takes_the_lines_and_a_new_one_after_it_was_renamed(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    logs.configure(0, file=file)
    log = logging.getLogger("tmelink.element.le0")
    log.info("one")
    file.rename(tmp_path / "log.1")
    log.info("two")
    assert (tmp_path / "log.1").read_text() == "before\nle0: one\n"
    assert file.read_text() == "le0: two\n"


def record(name: str, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, message, args, None)


def test_lines_of_one_kind_are_limited_and_the_rest_counted() -> None:
    now = [0.0]
    limit = logs.Limit(lambda: now[0])
    passed = [limit.filter(record("link0", "bad datagram from %s", n)) for n in range(1000)]
    assert sum(passed) == logs.BURST
    assert limit.filter(record("link0", "something else"))
    assert limit.filter(record("link1", "bad datagram from %s", 1))
    now[0] += logs.WINDOW
    again = record("link0", "bad datagram from %s", 1)
    assert limit.filter(again)
    assert again.getMessage() == f"bad datagram from 1 (and {1000 - logs.BURST} more like it)"


def test_the_limit_itself_remembers_a_bounded_number_of_kinds() -> None:
    limit = logs.Limit(lambda: 0.0)
    for number in range(3 * logs.KINDS):
        assert limit.filter(record("link0", f"kind {number}"))
    assert len(limit._kinds) == logs.KINDS


def test_changes_of_state_are_folded_and_never_swallowed(
    written: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_log, "WINDOW", 0.05)
    logs.configure(0)

    async def main() -> None:
        states = state_log.StateLog(logging.getLogger("tmelink.element.link"))
        for number in range(20):
            states.changed(number % 2 == 0, f"turn {number}")
        states.changed(True, "the last one")
        await asyncio.sleep(0.1)
        states.changed(False, "later")
        states.close()

    asyncio.run(main())
    lines = written()
    assert lines[:6] == [f"link: {'down' if n % 2 else 'up'}: turn {n}" for n in range(6)]
    assert lines[6:] == ["link: 21 changes in a minute, now up: the last one", "link: down: later"]
