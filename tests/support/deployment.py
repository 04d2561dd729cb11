"""Three whole Debian hosts, the last behind NAT, and a person in a fourth namespace who deploys to them.

The person's programs find `ssh` as usual; a wrapper in front of it knows the key of the test.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.debian import SSH, DebianHost, debian_root
from tests.support.netns import Namespace, Net
from tmelink.deploy import wheels

NAT = """
table ip nat {
    chain out { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }
    chain in { type nat hook prerouting priority dstnat; iifname eth0 tcp dport 2222 dnat to 192.168.7.2:22; }
    chain input { type filter hook input priority filter; iifname eth0 meta l4proto udp drop; }
}
"""
"""East's router, which forwards a port for ssh alone."""

DEPLOY_SECONDS = 600
ROOT = Path(__file__).parents[2]
BUILD: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
"""What pip needs to build tmelink's own wheel."""

TMELINK = [sys.executable, "-m", "tmelink"]


class Admin:
    """Where the person sits: a namespace with the machine file and the ssh key."""

    def __init__(self, namespace: Namespace, folder: Path, key: Path) -> None:
        self.namespace = namespace
        self.folder = folder
        self.file = folder / "lab.conf"
        programs = folder / "bin"
        programs.mkdir()
        _program(programs / "ssh", shlex.join(["/usr/bin/ssh", "-i", str(key), *SSH]))
        _program(programs / "tmelink", shlex.join(TMELINK))
        self._environment = [
            f"PATH={programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            # The person's computer is in no internet either: pip finds here what a deployment collects.
            "PIP_NO_INDEX=1",
            f"PIP_FIND_LINKS={folder / 'wheels'} {folder / 'build'}",
            # Masters of other tests' connections go to hosts with the same addresses.
            f"ANSIBLE_SSH_CONTROL_PATH_DIR={namespace.directory}/cp",
        ]

    def shell(self, command: str, *, check: bool = True) -> str:
        """What a command in the folder of the machine file prints."""
        words = ["env", "-C", str(self.folder), *self._environment, "sh", "-c", command]
        return self.namespace.run(*words, check=check, timeout=DEPLOY_SECONDS)

    def deploy(self, *options: str, check: bool = True) -> str:
        """`tmelink deploy lab.conf` with the wheels that have been collected."""
        return self.shell(
            shlex.join(["tmelink", "deploy", "lab.conf", "--wheels", "wheels", *options]), check=check
        )

    def off(self) -> None:
        """End what still runs here, such as Ansible's masters of ssh."""
        for pid in subprocess.run(
            ["ip", "netns", "pids", self.namespace.name], capture_output=True, text=True, check=False
        ).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _download(packages: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *packages]
    subprocess.run(command, check=True, capture_output=True)


def _program(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)


@dataclass
class Site:
    """The person and three hosts, the last of them behind NAT."""

    admin: Admin
    north: DebianHost
    south: DebianHost
    east: DebianHost

    @property
    def hosts(self) -> tuple[DebianHost, ...]:
        return self.north, self.south, self.east


def _behind_nat(net: Net, router: Namespace) -> Namespace:
    inner = net.namespace()
    router.run("ip", "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", inner.name)
    for namespace, name, address in ((router, "lan", "192.168.7.1/24"), (inner, "eth0", "192.168.7.2/24")):
        namespace.run("ip", "addr", "add", address, "dev", name)
        namespace.run("ip", "link", "set", name, "up")
    inner.addresses = ["192.168.7.2"]
    inner.run("ip", "route", "add", "default", "via", "192.168.7.1")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    router.run("nft", "-f", "-", input=NAT)
    return inner


@contextlib.contextmanager
def site(net: Net, folder: Path) -> Iterator[Site]:
    """The hosts, booted: north, south and east's router are 192.0.2.1 to .3, east itself is 192.168.7.2."""
    north, south, router, person, _hub = net.internet(4)
    for number, namespace in enumerate((north, south, router, person), 1):
        namespace.run("ip", "addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
    key = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    wheels.collect(folder / "wheels")
    _download(BUILD, folder / "build")
    root = debian_root()
    machines = [DebianHost(each, root, folder, key) for each in (north, south, _behind_nat(net, router))]
    admin = Admin(person, folder, key)
    try:
        for machine in machines:
            machine.boot()
        yield Site(admin, *machines)
    finally:
        admin.off()
        for machine in machines:
            machine.off()


def changes(output: str) -> dict[str, int]:
    """How many tasks changed something on each host, by Ansible's recap."""
    return {
        host: int(count)
        for host, count in re.findall(r"^(\w+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)
    }
