"""A command that needs little starts fast: it does not import what only others need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("lark", "numpy", "cryptography", "tmelink.machine", "tmelink.runtime", "tmelink.proof")


@pytest.mark.parametrize("words", [["--version"], ["ps"], ["status"], ["stop", "nothing"]])
def test_only_what_a_command_needs_is_imported(words: list[str]) -> None:
    told = (
        "import sys\n"
        "from tmelink.cli import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('imported:', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_help_still_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tmelink", "--help"], capture_output=True, text=True, check=True
    )
    assert {"run", "check", "demo"} <= set(done.stdout.split())
