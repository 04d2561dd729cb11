"""Runs ansible-playbook on the files of a deployment, and reads what it changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tmelink.errors import TmelinkError

FORKS = 25
"""Hosts at once; Ansible's own default is 5."""

_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class HostResult:
    """What a playbook did on a host, by Ansible's recap."""

    host: str
    changed: int
    unreachable: bool


@dataclass(frozen=True)
class PlaybookResult:
    """Every host's result; `done` says that Ansible ended without a failure."""

    hosts: tuple[HostResult, ...]
    done: bool


def run(folder: Path, playbook: str, flags: Sequence[str] = ()) -> PlaybookResult:
    """Run a playbook of `folder`, and pass on what it prints; raises `TmelinkError` without Ansible."""
    environment = os.environ | {
        "ANSIBLE_FORKS": os.environ.get("ANSIBLE_FORKS", str(FORKS)),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "False",
        # In the user's own home, where nobody else can put it first; destroy.yml removes it.
        "ANSIBLE_REMOTE_TEMP": "~/.tmelink-ansible",
        "ANSIBLE_NOCOWS": "True",
        # No warning that another Python may come one day.
        "ANSIBLE_PYTHON_INTERPRETER": os.environ.get("ANSIBLE_PYTHON_INTERPRETER", "auto_silent"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [program("ansible-playbook"), "-i", "inventory.yml", playbook, *flags]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    hosts = tuple(
        HostResult(match[1], int(match[2]), match[3] != "0") for match in _RECAP.finditer("".join(lines))
    )
    return PlaybookResult(hosts, process.returncode == 0)


def program(name: str) -> str:
    """One of Ansible's programs, beside this Python, or else on the path; raises `TmelinkError`."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise TmelinkError(f"{name} is not installed: pip install 'tmelink[deploy]'")
    return found
