"""A mesh of ten hosts without a hub, from one file, each host a namespace: no loop, and no host is missed."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from tests.support.netns import Namespace, Net, Process

HOSTS = 10

SETTLED = 30
"""Seconds for ten programs to start talking, and for what a loop has taught to be forgotten."""

BEGUN = 90
"""Seconds for ten programs to start at once on a computer that is busy otherwise."""

pytestmark = pytest.mark.needs_root


def mesh() -> str:
    """Each host has a TAP at its switch and a link to every other host; two have a second link, a loop."""
    lines: list[str] = []
    for here in range(1, HOSTS + 1):
        lines += [
            f"host h{here} address 10.1.0.{here} {{",
            f"    sw{here}: tmelink/switch",
            f"    tap{here} at sw{here}: tme/host/tun/tap interface tap0 inet 10.7.0.{here}/24",
        ]
        for there in range(1, HOSTS + 1):
            if there != here:
                lines.append(f"    l{here}-{there} at sw{here} mesh houses: {link(here, there, 5000)}")
        if here <= 2:
            lines.append(f"    second{here} at sw{here}: {link(here, 3 - here, 6000)}")
        lines.append("}")
    return "\n".join(lines) + "\n"


def link(here: int, there: int, port: int) -> str:
    ends = f"--local 10.1.0.{here} --lport {port + there} --remote 10.1.0.{there} {port + here}"
    return f"tme/host/openvpn/socket/link --dev tap {ends}"


def run(host: Namespace, number: int, file: Path) -> Process:
    """The part of one host, under way."""
    return host.start(sys.executable, "-m", "tmelink", "run", "--host", f"h{number}", str(file))


def answered(host: Namespace, to: int) -> int:
    """How many of a few pings are answered; 0 where an answer comes twice."""
    said = host.run("ping", "-c", "3", "-i", "0.1", "-W", "1", f"10.7.0.{to}", check=False)
    if "DUP" in said:
        return 0
    found = re.search(r"(\d+) received", said)
    return int(found[1]) if found else 0


def reached(host: Namespace, to: int) -> None:
    """Ping until all is answered; a single ping would end with what ARP has failed at before."""
    deadline = time.monotonic() + SETTLED
    while answered(host, to) < 3:
        assert time.monotonic() < deadline, f"10.7.0.{to} does not answer"


def frames(host: Namespace) -> int:
    """Frames that a TAP has been given."""
    return int(host.run("cat", "/sys/class/net/tap0/statistics/rx_packets"))


def test_ten_hosts_without_a_hub_and_one_of_them_is_killed(net: Net) -> None:
    *hosts, _hub = net.internet(HOSTS)
    file = net.directory / "mesh.conf"
    file.write_text(mesh())
    processes = [run(host, number, file) for number, host in enumerate(hosts, 1)]
    for process in processes:
        process.expect("running:", timeout=BEGUN)
    reached(hosts[0], 2)
    assert any("is cut until the loop is gone" in process.output for process in processes[:2])
    # Everybody is one link away from everybody once the cut has settled, and nothing circulates.
    deadline = time.monotonic() + SETTLED
    while not all(
        answered(host, (at + far) % HOSTS + 1) == 3 for at, host in enumerate(hosts) for far in (1, 5)
    ):
        assert time.monotonic() < deadline, "they do not settle"
    before = [frames(host) for host in hosts]
    hosts[2].run("ping", "-c", "10", "-i", "0.01", "-W", "0.3", "-b", "10.7.0.255", check=False)
    heard = [frames(host) - was for host, was in zip(hosts, before, strict=True)]
    assert all(count < 40 for count in heard), heard
    # One is gone without a word; the others miss nothing.
    processes[4].kill()
    for number in (0, 3, 6, 9):
        for to in (1, 2, 7, 8):
            if to != number + 1:
                assert answered(hosts[number], to) == 3
    assert answered(hosts[0], 5) == 0
    # And it comes back.
    run(hosts[4], 5, file).expect("running:")
    reached(hosts[0], 5)
    assert answered(hosts[7], 5) == 3
