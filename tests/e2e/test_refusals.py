"""What the kernel refuses takes nothing else with it, is said with its remedy, and lets nothing leak."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.host_state import state
from tests.e2e.internet import WORLD, WORLD6, internet
from tests.support.netns import Namespace, Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "sysctl")]

LINK = (
    "link0 at {0}: tme/host/openvpn/socket/link --dev {1} --nobind --proto udp4 --remote 203.0.113.5 "
    "--ifconfig 10.8.0.2 {2} --ifconfig-ipv6 fd08::2/64 fd08::1 "
)
REMEDY = "'sysctl net.ipv6.conf.tun0.disable_ipv6=0' allows it"


def without_ipv6(host: Namespace) -> None:
    """New interfaces have no IPv6; those that there are keep it."""
    host.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")


def test_a_refused_ipv6_address_leaves_ipv4(net: Net) -> None:
    there = internet(net)
    host = there.traveller
    without_ipv6(host)
    before = state(host)
    process = host.tmelink(
        "tun0: tme/host/tun/tun interface tun0\n"
        + LINK.format("tun0", "tun", "10.8.0.1")
        + "--route 192.168.50.0 255.255.255.0 --route-ipv6 fd50::/64 --redirect-gateway ipv6\n",
        until=REMEDY,
    )
    process.expect("running:")
    assert "10.8.0.2 peer 10.8.0.1" in host.run("ip", "addr", "show", "tun0")
    for address in ("192.168.50.1", WORLD, "10.0.0.1"):
        assert "dev tun0" in host.run("ip", "route", "get", address)
    assert "dev eth0" in host.run("ip", "route", "get", "203.0.113.5")
    # All IPv6 was to go into the tunnel. It must not leave by eth0 instead.
    assert "dev eth0" not in host.run("ip", "route", "get", WORLD6, check=False)
    assert process.output.count(REMEDY) == 1, process.output
    assert process.stop(signal.SIGTERM) == 1, "the exit code says that something is missing"
    assert state(host) == before


def test_a_refused_address_of_the_file_leaves_the_others(net: Net) -> None:
    host = net.namespace()
    without_ipv6(host)
    before = state(host)
    process = host.tmelink(
        'tun0: tme/host/tun/tap interface tun0 inet 10.0.1.1/24 inet6 "fd01::1/64"\n', until=REMEDY
    )
    process.expect("running:")
    assert "10.0.1.1/24" in host.run("ip", "addr", "show", "tun0")
    assert process.stop() == 1
    assert state(host) == before


def test_a_refused_route_leaves_the_others(net: Net) -> None:
    """A gateway on no network of this host is one that the kernel refuses."""
    there = internet(net)
    host = there.traveller
    before = state(host)
    process = host.tmelink(
        "tun0: tme/host/tun/tap interface tun0\n"
        + LINK.format("tun0", "tap", "255.255.255.0")
        + "--route 192.168.50.0 255.255.255.0 10.99.0.1 --route 192.168.60.0 255.255.255.0 10.8.0.1\n"
    )
    assert "via 10.8.0.1 dev tun0" in host.run("ip", "route", "get", "192.168.60.1")
    process.stop()
    assert state(host) == before
