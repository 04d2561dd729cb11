"""The harness of these tests tells the truth and cleans up."""

from __future__ import annotations

import socket
import sys

import pytest

from tests.support.netns import Net, host_state, network

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]


def test_a_pair_reaches_each_other_over_both_versions(net: Net) -> None:
    a, b = net.pair()
    for address in b.addresses:
        a.ping(address)
    assert a.interfaces() == ["lo", "eth0"]


def test_an_internet_joins_all(net: Net) -> None:
    a, b, c, _hub = net.internet(3, mtu=1300)
    a.ping(c.addresses[0], size=1200)
    b.ping(c.addresses[1])


@pytest.mark.needs("tcpdump")
def test_a_capture_holds_the_frames(net: Net) -> None:
    a, b = net.pair()
    with b.capture("eth0", "icmp", packets=2) as capture:
        a.ping(b.addresses[0], count=1)
    assert len(capture.packets) == 2
    assert capture.packets[0][12:14] == b"\x08\x00"
    assert any("echo request" in line for line in capture.text)


def test_a_failed_test_leaves_nothing_behind() -> None:
    before = host_state()

    def fail() -> None:
        with network() as net:
            a, _b = net.pair()
            a.start("sleep", "1000")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert host_state() == before


def test_a_program_is_expected_to_write_a_line(net: Net) -> None:
    a = net.namespace()
    process = a.start(sys.executable, "-c", "import sys; print('ready', flush=True); sys.stdin.read()")
    assert process.expect("^rea") == "ready"
    assert process.stop() != 0
    silent = a.start("true")
    with pytest.raises(AssertionError, match="ended without 'ready'"):
        silent.expect("ready")
    with pytest.raises(AssertionError, match="No such file"):
        a.run("ls", "/nonexistent")


def test_code_runs_inside(net: Net) -> None:
    a = net.namespace()

    async def names() -> list[str]:
        return [name for _, name in socket.if_nameindex()]

    assert a.call(names) == ["lo"]
