"""Ctrl-C in a ping that has not come to its end: what has been measured by then is shown."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.netns import Process
from tmelink.control import ControlError, connect

TMELINK = [sys.executable, "-m", "tmelink"]
PING = "le0 ping 10.0.77.2 count 1000 interval 0.05"
STATISTICS = r"10\.0\.77\.2: (\d+) sent, (\d+) received"

LAB = """
le0: tmelink/host inet 10.0.77.1/24
le1 at le0: tmelink/host inet 10.0.77.2/24
"""

SECONDS = 30


@contextlib.contextmanager
def running(tmp_path: Path, text: str, *, until: str) -> Iterator[tuple[Process, str]]:
    """`tmelink run` of a text, and the lab's name."""
    name = f"interrupts{tmp_path.name}"
    (tmp_path / "lab.conf").write_text(text)
    process = Process([*TMELINK, "run", "--name", name, "lab.conf"], cwd=tmp_path)
    try:
        if until:
            process.expect(until)
        yield process, name
    finally:
        process.kill()


def wait_for_pings(name: str) -> None:
    """Until le1 has answered some."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(ControlError), connect(name) as control:
            if control.call("status")["connections"][0]["sent"]["frames"] > 5:
                return
        time.sleep(0.05)
    raise AssertionError("no ping was sent")


def check(said: str) -> None:
    found = re.search(STATISTICS, said)
    assert found is not None, said
    assert 1000 > int(found[1]) >= int(found[2]) >= 1, said


def test_in_a_command_of_a_file(tmp_path: Path) -> None:
    with running(tmp_path, f"{LAB}command {PING}\n", until="") as (process, name):
        wait_for_pings(name)
        process.signal(signal.SIGINT)
        process.wait(SECONDS)
        check(process.output)


def test_in_exec(tmp_path: Path) -> None:
    with running(tmp_path, LAB, until="running: ") as (_, name):
        execute = subprocess.Popen(
            [*TMELINK, "exec", name, "le0 addresses", PING, "le1 ping 10.0.77.1 count 1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for_pings(name)
        execute.send_signal(signal.SIGINT)
        said, _ = execute.communicate(timeout=SECONDS)
        check(said)
        assert "inet 10.0.77.1/24" in said
        assert "10.0.77.1:" not in said
        assert execute.returncode == 130
        with connect(name) as control:
            assert control.call("exec", text="le0 ping 10.0.77.2 count 1")["output"]


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._own, other = pty.openpty()
        self._said = ""
        self.program = subprocess.Popen(
            arguments, stdin=other, stdout=other, stderr=other, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(other)

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def expect(self, pattern: str) -> None:
        """Read until something has come that matches; what came up to there is forgotten."""
        until = time.monotonic() + SECONDS
        while (found := re.search(pattern, self._said)) is None:
            ready, _, _ = select.select([self._own], [], [], max(0.0, until - time.monotonic()))
            assert ready, self._said
            self._said += os.read(self._own, 65536).decode(errors="replace")
            if "\x1b[6n" in self._said:  # it asks where the cursor is
                self.type("\x1b[1;1R")
                self._said = self._said.replace("\x1b[6n", "")
        self._said = self._said[found.end() :]

    def close(self) -> None:
        self.program.kill()
        self.program.wait()
        os.close(self._own)


def test_in_a_shell_which_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, LAB, until="running: ") as (_, name):
        shell = Terminal(*TMELINK, "shell", name)
        try:
            shell.expect(":/>")
            shell.type(f"{PING}\r")
            wait_for_pings(name)
            shell.type("\x03")
            shell.expect(STATISTICS)
            shell.expect(":/>")
            shell.type("le0 ping 10.0.77.2 count 1\r")
            shell.expect("1 sent, 1 received")
            shell.type("exit\r")
            assert shell.program.wait(SECONDS) == 0
        finally:
            shell.close()


def test_in_the_demo() -> None:
    demo = subprocess.Popen(
        [*TMELINK, "demo", "--count", "1000", "--interval", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    said = ""
    while not re.search(r"le\d? [1-9]\d", said):
        said += demo.stdout.readline()
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=SECONDS)
    found = re.search(r"-> \S+ +(\d+) +(\d+)", rest)
    assert found is not None, rest
    assert 1000 > int(found[1]) >= int(found[2]) >= 1, rest
    assert demo.returncode == 130
