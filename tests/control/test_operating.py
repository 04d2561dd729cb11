"""docs/operating.md is true: its commands are run one after the other, and say what the page has."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.netns import Process
from tests.support.sockets import free_port

PAGE = (Path(__file__).parents[2] / "docs/operating.md").read_text()


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    ports = {"18771": str(free_port()), "18772": str(free_port())}
    for text in re.findall(r"```tmesh\n(.*?)```", PAGE, flags=re.DOTALL):
        for written, free in ports.items():
            text = text.replace(written, free)
        (tmp_path / text.split()[1]).write_text(text)
    environment = {**os.environ, "PATH": f"{pages.program(tmp_path)}:{os.environ['PATH']}"}
    running: list[Process] = []
    try:
        for command, expected in pages.commands(PAGE):
            if command.endswith(" &"):
                process = Process(["sh", "-c", f"exec {command[:-2]}"], cwd=tmp_path, env=environment)
                running.append(process)
                process.expect("running: ")
                continue
            if "ping" in command:
                running[-1].expect("link0: up")
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, env=environment, timeout=120, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            assert pages.pattern(expected).fullmatch(done.stdout), f"$ {command}\n{done.stdout}"
    finally:
        for process in running:
            process.kill()


@pytest.mark.needs("systemd-analyze")
def test_the_exposure_of_the_units_is_what_the_page_says(tmp_path: Path) -> None:
    from tests.support.units import PLAIN, exposure
    from tmelink import machine
    from tmelink.deploy.unit import unit

    told = dict(re.findall(r"^\| (?:of a lab )?([^|]+) \| ([\d.]+) \|$", PAGE, flags=re.MULTILINE))
    for row, more in (("with a TAP and links", ""), ("that runs emulators", "p: tmelink/process sleep 1\n")):
        path = tmp_path / "tmelink-lab.service"
        path.write_text(unit(machine.load(PLAIN + more), tmp_path / "lab.conf", "lab", None))
        assert exposure(path) == float(told[row])
