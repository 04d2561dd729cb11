"""Tab completes: through argcomplete's own protocol, and in the shells that are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tmelink.cli import COMMANDS
from tmelink.cli.completion import SHELLS

ROOT = Path(__file__).parent.parent.parent
LAB = "sw0: tmelink/switch\nle0 at sw0: tmelink/host inet 10.0.0.1/24\n"
HOUSES = """
host attic address 192.0.2.1 { a: tmelink/switch }
host cellar address 192.0.2.2 { b: tmelink/switch }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with machine files, where the lab `lab` runs."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "lab.conf").write_text(LAB)
    (folder / "houses.conf").write_text(HOUSES)
    (folder / "bin").mkdir()
    program = folder / "bin/tmelink"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tmelink "$@"\n')
    program.chmod(0o755)
    lab = subprocess.Popen(
        [sys.executable, "-u", "-m", "tmelink", "run", "lab.conf"],
        cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert lab.stderr is not None
    for line in lab.stderr:
        if "running:" in line:
            break
    yield folder
    lab.terminate()
    lab.communicate(timeout=20)
    assert lab.returncode == 0


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TMELINK_RUNTIME_DIR": str(folder / "run"),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
    }


def offered(folder: Path, line: str) -> set[str]:
    """What the program offers for a command line, as argcomplete's shell functions ask for it."""
    done = subprocess.run(
        [sys.executable, "-m", "tmelink"],
        cwd=folder, capture_output=True, check=False,
        env={
            **environment(folder),
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "offered"),
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_SHELL": "fish",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {each.split("\t")[0] for each in (folder / "offered").read_text().splitlines()}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tmelink st", {"status", "stop"}),
        ("tmelink status --wa", {"--watch"}),
        ("tmelink status ", {"lab"}),
        ("tmelink status lab ", {"le0", "sw0"}),
        ("tmelink capture lab le", {"le0:sw0"}),
        ("tmelink plug lab s", {"sw0"}),
        ("tmelink apply lab.conf --lab ", {"lab"}),
        ("tmelink run houses.conf --host ", {"attic", "cellar"}),
        ("tmelink explain lab.conf --from ", {"le0", "sw0"}),
        ("tmelink elements tme/host/tun/", {"tme/host/tun/tap", "tme/host/tun/tun"}),
        ("tmelink check h", {"houses.conf"}),
        ("tmelink doctor l", {"lab", "lab.conf"}),
        ("tmelink service ", {"install", "remove"}),
        ("tmelink completion ", set(SHELLS)),
    ],
)
def test_what_may_follow_is_offered(folder: Path, line: str, words: set[str]) -> None:
    assert {word.strip() for word in offered(folder, line)} - {"-h", "-v", "-q"} >= words
    last = line.rpartition(" ")[2]
    assert all(word.startswith(last) for word in offered(folder, line))


def test_every_command_is_offered(folder: Path) -> None:
    assert set(COMMANDS) <= {word.strip() for word in offered(folder, "tmelink ")}


BASH = """
source <(tmelink completion bash)
COMP_WORDS=(tmelink status lab l) COMP_CWORD=3 COMP_LINE='tmelink status lab l' COMP_POINT=20 COMP_TYPE=9
_python_argcomplete tmelink
echo "${COMPREPLY[@]}"
"""

ZSH = """
compdef() { : }
_describe() { print -l ${(P)2} }
eval "$(tmelink completion zsh)"
words=(tmelink status lab l) BUFFER='tmelink status lab l' CURSOR=20
_python_argcomplete tmelink
"""

FISH = "tmelink completion fish | source; complete -C 'tmelink status lab l'"

SCRIPTS = {"bash": ["bash", "-c", BASH], "zsh": ["zsh", "-fc", ZSH], "fish": ["fish", "-c", FISH]}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_an_element_of_a_running_lab(folder: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    done = subprocess.run(
        SCRIPTS[shell], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert "le0" in done.stdout, done.stderr
    assert "sw0" not in done.stdout


FILES = (
    "bash-completion/completions/tmelink",
    "zsh/site-functions/_tmelink",
    "fish/vendor_completions.d/tmelink.fish",
)


@pytest.mark.parametrize("file", FILES)
def test_the_files_that_the_wheel_brings_ask_the_program(file: str) -> None:
    assert "tmelink completion" in (ROOT / "share" / file).read_text()
