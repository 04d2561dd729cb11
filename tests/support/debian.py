"""Whole Debian hosts for tests: systemd as process 1 and sshd, in a network namespace of the test's.

    root = debian_root()                 # made once by debootstrap, then kept in a folder
    with DebianHost(namespace, root, key) as host:
        host.ssh("systemctl", "is-system-running")

The kernel is the outer one. A host has a writable copy of the root file system, so that it keeps what it has
over a reboot.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.support.netns import Namespace, Process

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-venv,iproute2,iputils-ping"  # what a server has
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tmelink"
BOOT_SECONDS = 120
SSH = (
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
    "-o", "ConnectTimeout=5",
)  # fmt: skip


def debian_root() -> Path:
    """A root file system of this computer's Debian release, made where there is none yet."""
    release = _release()
    root = CACHE / release
    if not (root / "usr/sbin/sshd").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        unfinished = root.with_name(f"{release}.{os.getpid()}")
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(unfinished)]
        done = subprocess.run([*command, _mirror()], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        unfinished.rename(root)
    return root


def _release() -> str:
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    assert found is not None, "/etc/os-release names no release"
    return found[1]


def _mirror() -> str:
    """Where this computer's own packages come from."""
    sources = [*Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/apt/sources.list")]
    for path in sources:
        if path.is_file():
            for line in path.read_text().splitlines():
                found = re.match(r"(?:URIs:|deb)\s+(?:\[[^]]*\]\s+)?(https?://\S+)", line)
                if found and "security" not in found[1]:
                    return found[1]
    raise AssertionError("apt has no sources")


class DebianHost:
    """A booted host in a network namespace that has its address already."""

    def __init__(self, namespace: Namespace, root: Path, folder: Path, key: Path) -> None:
        self.namespace = namespace
        self.root = folder / f"root-{namespace.name}"
        self.key = key
        subprocess.run(["cp", "-a", "--reflink=auto", str(root), str(self.root)], check=True)
        home = self.root / "root/.ssh"
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())
        self._process: Process | None = None

    def boot(self) -> None:
        """Start it, and wait until sshd answers."""
        # Not through `ip netns exec`, whose mounts systemd-nspawn could not use.
        self._process = Process([
            "systemd-nspawn", "-q", "-D", str(self.root), "--boot", "--register=no", "--keep-unit",
            f"--network-namespace-path=/run/netns/{self.namespace.name}", "--bind=/dev/net/tun",
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW", "-M", self.namespace.name,
        ])  # fmt: skip
        deadline = time.monotonic() + BOOT_SECONDS
        while "running" not in self.ssh("systemctl is-system-running", check=False):
            assert time.monotonic() < deadline, self._process.output
            assert self._process.alive, self._process.output
            time.sleep(0.2)

    def ssh(self, command: str, *, check: bool = True) -> str:
        """What a shell command prints on the host."""
        return self.namespace.run(
            "ssh", "-i", str(self.key), *SSH, f"root@{self.namespace.addresses[0]}", command, check=check
        )

    def off(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            # With its process 1 every process of a host ends; they would outlive systemd-nspawn.
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            for child in children.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            self._process.kill()
            self._process = None

    def files(self) -> set[str]:
        """Every file outside of logs, caches and what systemd keeps of its services."""
        skipped = [
            "/var/log",
            "/var/cache",
            "/var/lib/systemd",
            "/var/tmp",
            "/proc",
            "/run",
            "/sys",
            "/dev",
            "/tmp",
        ]
        tests = " -o ".join([*(f"-path {folder}" for folder in skipped), "-name __pycache__"])
        return set(self.ssh(f"find / -xdev \\( {tests} \\) -prune -o -print").splitlines())
