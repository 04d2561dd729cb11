"""The log stays readable: one line an event, and never more of a kind than a person can read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

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


@pytest.mark.parametrize(("verbosity", "count"), [(-2, 1), (-1, 2), (0, 3), (1, 4)])
def test_v_adds_and_q_removes(written, verbosity: int, count: int) -> None:  # type: ignore[no-untyped-def]
    logs.configure(verbosity)
    log = logging.getLogger("tmelink.element.le0")
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    assert len(written()) == count


def test_the_level_of_one_element_alone(written) -> None:  # type: ignore[no-untyped-def]
    logs.configure(0)
    logs.set_level("link0", logging.DEBUG)
    logging.getLogger("tmelink.element.link0").debug("shown")
    logging.getLogger("tmelink.element.link1").debug("hidden")
    logs.set_level("link0", 0)
    logging.getLogger("tmelink.element.link0").debug("hidden again")
    assert written() == ["link0: shown"]


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
