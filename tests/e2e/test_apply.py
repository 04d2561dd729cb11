"""A file is applied again and again beside iperf3: whatever a change does not name loses not one frame."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.netns import Namespace, Net, Process
from tmelink import control

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "iperf3")]

LINK = "tme/host/openvpn/socket/link --dev tap"

SECONDS = 8
"""Of traffic: time for every change, each of which is made in some hundredths of a second."""

RATE = "8M"
"""Bits a second, far below what a busy computer carries: only what a change costs may be lost."""


def end(own: int, other: int) -> str:
    """A TAP on a link to the other computer: what nobody touches."""
    return (
        f"tap0: tme/host/tun/tap interface t0 inet 10.9.0.{own}/24\n"
        f"link0 at tap0: {LINK} --local 10.1.0.{own} --remote 10.1.0.{other} --ping 1 --rcvbuf 4000000\n"
    )


REST = f"""\
sw0: tmelink/switch
sw1: tmelink/switch
le0 at sw0: tmelink/host inet 10.8.0.1/24
le1 at sw0: tmelink/host inet 10.8.0.2/24
tap1 at sw0: tme/host/tun/tap interface t1 inet 10.7.0.1/24
other at sw0: {LINK} --local 127.0.0.1 --lport 4000 --remote 127.0.0.1 9
program: tmelink/process restart never sleep 600
"""


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return change


CHANGES: dict[str, tuple[Callable[[str], str], list[str]]] = {
    "add an element": (lambda text: f"{text}le2 at sw0: tmelink/nic\n", ["add le2"]),
    "add a TAP": (lambda text: f"{text}tap2 at sw0: tme/host/tun/tap interface t2\n", ["add tap2"]),
    "remove an element": (replaced("le1 at sw0: tmelink/host inet 10.8.0.2/24\n", ""), ["remove le1"]),
    "rename an element": (replaced("le1 at", "station at"), ["remove le1", "add station"]),
    "an option of a link": (replaced("--lport 4000", "--lport 4000 --ping 3"), ["replace other"]),
    "another peer of a link": (replaced("127.0.0.1 9\n", "127.0.0.1 10\n"), ["replace other"]),
    "an option of a TAP": (replaced("10.7.0.1/24", "10.7.0.2/24 mtu 1400"), ["replace tap1"]),
    "an option of a process": (replaced("sleep 600", "sleep 601"), ["replace program"]),
    "an option of a switch": (
        replaced("sw0: tmelink/switch", "sw0: tmelink/switch ageing 9"),
        ["replace sw0"],
    ),
    "an option of a host": (replaced("10.8.0.2/24", "10.8.0.3/24"), ["replace le1"]),
    "connect elsewhere": (
        replaced("le1 at sw0", "le1 at sw1"),
        ["disconnect le1 at sw0", "connect le1 at sw1"],
    ),
    "one connection more": (lambda text: f"{text}sw0 at sw1\n", ["connect sw0 at sw1"]),
    "another module": (
        replaced("le1 at sw0: tmelink/host inet 10.8.0.2/24", "le1 at sw0: tmelink/nic"),
        ["replace le1"],
    ),
}


@pytest.fixture
def labs(net: Net) -> tuple[Namespace, Namespace]:
    """Two computers, each with a lab: `one`, whose file changes, and `two`."""
    a, b = net.pair()
    b.tmelink(end(2, 1), "--name", "two")
    (net.directory / "one.conf").write_text(end(1, 2) + REST)
    lab = a.start(sys.executable, "-m", "tmelink", "run", str(net.directory / "one.conf"))
    lab.expect("running:")
    lab.expect("link0: up")
    for space in (a, b):
        space.run("ip", "link", "set", "t0", "txqueuelen", "10000")
    return a, b


def test_changes_beside_traffic_cost_what_they_do_not_name_no_frame(
    labs: tuple[Namespace, Namespace], net: Net
) -> None:
    a, b = labs
    file = net.directory / "one.conf"
    text = file.read_text()
    a.ping("10.9.0.2")
    before = [_dropped(name) for name in ("one", "two")]
    server = b.start("iperf3", "--forceflush", "-s", "-1")
    server.expect("listening")
    client = a.start("iperf3", "-J", "-c", "10.9.0.2", "-u", "-b", RATE, "-l", "1000", "-t", str(SECONDS))
    with control.connect("one") as lab:
        _flows(lab)
        begun = time.monotonic()
        for kind, (change, expected) in CHANGES.items():
            file.write_text(change(text))
            assert _applied(lab) == expected, kind
            file.write_text(text)
            assert _applied(lab), "and back"
        seconds = time.monotonic() - begun
        assert client.alive, f"there was traffic to the end, for {seconds:.1f} s"
    summary = _summary(client)["end"]["sum"]
    lost = f"{summary['lost_packets']} of {summary['packets']:,} datagrams lost"
    print(f"{2 * len(CHANGES)} changes in {seconds:.1f} s, {lost}")
    assert summary["packets"] > 100 * SECONDS
    assert summary["lost_packets"] == 0
    assert [_dropped(name) for name in ("one", "two")] == before


def _flows(lab: control.Client) -> None:
    """Wait until iperf3 sends."""
    before = _wire(lab)["wire sent"]["frames"]
    until = time.monotonic() + 20
    while _wire(lab)["wire sent"]["frames"] < before + 200:
        assert time.monotonic() < until, "iperf3 does not send"
        time.sleep(0.05)


def _wire(lab: control.Client) -> dict[str, Any]:
    (row,) = lab.call("status", element="link0")["elements"]
    counters: dict[str, Any] = row["counters"]
    return counters


def _applied(lab: control.Client) -> list[str]:
    done = lab.call("apply", wait=60)
    assert done["failed"] == {}
    return [f"{change['kind']} {change['what']}" for change in done["changes"]]


def _summary(client: Process) -> dict[str, Any]:
    assert client.wait(SECONDS + 30) == 0, client.output
    summary: dict[str, Any] = json.loads(client.output)
    return summary


def _dropped(name: str) -> dict[str, int]:
    """What the link and its TAP have dropped, whichever way."""
    with control.connect(name) as lab:
        status = lab.call("status")
    counters = [c for row in status["elements"] if row["name"] == "link0" for c in row["counters"].values()]
    for row in status["connections"]:
        if "tap0" in (row["from"], row["to"]):
            counters += [row["sent"], row["received"]]
    return {reason: count for each in counters for reason, count in each["drops"].items()}
