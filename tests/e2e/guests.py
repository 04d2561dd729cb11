"""Guests that QEMU emulates, for tests: the kernel and RAM disk, and a guest's console."""

from __future__ import annotations

import functools
import itertools
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

GUEST = Path(__file__).parents[2] / "examples" / "guest"
"""Where the guest is built from, and to; the samples use it from there too."""

BUILD_SECONDS = 120
"""With the kernel's package to download."""

BOOT_SECONDS = 90
"""Several guests on one loaded processor, in software; alone one takes three seconds."""

COMMAND_SECONDS = 60
"""For what a test has a guest do."""

_numbers = itertools.count(1)


@functools.cache
def build() -> None:
    """Build the guest unless it is there and newer than what it is made from."""
    made = [GUEST / "vmlinuz", GUEST / "initrd.gz"]
    sources = [GUEST / "build", GUEST / "init", GUEST / "lease"]
    newest = max(source.stat().st_mtime for source in sources)
    if all(file.exists() and file.stat().st_mtime > newest for file in made):
        return
    done = subprocess.run(
        [GUEST / "build"], capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"the guest cannot be built: {done.stdout}{done.stderr}")


def machine(name: str, console: Path, cmdline: str = "", extra: str = "") -> str:
    """The guest as a machine file has it; its console is a unix socket."""
    words = f'{name}: tmelink/qemu memory 128 console "{console}" kernel "{GUEST}/vmlinuz" '
    words += f'initrd "{GUEST}/initrd.gz" append "console=ttyS0 quiet panic=-1 {cmdline}"'
    # What QEMU opens itself is the tests' own.
    return words + (f' user root extra "{extra}"' if extra else "")


class Console:
    """A guest's shell, through the unix socket of its serial console."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heard = b""
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Connect anew; what was heard before is forgotten."""
        self.close()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self._path))
        self._heard = b""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def until(self, pattern: str, seconds: float) -> str:
        """Everything up to what matches, which counts as heard."""
        wanted = re.compile(pattern.encode())
        until = time.monotonic() + seconds
        assert self._socket is not None, "not connected"
        while not (found := wanted.search(self._heard)):
            self._socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                more = b""
            if not more:
                raise AssertionError(
                    f"no '{pattern}' on the console:\n{self._heard.decode(errors='replace')}"
                )
            self._heard += more
        text = self._heard[: found.end()].decode(errors="replace")
        self._heard = self._heard[found.end() :]
        return text

    def ready(self) -> None:
        """Wait until the guest has come up; the shell is asked, since its own word may have been missed.

        What is typed before the shell listens loses bytes, so the question has no quote or bracket that a
        lost half could leave open.
        """
        assert self._socket is not None, "not connected"
        until = time.monotonic() + BOOT_SECONDS
        while True:
            self._socket.sendall(b"\nexpr 40 + 2\n")
            try:
                self.until("\n42\r?\n", 1)
            except AssertionError:
                if time.monotonic() > until:
                    raise
            else:
                return

    def run(self, command: str) -> str:
        """What a command writes, without the terminal's own; the test fails where the command does."""
        assert self._socket is not None, "not connected"
        number = next(_numbers)
        self._socket.sendall(f"echo BEGIN''{number}; {command}; echo END''{number} $?\n".encode())
        self.until(f"\nBEGIN{number}\r?\n", COMMAND_SECONDS)
        said = self.until(f"END{number} \\d+\r?\n", COMMAND_SECONDS)
        status = said.split()[-1]
        text = said[: said.rindex(f"END{number}")].replace("\r", "")
        assert status == "0", f"{command}: {status}\n{text}"
        return text

    def ping(self, address: str) -> None:
        """Wait for the first answer, then every one of three must come."""
        self.run(f"until ping -c 1 -w 1 {address} >/dev/null; do :; done")
        assert "3 packets received" in self.run(f"ping -c 3 -i 0.1 -w 10 {address}")

    def digest(self) -> str:
        """The checksum of the file that the guest offers."""
        return self.run("sha256sum </srv/file").split()[0]

    def fetched(self, url: str) -> str:
        """The checksum of what is at `url`."""
        return self.run(f"wget -q -O - {url} | sha256sum").split()[0]
