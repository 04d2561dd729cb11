"""A switch with `rstp` and a bridge of Linux's, and two cables between them: the older protocol."""

from __future__ import annotations

import re
import time

import pytest

from tests.support.netns import Namespace, Net

pytestmark = pytest.mark.needs_root

LAB = """
sw0: tmelink/switch rstp forward-delay 4 {priority}
one at sw0: tme/host/tun/tap interface one bridge br0
two at sw0: tme/host/tun/tap interface two bridge br0
le0 at sw0: tmelink/host inet 10.7.0.1/24
"""

LIMIT = 40
"""Seconds for a tree: twice the forward delay, and what an old word takes to be forgotten."""


def bridge(net: Net) -> Namespace:
    """A namespace with a bridge that speaks the kernel's spanning tree protocol, as fast as may be."""
    host = net.namespace()
    # Hundredths of seconds.
    timers = ["stp_state", "1", "forward_delay", "200", "hello_time", "100", "max_age", "600"]
    host.run("ip", "link", "add", "br0", "type", "bridge", *timers)
    host.run("ip", "addr", "add", "10.7.0.9/24", "dev", "br0")
    host.run("ip", "link", "set", "br0", "up")
    return host


def states(host: Namespace) -> dict[str, str]:
    """Each port of the bridge, as the kernel has it."""
    said = host.run("bridge", "link", "show")
    return dict(re.findall(r"^\d+: (\w+)[:@].* state (\w+) ", said, re.MULTILINE))


def until(host: Namespace, expected: list[str]) -> dict[str, str]:
    """Wait until the bridge's ports have these states, one each."""
    deadline = time.monotonic() + LIMIT
    while sorted((found := states(host)).values()) != sorted(expected):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def joined(host: Namespace) -> None:
    """Wait until frames pass."""
    deadline = time.monotonic() + LIMIT
    while "1 received" not in (said := host.run("ping", "-c", "1", "-W", "0.3", "10.7.0.1", check=False)):
        assert time.monotonic() < deadline, said


def test_the_kernel_s_bridge_is_the_root_and_the_switch_blocks_one_cable(net: Net) -> None:
    host = bridge(net)
    host.run("ip", "link", "set", "br0", "type", "bridge", "priority", "4096")
    lab = host.tmelink(LAB.format(priority=""))
    lab.expect(r"\((one|two)\) is forwarding", timeout=LIMIT)
    joined(host)
    host.ping("10.7.0.1")
    assert states(host) == {"one": "forwarding", "two": "forwarding"}
    forwarding = re.findall(r"port \d+ \((one|two)\) is (forwarding|blocked)", lab.output)
    last = dict(forwarding)
    assert sorted(last.values()) == ["blocked", "forwarding"]
    # The cable that carries is pulled.
    used = next(name for name, state in last.items() if state == "forwarding")
    before = len(lab.lines)
    host.run("ip", "link", "set", used, "nomaster")
    lab.expect("is forwarding", since=before, timeout=LIMIT)
    joined(host)
    host.ping("10.7.0.1")


def test_the_switch_is_the_root_and_the_kernel_s_bridge_blocks_one_cable(net: Net) -> None:
    host = bridge(net)
    lab = host.tmelink(LAB.format(priority="priority 4096"))
    found = until(host, ["forwarding", "blocking"])
    joined(host)
    host.ping("10.7.0.1")
    assert len(found) == 2
    said = host.run("cat", "/sys/class/net/br0/bridge/root_id")
    assert said.startswith("1000."), said
    assert lab.alive
