"""Programs that run while something is measured: started, awaited by what they write, measured, ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

START_SECONDS = 20
"""For a program to say that it runs."""

STOP_SECONDS = 5
"""For a program to end when asked, before it is killed."""

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A program did not do what the benchmark needs; says which and what it wrote."""


class Process:
    """A running program; what it writes goes to a file."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.arguments = arguments
        self.log = log
        with log.open("wb") as out:
            # In a session of its own: Ctrl-C in a terminal is for the benchmark, which ends things in order.
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self.pid = self._process.pid

    def expect(self, pattern: str) -> None:
        """Wait until it has written something that matches."""
        deadline = time.monotonic() + START_SECONDS
        while not re.search(pattern, self.output()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{' '.join(self.arguments)} did not write '{pattern}':\n{self.output()}")
            time.sleep(0.02)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float) -> None:
        """Wait until it has ended by itself."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(self.arguments)} does not end") from error

    def cpu_seconds(self) -> float:
        """Processor time, user's and system's, that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def megabytes(self) -> float:
        """Memory that is its own and present: private pages, and its part of shared ones."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        return int(found[1]) / 1000 if found else 0.0

    def stop(self) -> None:
        """End it, if need be without its leave."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(*arguments: str, seconds: float = 60) -> str:
    """What a program writes; raises `Failed` where it ends with an error."""
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(arguments)} took longer than {seconds:g} s") from error
    if done.returncode:
        raise Failed(f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
