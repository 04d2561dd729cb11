"""docs/operating.md is true: its commands are run one after the other, and say what the page has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.netns import Process
from tests.support.sockets import free_port

PAGE = (Path(__file__).parents[2] / "docs/operating.md").read_text()


def commands() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines that it prints; `…` stands for any lines."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> re.Pattern[str]:
    """What prints such lines: numbers, and the width of columns, may differ."""
    parts = []
    for line in lines:
        if line == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            words = (re.sub(r"\d+", r"\\d+", re.escape(word)) for word in line.split())
            # A time may have a second unit: "34 s", "1 min 4 s".
            text = r"\s+".join(words).replace(r"\d+\s+s", r"\d+\s+\w+(?: \d+ \w+)?")
            parts.append(rf"{text}\n")
    return re.compile("".join(parts))


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    ports = {"18771": str(free_port()), "18772": str(free_port())}
    for text in re.findall(r"```tmesh\n(.*?)```", PAGE, flags=re.DOTALL):
        for written, free in ports.items():
            text = text.replace(written, free)
        (tmp_path / text.split()[1]).write_text(text)
    program = tmp_path / "bin" / "tmelink"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tmelink "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    running: list[Process] = []
    try:
        for command, expected in commands():
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
            assert pattern(expected).fullmatch(done.stdout), f"$ {command}\n{done.stdout}"
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
