"""A command of tmelink's on every host of a deployed file, over ssh, on all of them at once.

ssh is the user's own, with their configuration, agent and jump hosts; nobody is asked for a password, since
the questions of several hosts would come at once.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tmelink.control.lab_names import valid_name
from tmelink.errors import TmelinkError
from tmelink.machine import CheckedMachine, load
from tmelink.tmesh.host_access import NO_ADDRESS, SshTarget

CONNECT_SECONDS = 10
"""For a host to answer at all."""

LONGEST_LINE = 1 << 24
"""Bytes of a line of output, such as the JSON of a lab."""

SSH_FAILED = 255
"""ssh's own exit code (ssh(1))."""

_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -n "$@"; fi'
"""A deployed lab is root's; the user that ssh logs in as may be another, as with Ansible."""


@dataclass(frozen=True)
class DeployedFile:
    """A machine file with hosts: the lab's name on each, and where ssh finds them."""

    machine: CheckedMachine
    lab: str
    targets: dict[str, SshTarget]


@dataclass(frozen=True)
class HostReply:
    """What a command said on a host, and its exit code: `SSH_FAILED` where ssh did not get there."""

    status: int
    output: str
    errors: str

    @property
    def trouble(self) -> str:
        """The last line of its error output."""
        return self.errors.strip().rpartition("\n")[2]


def deployed(file: Path) -> DeployedFile:
    """Read a file; raises `MachineError`, and `TmelinkError` if it names no host that ssh could find."""
    machine = load(file)
    targets = {
        name: machine.access[name].ssh or SshTarget(address)
        for name, address in machine.hosts.items()
        if machine.access[name].ssh is not None or address != NO_ADDRESS
    }
    if not targets:
        raise TmelinkError(
            f"{file} has no host that ssh could find: write 'host NAME address ADDRESS {{ … }}'"
        )
    return DeployedFile(machine, valid_name(file.stem), targets)


def ssh_command(target: SshTarget, words: Sequence[str]) -> list[str]:
    """The ssh command that runs `tmelink WORDS` there as root."""
    command = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    command += ["-p", str(target.port)] if target.port is not None else []
    command += ["-l", target.user] if target.user is not None else []
    return [*command, target.host, shlex.join(["sh", "-c", _AS_ROOT, "sh", "tmelink", *words])]


async def run(
    targets: dict[str, SshTarget],
    words: Sequence[str],
    line: Callable[[str, str], None] | None = None,
) -> dict[str, HostReply]:
    """Run `tmelink WORDS` on each host; `line` gets a host's name and a line as soon as it comes."""
    names = list(targets)
    replies = await asyncio.gather(*(_one(name, targets[name], words, line) for name in names))
    return dict(zip(names, replies, strict=True))


async def write(
    targets: dict[str, SshTarget], into: Mapping[str, tuple[Sequence[str], Path]]
) -> dict[str, int]:
    """Run a host's `tmelink WORDS` with its output in a file, on all hosts at once; returns exit codes."""

    async def one(name: str, words: Sequence[str], path: Path) -> int:
        with path.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *ssh_command(targets[name], words), stdin=asyncio.subprocess.DEVNULL, stdout=file
            )
            try:
                return await process.wait()
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()

    codes = await asyncio.gather(*(one(name, *each) for name, each in into.items()))
    return dict(zip(into, codes, strict=True))


async def _one(
    name: str, target: SshTarget, words: Sequence[str], line: Callable[[str, str], None] | None
) -> HostReply:
    try:
        process = await asyncio.create_subprocess_exec(
            *ssh_command(target, words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
        )
    except FileNotFoundError:
        raise TmelinkError("ssh is not installed: apt-get install openssh-client") from None
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    output = []
    try:
        async for each in process.stdout:
            text = each.decode(errors="replace")
            output.append(text)
            if line is not None:
                line(name, text.rstrip("\n"))
        return HostReply(await process.wait(), "".join(output), (await errors).decode(errors="replace"))
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        errors.cancel()
