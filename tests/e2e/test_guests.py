"""Guests in QEMU on two hosts, joined by links: every format carries pings and a file, and all heals.

Each guest has a card for each format, and each format a link of its own between the hosts:

    one:  vm0 -- tmelink/qemu's stream    == 1194 ==  tmelink/qemu/stream (unix) -- vm1    10.0.80.0/24  eth0
          vm0 -- tmelink/qemu's dgram     == 1195 ==  tmelink/qemu/dgram (unix)  -- vm1    10.0.81.0/24  eth1
          vm0 -- vde_switch -- tmelink/vde == 1196 == tmelink/vde listen         -- vm1    10.0.82.0/24  eth2
          vm0 -- tmelink/qemu/multicast   == 1197 ==  tmelink/udp                -- vm1    10.0.83.0/24  eth3
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import guests
from tests.e2e.guests import Console
from tests.support.netns import Namespace, Process, network

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("ip", "qemu-system-x86_64", "busybox", "vde_switch", "vde_plug"),
]

FORMATS = {"stream": 0, "dgram": 1, "vde": 2, "multicast and udp": 3}

GONE_SECONDS = 10
"""For processes to end after the one that started them."""


def links(local: str, remote: str, *sides: str) -> str:
    """A link for each format; `sides` are what it is connected to."""
    return "\n".join(
        f"link{n} at {side}: tme/host/openvpn/socket/link --dev tap --local {local} --lport {1194 + n} "
        f"--remote {remote} {1194 + n}"
        for n, side in enumerate(sides)
    )


def device(netdev: str, number: int, mac: int) -> str:
    return (
        f"-netdev {netdev},id=x{number} -device virtio-net-pci,netdev=x{number},mac=52:54:00:77:00:{mac:02x}"
    )


class Lab:
    """Both hosts, what runs on them, and the guests' consoles."""

    def __init__(self, one: Namespace, two: Namespace, directory: Path) -> None:
        self.one, self.two, self.directory = one, two, directory
        self.switch = one.start("vde_switch", "-s", str(directory / "switch"), "-x")
        self.processes: dict[str, Process] = {}
        self.consoles = {name: Console(directory / name) for name in ("vm0", "vm1")}

    def start(self) -> None:
        d = self.directory
        extra = (
            device(f"vde,sock={d}/switch", 0, 3)
            + " "
            + device("socket,mcast=230.0.0.1:7000,localaddr=10.1.0.1", 1, 4)
        )
        self.processes["vm0"] = self.one.tmelink(
            f"""
            {guests.machine("vm0", d / "vm0", "guest.inet=10.0.80.1/24", extra)}
            plug: tmelink/vde "{d}/switch"
            group: tmelink/qemu/multicast "230.0.0.1:7000" local 10.1.0.1
            {links("10.1.0.1", "10.1.0.2", "vm0", "vm0 format dgram", "plug", "group")}
            """,
            "-v",
        )
        extra = " ".join(
            (
                device(f"stream,server=off,addr.type=unix,addr.path={d}/s", 0, 11),
                device(f"dgram,local.type=unix,local.path={d}/d1,remote.type=unix,remote.path={d}/d0", 1, 12),
                device(f"vde,sock={d}/vde", 2, 13),
                device(
                    "dgram,local.type=inet,local.host=127.0.0.1,local.port=7001,"
                    "remote.type=inet,remote.host=127.0.0.1,remote.port=7002",
                    3,
                    14,
                ),
            )
        )
        self.processes["vm1"] = self.two.tmelink(
            f"""
            stream0: tmelink/qemu/stream server "{d}/s"
            dgram0: tmelink/qemu/dgram local "{d}/d0" remote "{d}/d1"
            vde0: tmelink/vde listen "{d}/vde"
            udp0: tmelink/udp local "127.0.0.1:7002" remote "127.0.0.1:7001"
            {links("10.1.0.2", "10.1.0.1", "stream0", "dgram0", "vde0", "udp0")}
            {guests.machine("vm1", d / "vm1", "guest.inet=10.0.80.2/24", extra)}
            """,
            "-v",
        )
        for name in self.consoles:
            self.boot(name)

    def boot(self, name: str) -> None:
        """Wait for a guest, and give it the addresses that its kernel's command line does not."""
        console = self.consoles[name]
        console.connect()
        console.ready()
        for number in (1, 2, 3):
            address = f"10.0.8{number}.{1 if name == 'vm0' else 2}/24"
            console.run(f"ip link set eth{number} up; ip addr add {address} dev eth{number}")

    def qemu(self, name: str, since: int = 0) -> int:
        """The process that emulates a guest, as the log tells."""
        line = self.processes[name].expect("QEMU runs as process", since=since)
        return int(re.findall(r"process (\d+)", line)[0])

    def reach(self, number: int) -> None:
        """Both guests reach each other in a format's network."""
        try:
            self.consoles["vm0"].ping(f"10.0.8{number}.2")
            self.consoles["vm1"].ping(f"10.0.8{number}.1")
        except AssertionError as error:
            logs = "\n\n".join(process.output for process in self.processes.values())
            raise AssertionError(f"{error}\n{logs}") from None

    def close(self) -> None:
        for console in self.consoles.values():
            console.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    guests.build()
    with network() as net:
        lab = Lab(*net.pair(), net.directory)
        try:
            lab.start()
            yield lab
        finally:
            lab.close()


@pytest.mark.parametrize("number", FORMATS.values(), ids=FORMATS)
def test_guests_ping_and_copy_a_file(lab: Lab, number: int) -> None:
    lab.reach(number)
    vm0, vm1 = lab.consoles["vm0"], lab.consoles["vm1"]
    assert vm1.fetched(f"http://10.0.8{number}.1/file") == vm0.digest()
    assert vm0.fetched(f"http://10.0.8{number}.2/file") == vm1.digest()


def test_a_guests_reboot_leaves_its_link_in_place(lab: Lab) -> None:
    before = lab.qemu("vm0")
    written = len(lab.processes["vm0"].lines)
    lab.consoles["vm0"].run("(sleep 0.2; reboot -f) & true")
    lab.processes["vm0"].expect("guest: reset", since=written)
    lab.boot("vm0")
    for number in FORMATS.values():
        lab.reach(number)
    assert lab.qemu("vm0") == before
    assert os.path.exists(f"/proc/{before}")


@pytest.mark.parametrize("name", ["vm0", "vm1"])
def test_a_qemu_that_dies_is_started_again_and_all_heals(lab: Lab, name: str) -> None:
    before = lab.qemu(name)
    written = len(lab.processes[name].lines)
    os.kill(before, signal.SIGKILL)
    lab.processes[name].expect("ended by SIGKILL.*starting again in 1 s", since=written)
    assert lab.qemu(name, since=written) != before
    lab.boot(name)
    for number in FORMATS.values():
        lab.reach(number)


def test_vde_plug_joins_what_tmelink_offers(lab: Lab) -> None:
    """A cable of VDE's own between tmelink's plugs and a vde_switch, behind which a third machine is."""
    d, written = lab.directory, len(lab.processes["vm1"].lines)
    switch = lab.two.start("vde_switch", "-s", str(d / "other"), "-x")
    far = lab.two.tmelink(f'far: tmelink/vde "{d}/other"\nle0: tmelink/host inet 10.0.82.9/24\nfar at le0')
    far.expect("far: up")
    cable = lab.two.start("vde_plug", str(d / "vde"), str(d / "other"))
    lab.processes["vm1"].expect("plugged into port", since=written)
    for console in lab.consoles.values():
        console.ping("10.0.82.9")
    cable.stop()
    lab.processes["vm1"].expect("pulled from port", since=written)
    switch.stop()
    far.expect("far: down")
    switch = lab.two.start("vde_switch", "-s", str(d / "other"), "-x")
    far.expect("far: up", since=len(far.lines) - 1)
    far.stop()
    switch.stop()


def test_everything_ends_with_tmelink(lab: Lab) -> None:
    pids = {name: lab.qemu(name) for name in ("vm0", "vm1")}
    lab.close()
    gentle, killed = lab.processes["vm0"], lab.processes["vm1"]
    last = [
        int(re.findall(r"process (\d+)", line)[0])
        for p in (gentle, killed)
        for line in p.lines
        if "QEMU runs as process" in line
    ]
    assert gentle.stop() == 0
    assert "guest: shutdown (host-qmp-quit)" in gentle.output
    os.kill(int(killed.pid), signal.SIGKILL)
    until = time.monotonic() + GONE_SECONDS
    while any(running(pid) for pid in (*pids.values(), *last)):
        assert time.monotonic() < until, "QEMU outlived tmelink"
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
