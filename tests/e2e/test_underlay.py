"""What happens around a link while it is up: at its interfaces, addresses and names, and to either process.

A link has to carry frames again by itself after each, without its lab being touched.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import Namespace, Net, Process

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "nft")]

LINK = "tme/host/openvpn/socket/link --dev tap"

STOPPED_SECONDS = 2.0
"""Longer than the link's own `--ping`, shorter than its `--ping-restart`."""

RENEWED_SECONDS = 12.0
"""For a name that leads elsewhere to be followed: names are looked up every 10 s."""


def link_local(namespace: Namespace) -> str:
    """The link-local address of eth0."""
    words = namespace.run("ip", "-6", "-br", "address", "show", "dev", "eth0", "scope", "link").split()
    return words[2].partition("/")[0]


def reaches(
    namespace: Namespace, address: str, *, size: int = 56, within: float = 20.0, after: str = ""
) -> float:
    """After how many seconds a ping is answered; fails where none is in time."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < within:
        said = namespace.run("ping", "-c", "1", "-W", "1", "-s", str(size), address, check=False)
        if " 0% packet loss" in said:
            return passed
    raise AssertionError(f"{namespace.name} does not reach {address} after: {after}\n{said}")


@pytest.fixture
def settled(net: Net) -> tuple[Namespace, Namespace]:
    """Two computers on one wire, whose link-local addresses may be used at once."""
    a, b = net.namespace(), net.namespace()
    for space in (a, b):
        space.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
    wire(a, b)
    return a, b


def change(namespace: Namespace, *commands: str) -> None:
    """Commands of ip(8), in one go."""
    namespace.run("ip", "-b", "-", input="\n".join((*commands, "")))


def wire(a: Namespace, b: Namespace) -> None:
    """The wire between the two, and their addresses on it."""
    a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name)
    for number, space in enumerate((a, b), 1):
        change(
            space,
            f"link set eth0 address 02:00:00:00:01:0{number} up",
            f"address add 10.1.0.{number}/24 dev eth0",
            f"address add fd01::{number}/64 dev eth0 nodad",
        )


def test_a_link_outlives_what_happens_around_it(settled: tuple[Namespace, Namespace]) -> None:
    """Over link-local addresses with their interface, and over IPv4 with one end that may move."""
    a, b = settled

    def lab(own: Namespace, peer: Namespace, number: int) -> Process:
        remote = f"--remote {link_local(peer)}%eth0 1201" if number == 1 else "--float"
        four = "--remote 10.1.0.2 1202" if number == 1 else "--float"
        return own.tmelink(
            f"six: tme/host/tun/tap interface six inet 10.6.0.{number}/24 mtu 1500\n"
            f"link6 at six: {LINK} --proto udp6 {remote} --lport 1201 --tun-mtu 9000 --keepalive 1 10\n"
            f"four: tme/host/tun/tap interface four inet 10.4.0.{number}/24\n"
            f"link4 at four: {LINK} --proto udp4 {four} --lport 1202 --keepalive 1 10\n"
        )

    two, one = lab(b, a, 2), lab(a, b, 1)

    def both(after: str) -> None:
        for space, number in ((a, 2), (b, 1)):
            for kind in (6, 4):
                reaches(space, f"10.{kind}.0.{number}", after=after)

    def stopped(process: Process) -> None:
        process.signal(signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        process.signal(signal.SIGCONT)

    def made_again() -> None:
        a.run("ip", "link", "delete", "eth0")
        wire(a, b)

    happenings: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "TAPs down and up": lambda: change(
            a, *(f"link set {name} {how}" for how in ("down", "up") for name in ("six", "four"))
        ),
        "the wire down and up": lambda: change(b, "link set eth0 down", "link set eth0 up"),
        "another address of one's own": lambda: change(
            a, "address delete 10.1.0.1/24 dev eth0", "address add 10.1.0.9/24 dev eth0"
        ),
        "one process stopped": lambda: stopped(one),
        "the other process stopped": lambda: stopped(two),
        "the wire made again": made_again,
    }
    for name, happens in happenings.items():
        happens()
        both(name)
    for space in (a, b):
        space.run("ip", "link", "set", "eth0", "mtu", "9000")
        space.run("ip", "link", "set", "six", "mtu", "9000")
    reaches(a, "10.6.0.2", size=8900, after="MTU 9000")
    both("MTU 9000")
    for process in (one, two):
        assert process.stop() == 0, process.output


@contextlib.contextmanager
def hosts(namespace: Namespace) -> Iterator[Callable[[str], None]]:
    """A hosts file of the namespace's own; what is yielded writes another address of `peer.example` to it."""
    folder = Path("/etc/netns") / namespace.name
    folder.mkdir(parents=True)
    file = folder / "hosts"

    def write(address: str) -> None:
        # In place: the programs in the namespace have this very file mounted.
        file.write_text(f"127.0.0.1 localhost\n{address} peer.example\n")

    try:
        write("192.0.2.1")
        yield write
    finally:
        file.unlink()
        folder.rmdir()
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def test_another_address_in_the_hosts_file_is_followed(net: Net) -> None:
    a, b = net.pair()
    with hosts(a) as say:
        process = a.tmelink(
            "tap0: tme/host/tun/tap interface bare inet 10.9.0.1/24\n"
            "bare at tap0: tmelink/udp local 1301 remote peer.example:1301\n"
            "tap1: tme/host/tun/tap interface kept inet 10.8.0.1/24\n"
            f"link at tap1: {LINK} --proto udp4 --remote peer.example 1302 --lport 1302 --keepalive 1 3\n"
        )
        b.tmelink(
            "tap0: tme/host/tun/tap interface bare inet 10.9.0.2/24\n"
            "bare at tap0: tmelink/udp local 1301 remote 10.1.0.1:1301\n"
            "tap1: tme/host/tun/tap interface kept inet 10.8.0.2/24\n"
            f"link at tap1: {LINK} --proto udp4 --remote 10.1.0.1 1302 --lport 1302 --keepalive 1 3\n"
        )
        say("10.1.0.2")
        assert reaches(a, "10.9.0.2") < RENEWED_SECONDS
        assert reaches(a, "10.8.0.2") < RENEWED_SECONDS
        assert process.stop() == 0, process.output


ODD_NAMES = ("0", "a.b_c-d", "fifteen-letters", "eth0@x", "-dash", "ü", "$(id)", "'quoted'")


def test_interfaces_with_odd_names(net: Net) -> None:
    a = net.namespace()
    text = "".join(
        f't{n}: tme/host/tun/tap interface "{name}" inet 10.7.{n}.1/24\n' for n, name in enumerate(ODD_NAMES)
    )
    process = a.tmelink(text)
    listed = a.run("ip", "-o", "link")
    for n, name in enumerate(ODD_NAMES):
        assert f": {name}: " in listed
        a.ping(f"10.7.{n}.1", count=1)
    assert process.stop() == 0, process.output
    assert a.run("ip", "-o", "link").count("\n") == 1


def test_a_file_run_twice_leaves_nat_and_policy_routing_as_they_should_be(net: Net) -> None:
    """One after the other, and while the first runs, which keeps what is its own."""
    a, _ = net.pair()
    text = (
        "tap0: tme/host/tun/tap interface lan inet 10.7.0.1/24 policy-routing 77 router 10.7.0.2 nat eth0\n"
    )

    def state() -> list[str]:
        return [
            a.run(*command.split())
            for command in (
                "nft list ruleset",
                "ip rule",
                "ip -6 rule",
                "ip route show table all type unicast",
                "sysctl net.ipv4.ip_forward",
            )
        ]

    before = state()
    for beside in (True, False):
        first = a.tmelink(text)
        during = state()
        assert "masquerade" in during[0]
        assert "77" in during[1]
        if beside:
            file = a.directory / "again.conf"
            file.write_text(text)
            again = a.start(*first.arguments[4:7], "run", str(file))
            assert again.wait(60) == 1
            assert "lan" in again.output
            assert state() == during
        assert first.stop() == 0, first.output
        assert state() == before
