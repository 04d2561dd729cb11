"""Programs that a command runs: their output, its bound, and how they end."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tmelink.errors import ElementError
from tmelink.system import programs


def run(code: str) -> str:
    return asyncio.run(programs.run([sys.executable, "-c", code]))


def test_output_and_errors_come_together() -> None:
    assert run("import sys; print('out', flush=True); print('error', file=sys.stderr)") == "out\nerror"


def test_a_status_other_than_0_is_told() -> None:
    assert run("print('no'); raise SystemExit(3)") == "no\n(exit status 3)"


def test_output_is_bounded() -> None:
    said = run("while True: print('x' * 1000)")
    assert said.endswith(f"(killed after {programs.OUTPUT} bytes)")
    assert len(said) <= programs.OUTPUT + 40


def test_output_up_to_the_bound_is_whole() -> None:
    assert run(f"print('x' * {programs.OUTPUT - 1})") == "x" * (programs.OUTPUT - 1)


def test_one_that_stays_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SECONDS", 0.5)
    assert run("import time; print('still here', flush=True); time.sleep(1000)").endswith(
        "(killed after 0 s)"
    )


def test_what_is_left_in_the_background_is_not_waited_for() -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid)"
    pid = run(code)
    asyncio.run(programs.run(["kill", pid]))


def test_one_that_cannot_start_is_an_error() -> None:
    with pytest.raises(ElementError, match="running /nonexistent/program -x: No such file"):
        asyncio.run(programs.run(["/nonexistent/program", "-x"]))


def test_a_cancelled_call_kills_it() -> None:
    async def main() -> None:
        running = asyncio.create_task(programs.run([sys.executable, "-c", "import time; time.sleep(1000)"]))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
