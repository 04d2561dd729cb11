"""What documents show of commands that start nothing is what these commands print."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.documents import ROOT, Block, blocks
from tests.support.samples import with_keys

RUN_ELSEWHERE = ("docs/operating.md", "docs/observing.md")
"""Their labs run: tests/control/test_operating.py and tests/e2e/test_observing.py."""

SHOWN = [block for block in blocks("console") if block.document not in RUN_ELSEWHERE]


def pattern(lines: list[str]) -> re.Pattern[str]:
    """Output that reads as these lines: `…` stands for any lines, or for the rest of a phrase."""
    parts = []
    for line in lines:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            words = [re.escape(word).replace("…", ".*") for word in line.split()]
            parts.append(rf"[ ]*{'[ ]+'.join(words)}\n")
    return re.compile("".join(parts))


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_a_command_prints_what_its_page_shows(block: Block, tmp_path: Path) -> None:
    """In a folder with the samples; `cat FILE` shows a file that later commands read."""
    machines = tmp_path / "machines"
    machines.mkdir()
    for sample in ROOT.glob("machines/*.conf"):
        with_keys(sample, machines)
    for file in machines.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    page = (ROOT / block.document).read_text()
    for file, text in re.findall(r"Put this into `(\S+)`.*?```\n(.*?)```", page, flags=re.DOTALL):
        (tmp_path / file).write_text(text)
    environment = {**os.environ, "PATH": f"{pages.program(tmp_path)}:{os.environ['PATH']}"}
    for command, shown in pages.commands(f"```console\n{block.text}```"):
        if command.startswith("cat "):
            (tmp_path / command.removeprefix("cat ")).write_text("\n".join(shown) + "\n")
            continue
        assert command.startswith("tmelink "), command
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, timeout=60, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert pattern(shown).fullmatch(done.stdout), f"$ {command}\n{done.stdout}"


def test_commands_that_start_nothing_are_shown() -> None:
    assert {block.document for block in SHOWN} >= {
        f"docs/{page}.md" for page in ("explain", "layer3", "language")
    }
