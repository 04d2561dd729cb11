"""passt, started by an ordinary user: a guest reaches a web server outside, and nobody else is disturbed."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import guests
from tests.e2e.guests import Console
from tests.support.netns import Namespace, Net, Process, network

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("ip", "qemu-system-x86_64", "busybox", "passt", "setpriv"),
]

NOBODY = 65534


class Lab:
    """A host with tmelink and one guest, and a host with a web server."""

    def __init__(self, here: Namespace, outside: Namespace, directory: Path) -> None:
        self.here, self.outside, self.directory = here, outside, directory
        self.console = Console(directory / "vm0")
        # passt takes its bearings from the default route.
        here.run("ip", "route", "add", "default", "via", "10.1.0.2")
        content = os.urandom(300_000)
        self.digest = hashlib.sha256(content).hexdigest()
        (directory / "page").write_bytes(content)
        serving = outside.start(
            sys.executable, "-u", "-m", "http.server", "-b", "10.1.0.2", "80", "-d", str(directory)
        )
        serving.expect("Serving")

    def start(self) -> Process:
        """As an ordinary user, who has no capability and whose files they are."""
        directory = self.directory
        for path in (directory, *directory.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        file = directory / "lab.conf"
        file.write_text(
            f"""
            {guests.machine("vm0", directory / "vm0")}
            own at vm0: tmelink/passt
            sw0: tmelink/switch
            vm0 at sw0
            shared at sw0: tmelink/passt inet 10.0.79.5/24 gateway 10.0.79.1
            other at sw0: tmelink/host inet 10.0.79.6/24
            same at sw0: tmelink/host inet 10.0.79.7/24
            """
        )
        lab = self.here.start(
            "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all",
            sys.executable, "-m", "tmelink", "run", str(file),
        )  # fmt: skip
        lab.expect("running:")
        return lab


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[Lab, Process]]:
    guests.build()
    with network() as net:
        lab = Lab(*net.pair(), net.directory)
        process = lab.start()
        lab.console.connect()
        try:
            lab.console.ready()
            lab.console.run("ip link set eth1 up; ip addr add 10.0.79.5/24 dev eth1")
            yield lab, process
        finally:
            lab.console.close()


def test_a_guest_on_its_own_passt_gets_an_address_and_reaches_the_outside(lab: tuple[Lab, Process]) -> None:
    """By DHCP, with an MTU that fits an Ethernet."""
    own = lab[0]
    assert "10.1.0.1/24" in own.console.run("ip addr show eth0")
    assert "mtu 1500" in own.console.run("ip link show eth0")
    assert own.console.fetched("http://10.1.0.2/page") == own.digest


def test_a_machine_on_a_switch_is_served_and_the_others_left_alone(lab: tuple[Lab, Process]) -> None:
    shared, console = lab[0], lab[0].console
    console.run("ip link set eth0 down; ip route add default via 10.0.79.1")
    assert console.fetched("http://10.1.0.2/page") == shared.digest
    # passt answers ARP for every address that it does not know for the machine's; here it is not asked.
    neighbours = {}
    for address in ("10.0.79.6", "10.0.79.7"):
        console.ping(address)
        neighbours[address] = console.run(f"ip neigh show {address}").split()[4]
    gateway = console.run("ip neigh show 10.0.79.1").split()[4]
    assert len({gateway, *neighbours.values()}) == 3


def test_passt_is_started_again_and_ends_with_tmelink(lab: tuple[Lab, Process]) -> None:
    own, process = lab
    first = pids(process)
    assert len(first) == 2
    written = len(process.lines)
    os.kill(first[-1], 9)
    process.expect("ended by SIGKILL", since=written)
    process.expect("passt runs as process", since=written)
    own.console.ping("10.0.79.6")
    assert process.stop() == 0, process.output
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids(process))


def pids(process: Process) -> list[int]:
    return [int(line.split()[-1]) for line in process.lines if "passt runs as process" in line]


def test_without_a_default_route_the_reason_is_told_once_and_passt_starts_when_there_is_one(net: Net) -> None:
    a, b = net.pair()
    lab = a.tmelink("le0: tmelink/host inet 10.0.79.5/24\nout at le0: tmelink/passt\n")
    lab.expect("out: down: .*passt takes its addresses from this computer's default route")
    written = len(lab.lines)
    a.run("ip", "route", "add", "default", "via", b.addresses[0])
    lab.expect("out: up: passt runs as process", since=written)
    assert lab.output.count("takes its addresses") == 1
    assert len(re.findall("No external routable interface for IPv4$", lab.output, re.MULTILINE)) <= 1
