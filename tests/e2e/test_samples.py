"""The samples for several computers, each computer a namespace that has the address the file gives it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import sys
from pathlib import Path

import pytest

import tmelink
from tests.e2e import guests
from tests.support.netns import Namespace, Net, Process
from tests.support.samples import with_made_keys
from tmelink.elements.builtin.host import Host
from tmelink.resources import folder

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]

MACHINES = folder("machines")

SEED_LAB = """
host one address 192.168.0.1 {
    machine a {
        tap1: tme/host/tun/tap interface tap0 inet 10.0.78.1 netmask 255.255.255.0 bcast 10.0.78.255
        link2 at tap1: tme/host/openvpn/socket/link --dev tap \\
            --local 192.168.0.1 --remote 192.168.0.2 --proto tcp-server
        le0: tmelink/host inet 10.0.78.11/24
        bpf1 at le0: tme/host/bsd/bpf interface tap0
    }
    machine b {
        link3: tme/host/openvpn/socket/link --dev tap --local 192.168.0.1 --lport 1195 --remote 192.168.0.2
        le0: tmelink/host inet 10.0.78.12/24
        bpf1 at le0: tme/host/bsd/bpf interface tap0
        bpf2 at link3: tme/host/bsd/bpf interface tap0
    }
}
host two address 192.168.0.2 {
    machine c {
        le0: tmelink/host inet 10.0.78.13/24
        link4 at le0: tme/host/openvpn/socket/link --dev tap \\
            --local 192.168.0.2 --remote 192.168.0.1 --proto tcp-client
    }
    machine d {
        le0: tmelink/host inet 10.0.78.14/24
        link5 at le0: tme/host/openvpn/socket/link --dev tap --local 192.168.0.2 --remote 192.168.0.1 1195
    }
}
"""
"""TME's own wiring: its link sits on the TAP itself, so of the machines only c reaches host one."""

ALL_FOUR = {"a": "10.0.78.11", "b": "10.0.78.12", "c": "10.0.78.13", "d": "10.0.78.14"}


def computers(net: Net, count: int) -> list[Namespace]:
    """Namespaces on one network, with the samples' addresses."""
    hosts = net.internet(count)[:count] if count > 2 else list(net.pair())
    for number, host in enumerate(hosts, 1):
        host.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
    return hosts


def run_sample(computer: Namespace, name: str, *options: str, directory: Path = MACHINES) -> Process:
    process = computer.start(sys.executable, "-m", "tmelink", "run", *options, name, cwd=directory)
    process.expect("running:")
    return process


def end(*processes: Process) -> None:
    """Each ends well when it is asked to."""
    for process in processes:
        assert process.stop() == 0, process.output
        assert "Traceback" not in process.output


def test_two_peers_share_an_ethernet(net: Net) -> None:
    a, b = computers(net, 2)
    one = run_sample(a, "peer-a.conf")
    two = run_sample(b, "peer-b.conf")
    assert re.search(r"\btap0\b.*\b10\.0\.77\.1/24", a.run("ip", "-br", "addr"))
    a.ping("10.0.77.2")
    b.ping("10.0.77.1", size=1472)
    end(one, two)
    assert a.interfaces() == b.interfaces() == ["lo", "eth0"]


@pytest.mark.parametrize("wiring", ["lab.conf", "as TME has it"])
def test_the_lab_joins_its_four_machines(net: Net, wiring: str) -> None:
    one, two = computers(net, 2)
    file = net.directory / "lab.conf"
    if wiring == "lab.conf":
        with_made_keys(MACHINES / "lab.conf", net.directory, "one", "two")
    else:
        file.write_text(SEED_LAB)
    there = run_sample(two, str(file), "--host", "two")

    async def main() -> dict[str, int]:
        """Host one in this process, to have its machines ping."""
        async with tmelink.load(file, host="one").run() as lab:
            for up in ("link4: up: ", "link5: up: ") if wiring == "lab.conf" else ("link4: connected",):
                await asyncio.to_thread(there.expect, up)
            answered = {}
            for pinging in "ab":
                machine = lab[f"/{pinging}/le0"]
                assert isinstance(machine, Host)
                for pinged, address in ALL_FOUR.items():
                    if pinged != pinging:
                        result = await machine.ping(address, count=2, interval=0.01)
                        answered[pinging + pinged] = result.received
            if wiring == "lab.conf":
                for address in ALL_FOUR.values():
                    await asyncio.to_thread(one.ping, address, count=2)
        return answered

    assert one.call(main) == dict.fromkeys(("ab", "ac", "ad", "ba", "bc", "bd"), 2)
    end(there)
    assert one.interfaces() == two.interfaces() == ["lo", "eth0"]


@pytest.mark.needs("qemu-system-x86_64", "busybox")
def test_two_machines_in_qemu_ping_each_other(net: Net) -> None:
    guests.build()
    pair = run_sample(net.namespace(), "qemu-pair.conf")
    for name, other in (("vm0", "10.0.77.2"), ("vm1", "10.0.77.1")):
        pair.expect(f"{name}: console: 64 bytes from {other}", timeout=guests.BOOT_SECONDS)
    end(pair)


STAND_INS = {
    "attic": """
        vde: tmelink/vde attic.vde
        behind-vde at vde: tmelink/host inet 10.0.79.21/24
        simh: tmelink/udp local "127.0.0.1:5002" remote "127.0.0.1:5001"
        behind-udp at simh: tmelink/host inet 10.0.79.22/24
        medley: tmelink/stream connect "127.0.0.1:3333" framing be16
        behind-nethub at medley: tmelink/host inet 10.0.79.25/24
    """,
    "cellar": """
        qemu: tmelink/qemu/stream connect "127.0.0.1:5010"
        behind-stream at qemu: tmelink/host inet 10.0.79.23/24
        plug: tmelink/vde cellar.vde
        behind-plug at plug: tmelink/host inet 10.0.79.24/24
        box: tmelink/86box secret retro local 192.168.0.2
        behind-box at box: tmelink/host inet 10.0.79.26/24
    """,
}
"""Machines in the places of emulators that are not installed or take long to start."""


def house_of_hecnet_is_heard(host: Namespace, emulator: Namespace) -> None:
    """DECnet's hello of the house whose address the file has reaches an emulator in another house."""
    hello = bytes.fromhex("ab0000040000aa00040001046003") + bytes(46)
    host.run("ip", "addr", "add", "198.51.100.4/32", "dev", "lo")

    async def say() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bridge:
            bridge.bind(("198.51.100.4", 4711))
            bridge.sendto(hello, ("192.168.0.1", 4711))

    with emulator.capture("le0", "ether", "proto", "0x6003", packets=1) as capture:
        host.call(say)
    assert capture.packets == [hello]


@pytest.mark.needs("qemu-system-x86_64", "busybox", "vde_switch", "passt", "tcpdump")
def test_retronet_joins_every_kind_of_emulator_on_three_computers(net: Net) -> None:
    guests.build()
    hosts = computers(net, 3)
    directory = net.directory / "machines"
    directory.mkdir()
    (net.directory / "examples").symlink_to(guests.GUEST.parent)
    console = net.directory / "vm0"
    # The guest is to be told what to do, so its console is not the log.
    file = with_made_keys(MACHINES / "retronet.conf", directory, "attic", "cellar", "office")
    file.write_text(file.read_text().replace("console log", f'console "{console}"'))
    emulators = [net.namespace() for _ in hosts]
    for number, (host, emulator) in enumerate(zip(hosts, emulators, strict=True), 1):
        host.run("ip", "link", "add", "br0", "type", "bridge")
        host.run("ip", "link", "set", "br0", "up")
        # What an emulator has: a wire of its own into the computer's bridge.
        host.run("ip", "link", "add", "emu0", "type", "veth", "peer", "name", "le0", "netns", emulator.name)
        host.run("ip", "link", "set", "emu0", "master", "br0", "up")
        emulator.run("ip", "link", "set", "le0", "up")
        emulator.run("ip", "addr", "add", f"10.0.79.{number}/24", "dev", "le0")
    attic, cellar, office = hosts
    # passt takes its bearings from the default route.
    attic.run("ip", "route", "add", "default", "via", "192.168.0.2")
    page = net.directory / "page"
    page.write_bytes(bytes(range(256)) * 500)
    web = office.start(
        sys.executable, "-u", "-m", "http.server", "-b", "192.168.0.3", "80", "-d", str(net.directory)
    )
    web.expect("Serving")
    attic.start("vde_switch", "-s", "attic.vde", "-x", cwd=directory)
    running = [
        run_sample(host, "retronet.conf", "--host", name, directory=directory)
        for host, name in zip(hosts, ("attic", "cellar", "office"), strict=True)
    ]
    for name, host in (("attic", attic), ("cellar", cellar)):
        (directory / f"{name}-emulators.conf").write_text(STAND_INS[name])
        running.append(run_sample(host, f"{name}-emulators.conf", directory=directory))
    running[3].expect("vde: up")
    running[4].expect("plug: up")
    running[4].expect("qemu: up")
    running[2].expect("office-link: connected")
    vm0 = guests.Console(console)
    vm0.connect()
    vm0.ready()
    for emulator in emulators:
        for number in (1, 2, 3, 11, 21, 22, 23, 24, 25, 26):
            emulator.ping(f"10.0.79.{number}", count=2)
    house_of_hecnet_is_heard(cellar, emulators[2])
    assert vm0.fetched("http://192.168.0.3/page") == hashlib.sha256(page.read_bytes()).hexdigest()
    vm0.close()
    end(*reversed(running))
    for host in hosts:
        # The bridge and what was plugged into it are the user's, and stay.
        assert host.interfaces() == ["lo", "eth0", "br0", "emu0"]
