"""What one client gets of its server."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest

from tmelink.openvpn.server.address_pool import Lease
from tmelink.openvpn.server.client_config import ClientConfig, ServerNetwork, parse, welcome

INSIDE = ServerNetwork(
    push=("route-gateway 10.8.0.1", "route 10.0.0.0 255.0.0.0", "ping 10"),
    local=IPv4Address("10.8.0.1"),
    netmask=IPv4Address("255.255.255.0"),
    local6=IPv6Address("fd00::1"),
    constraint=IPv4Network("10.8.0.0/24"),
)
LEASE = Lease(3, IPv4Address("10.8.0.5"), None, IPv6Interface("fd00::1003/64"))

FILE = b"""# joe's
ifconfig-push 10.8.0.77 255.255.255.0   ; fixed
ifconfig-ipv6-push fd00::77/64
push "route 192.168.7.0 255.255.255.0"
push-remove route-gateway
iroute 192.168.8.0 255.255.255.0
iroute 192.168.9.1
iroute-ipv6 fd07::/48
"""


def test_a_clients_file_is_read() -> None:
    config, wrong = parse(FILE)
    assert wrong == []
    assert config == ClientConfig(
        ifconfig=(IPv4Address("10.8.0.77"), IPv4Address("255.255.255.0")),
        ifconfig6=(IPv6Interface("fd00::77/64"), None),
        push=("route 192.168.7.0 255.255.255.0",),
        push_remove=("route-gateway",),
        routes=(IPv4Network("192.168.8.0/24"), IPv4Network("192.168.9.1/32")),
        routes6=(IPv6Network("fd07::/48"),),
    )
    assert parse(b"vlan-pvid 7\nvlan-trunk 10,20-22")[0] == ClientConfig(
        vlan_pvid=7, vlan_trunk=frozenset((10, 20, 21, 22))
    )
    assert parse(b"disable\npush-reset")[0] == ClientConfig(disabled=True, push_reset=True)


@pytest.mark.parametrize(
    "line",
    [
        b"ifconfig-push 10.8.0.7",
        b"iroute 10.8.0.7 255.0.0.0",
        b"secret x",
        b'push "a',
        b"iroute here",
        b"vlan-pvid 0",
        b"vlan-trunk 7-5",
    ],
)
def test_a_wrong_line_is_told_and_the_others_hold(line: bytes) -> None:
    config, wrong = parse(b"push a\n" + line + b"\npush b\n")
    assert config == ClientConfig(push=("a", "b"))
    assert len(wrong) == 1
    assert wrong[0].startswith("line 2: ")


def test_a_client_gets_what_all_get_and_its_addresses() -> None:
    given, wrong = welcome(INSIDE, LEASE, ClientConfig())
    assert wrong == []
    assert given.options == (
        *INSIDE.push,
        "ifconfig 10.8.0.5 255.255.255.0",
        "ifconfig-ipv6 fd00::1003/64 fd00::1",
    )
    assert (given.address, given.address6) == (IPv4Address("10.8.0.5"), IPv6Address("fd00::1003"))


def test_its_file_changes_what_it_gets() -> None:
    given, wrong = welcome(INSIDE, LEASE, parse(FILE)[0])
    assert wrong == []
    assert given.options == (
        "route 10.0.0.0 255.0.0.0",
        "ping 10",
        "route 192.168.7.0 255.255.255.0",
        "ifconfig 10.8.0.77 255.255.255.0",
        "ifconfig-ipv6 fd00::77/64 fd00::1",
    )
    assert given.routes == (IPv4Network("192.168.8.0/24"), IPv4Network("192.168.9.1/32"))
    given, _ = welcome(INSIDE, LEASE, parse(b"push-reset\npush-remove ifconfig\npush a")[0])
    assert given.options == ("a", "ifconfig-ipv6 fd00::1003/64 fd00::1")


def test_an_address_outside_the_network_is_told_and_not_given() -> None:
    given, wrong = welcome(INSIDE, LEASE, parse(b"ifconfig-push 10.9.0.1 255.255.255.0")[0])
    assert "10.9.0.1 is not in 10.8.0.0/24" in wrong[0]
    assert given.address == LEASE.local


def test_layouts_of_point_to_point_addresses() -> None:
    net30 = ServerNetwork(topology="net30", local=IPv4Address("10.8.0.1"))
    lease = Lease(0, IPv4Address("10.8.0.6"), IPv4Address("10.8.0.5"), None)
    assert welcome(net30, lease, ClientConfig())[0].options == ("ifconfig 10.8.0.6 10.8.0.5",)
    p2p = ServerNetwork(topology="p2p", local=IPv4Address("10.8.0.1"))
    assert welcome(p2p, LEASE._replace(local6=None), ClientConfig())[0].options == (
        "ifconfig 10.8.0.5 10.8.0.1",
    )
    assert welcome(ServerNetwork(), None, ClientConfig())[0].options == ()
