"""A host with a switch, an emulator's process and a guest in QEMU at its end of a link, and what they suffer.

The server's host pings the emulator through the link. A guest takes seconds to boot; what is measured for it
is how long QEMU takes to run again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.recovery import LONGEST
from tests.chaos.site import CLIENT_HOST, Site
from tests.e2e import guests
from tests.support.netns import Process

EMULATOR, GUEST = "10.8.0.3", "10.8.0.4"

PROGRAM = Path(__file__).with_name("emulator.py")

MARKS = {"emulator": os.fsencode(PROGRAM), "vm0": b"guest=vm0"}
"""What stands in the command lines of the programs."""

STEADY = 11.0
"""Seconds between two ends of one program: the supervisor takes it for one that cannot run otherwise."""

ENDED = 5.0
"""Seconds in which a program has to be gone after its tmelink was killed."""


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class EmulatedSite(Site):
    """Its client's host has emulators, and a small disk for everything that tmelink writes."""

    pinged = EMULATOR

    def start(self) -> Process:
        """Start the client's end, with its temporary files and the link's status on the small disk."""
        self._disk = self.directory / "disk"
        if not self._disk.exists():
            guests.build()
            self.directory.chmod(0o755)
            self._disk.mkdir()
            small = "size=256k,nr_inodes=64,mode=1777"
            subprocess.run(["mount", "-t", "tmpfs", "-o", small, "none", str(self._disk)], check=True)
            self._ended_last = dict.fromkeys(("emulator", "vm0"), 0.0)
        return self.run(
            "sw0: tmelink/switch\n"
            f"tap0 at sw0: tme/host/tun/tap interface tap0 inet {CLIENT_HOST}/24\n"
            f"link0 at sw0: {self.link} --status {self._disk}/link.status 1\n"
            f"emulator at sw0: tmelink/process user root {sys.executable} -IS {PROGRAM} "
            f'"{{socket}}" {EMULATOR}\n'
            f"{guests.machine('vm0 at sw0', self._disk / 'console', f'guest.inet={GUEST}/24')}\n",
            "env",
            f"TMPDIR={self._disk}",
        )

    def ended(self) -> None:
        """Nothing but the link's status is on the disk."""
        for pid in self._pids().values():
            self._gone(pid)
        left = [path.name for path in self._disk.iterdir() if path.name != "link.status"]
        if left:
            self.wrong(f"left behind: {left}")

    def close(self) -> None:
        """Remove the disk."""
        super().close()
        subprocess.run(["umount", "--lazy", str(self.directory / "disk")], check=False)

    def ping(self) -> str:
        """From the server's host, through the link and the switch."""
        return self.server.run("ping", "-c", "1", "-W", "0.2", self.pinged, check=False)

    def events(self) -> list[Callable[[], None]]:
        """Those of every site, and those of emulators that have run for a while."""
        found = [*super().events(), self._emulator_stopped, self._emulator_mad, self._guest_stopped]
        now = time.monotonic()
        if now > self._ended_last["emulator"] + STEADY:
            found += [self._emulator_killed, self._disk_full]
        if now > self._ended_last["vm0"] + STEADY:
            found.append(self._guest_killed)
        return found

    def _pids(self) -> dict[str, int]:
        """The programs that run now: the log tells of one that ended before only once it has stayed up."""
        found = {}
        for word in self.client.run("ip", "netns", "pids", self.client.name).split():
            try:
                line = Path(f"/proc/{word}/cmdline").read_bytes()
            except OSError:
                continue  # it has ended meanwhile
            for name, mark in MARKS.items():
                if mark in line:
                    found[name] = int(word)
        return found

    def _signal(self, name: str, number: signal.Signals) -> None:
        """Send a program a signal, once it runs."""
        until = time.monotonic() + LONGEST
        while (pid := self._pids().get(name)) is None:
            if time.monotonic() > until:
                self.wrong(f"'{name}' does not run")
                return
            time.sleep(0.02)
        os.kill(pid, number)

    def _gone(self, pid: int) -> None:
        until = time.monotonic() + ENDED
        while alive(pid):
            if time.monotonic() > until:
                self.wrong(f"process {pid} outlives its tmelink")
                return
            time.sleep(0.02)

    def _kill(self) -> None:
        """SIGKILL of tmelink, which its emulators do not outlive, and another start."""
        before = self._pids()
        self.calling.kill()
        for pid in before.values():
            self._gone(pid)
        self.calling = self.start()
        self._ended_last = dict.fromkeys(before, time.monotonic())

    def _emulator_killed(self) -> None:
        """The emulator is killed; it starts again after a second."""
        self._signal("emulator", signal.SIGKILL)
        self._ended_last["emulator"] = time.monotonic()

    def _emulator_stopped(self) -> None:
        """The emulator neither reads nor says anything for a while."""
        self._signal("emulator", signal.SIGSTOP)
        self.wait()
        self._signal("emulator", signal.SIGCONT)

    def _emulator_mad(self) -> None:
        """The emulator sends any bytes, breaks its stream, and connects anew."""
        self._signal("emulator", signal.SIGUSR1)

    def _guest_stopped(self) -> None:
        """QEMU neither reads nor says anything for a while."""
        self._signal("vm0", signal.SIGSTOP)
        self.wait()
        self._signal("vm0", signal.SIGCONT)

    def _guest_killed(self) -> None:
        """QEMU is killed; it starts again after a second, and the guest boots."""
        self._signal("vm0", signal.SIGKILL)
        killed = time.monotonic()
        while "vm0" in self._pids():
            time.sleep(0.02)
        while "vm0" not in self._pids() and time.monotonic() < killed + LONGEST:
            time.sleep(0.02)
        self.took("QEMU runs again", time.monotonic() - killed, self.promised)
        self._ended_last["vm0"] = time.monotonic()

    def _disk_full(self) -> None:
        """Nothing can be written where tmelink has its files, and meanwhile the emulator is killed."""
        with tempfile.TemporaryDirectory(dir=self._disk) as folder:
            _fill(Path(folder))
            self._signal("emulator", signal.SIGKILL)
            self._ended_last["emulator"] = time.monotonic()
            time.sleep(1.2)


def _fill(folder: Path) -> None:
    """Take every byte and every file that there is room for."""
    with open(folder / "bytes", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        for number in range(1000):
            (folder / str(number)).touch()
    except OSError:
        pass
