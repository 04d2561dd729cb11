"""docs/observing.md is true: its commands are run one after the other, and print what the page has.

Among them are Debian's tshark, which captures at tmelink's interfaces, and curl, which reads the metrics.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.netns import Process
from tests.support.sockets import free_port

PAGE = (Path(__file__).parents[2] / "docs/observing.md").read_text()

SECONDS = 90
"""For a command, on a computer that has much else to do."""

STARTED = {
    "run": "running: ",
    "capture": "capturing",
    "web": "http://",
    "tshark": "Capture started|Capturing on",
}
"""What a program in the background says once it works."""

EXTCAP = Path("/usr/lib/x86_64-linux-gnu/wireshark/extcap")
"""Where Debian's Wireshark looks when root calls it; here a folder of the test's own lies over it."""


@pytest.mark.needs_root
@pytest.mark.needs("tshark", "tcpdump", "dot", "curl", "unshare")
def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    folder = next(iter(Path("/usr/lib").glob("*/wireshark/extcap")), EXTCAP)
    (tmp_path / "extcap").mkdir()
    ports = {text: str(free_port()) for text in ("18781", "18782")}
    ports |= {text: str(free_port(socket.SOCK_STREAM)) for text in ("19273", "18080")}

    def local(text: str) -> str:
        return re.sub("|".join(ports), lambda found: ports[found[0]], text)

    (text,) = re.findall(r"```tmesh\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "lab.conf").write_text(local(text))
    environment = {**os.environ, "PATH": f"{pages.program(tmp_path)}:{os.environ['PATH']}"}
    over = f'mount --bind {tmp_path}/extcap {folder} && exec sh -c "$1"'
    waiting: Process | None = None
    running: list[Process] = []
    last = ""

    def run(command: str) -> str:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", over, "sh", command], cwd=tmp_path, env=environment,
            timeout=SECONDS, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return done.stdout

    try:
        for command, expected in pages.commands(local(PAGE)):
            if command.endswith(" &"):
                words = ["unshare", "--mount", "sh", "-c", over, "sh", f"exec {command[:-2]}"]
                waiting = Process(words, cwd=tmp_path, env=environment)
                running.append(waiting)
                name = next(name for name in STARTED if name in command.split())
                waiting.expect(STARTED[name], timeout=SECONDS)
                if name == "run":
                    waiting.expect("link0: up", timeout=SECONDS)
                continue
            if command != "wait":
                shown, last = run(command), command
            else:
                # A capture that began late sees the next ping.
                assert waiting is not None
                deadline = time.monotonic() + SECONDS
                while waiting.alive:
                    assert time.monotonic() < deadline, waiting.output
                    run(last)
                assert waiting.wait() == 0
                shown = "".join(f"{line}\n" for line in waiting.lines)
            assert pages.pattern(expected).fullmatch(shown), f"$ {command}\n{shown}"
    finally:
        for process in reversed(running):
            process.kill()
