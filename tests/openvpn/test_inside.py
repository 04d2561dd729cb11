"""From a link's words, and those its server pushes, to what a plan needs."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.openvpn.options import network_options
from tmelink.openvpn.options.values import NetworkOptions, Options
from tmelink.routing.tunnel import RouteRequest, Tunnel

TUN = Options(dev="tun", dev_type="tun")


def pushed(*lines: str, **options: bool) -> NetworkOptions:
    network, notes = network_options.with_pushed(NetworkOptions(), lines, **options)
    assert notes == []
    return network


def tunnel(network: NetworkOptions, options: Options = TUN) -> Tunnel:
    return network_options.tunnel(options, network, ip_address("203.0.113.5"))


def test_a_subnet_that_is_pushed() -> None:
    network = pushed(
        "topology subnet", "ifconfig 10.8.0.2 255.255.255.0", "route-gateway 10.8.0.1",
        "ifconfig-ipv6 fd08::2/64 fd08::1", "route 192.168.50.0 255.255.255.0", "route-metric 50",
        "route-ipv6 2001:db8::/32", "redirect-gateway def1", "redirect-gateway ipv6", "ping 10", "",
    )  # fmt: skip
    made = tunnel(network)
    assert made.addresses == (IPv4Interface("10.8.0.2/24"), IPv6Interface("fd08::2/64"))
    assert made.gateways == {4: ip_address("10.8.0.1")}
    assert made.peers == {6: IPv6Address("fd08::1")}
    assert made.routes == (RouteRequest("192.168.50.0", 24), RouteRequest("2001:db8::", 32, six=True))
    assert made.redirect == frozenset({"def1", "ipv6"})
    assert made.metric == 50


@pytest.mark.parametrize("topology", ["net30", "p2p"])
def test_two_ends_have_an_address_each(topology: str) -> None:
    made = tunnel(pushed(f"topology {topology}", "ifconfig 10.8.0.6 10.8.0.5"))
    assert made.addresses == (IPv4Interface("10.8.0.6/32"),)
    assert made.peers == {4: ip_address("10.8.0.5")}


def test_a_tap_has_a_netmask_whatever_the_topology() -> None:
    network = NetworkOptions(ifconfig=("10.8.0.2", "255.255.255.0"), lladdr=b"\2\0\0\0\0\1")
    made = tunnel(network, Options())
    assert made.addresses == (IPv4Interface("10.8.0.2/24"),)
    assert made.peers == {}
    assert made.mac == b"\2\0\0\0\0\1"


def test_route_nopull_takes_addresses_and_gateways_and_no_routes() -> None:
    network = pushed(
        "ifconfig 10.8.0.6 10.8.0.5", "route-gateway 10.8.0.5", "route 192.168.50.0", "block-ipv6",
        "redirect-gateway def1", "route-ipv6 2001:db8::/32", nopull=True,
    )  # fmt: skip
    assert network == NetworkOptions(ifconfig=("10.8.0.6", "10.8.0.5"), route_gateway="10.8.0.5")


@pytest.mark.parametrize(
    "line",
    [
        "ifconfig 10.8.0.6",
        "ifconfig 10.8.0.6 nonsense",
        "route 1.2.3.4 255.0.255.0",
        "route 1.2.3.4 255.255.255.255 default -1",
        "route intranet.test",
        "route-ipv6 2001:db8::/129",
        "topology ring",
        "redirect-gateway def2",
        "route-ipv6-gateway 10.0.0.1",
        "route-metric many",
    ],
)
def test_what_cannot_be_read_is_passed_over_with_a_note(line: str) -> None:
    network, notes = network_options.with_pushed(NetworkOptions(), [line, "route-gateway 10.8.0.1"])
    assert network == NetworkOptions(route_gateway="10.8.0.1")
    (note,) = notes
    assert note.startswith(f"the server pushes '{line}', which is passed over: ")


def test_a_server_may_name_hosts_only_where_it_is_allowed() -> None:
    network = pushed("route intranet.test", fqdn=True)
    assert network_options.names(network) == ["intranet.test"]
    known = {"intranet.test": ip_address("192.0.2.9")}
    assert network_options.tunnel(TUN, network, None, known).names == known


def test_a_server_may_push_only_so_many_routes() -> None:
    lines = [f"route 10.{n >> 8}.{n & 255}.0 255.255.255.0" for n in range(network_options.MAX_PUSHED + 1)]
    network, notes = network_options.with_pushed(NetworkOptions(), lines)
    assert len(network.routes) == network_options.MAX_PUSHED
    assert len(notes) == 1


def test_noexec_leaves_addresses_or_routes_out() -> None:
    network = pushed("ifconfig 10.8.0.6 10.8.0.5", "route 192.168.50.0", "redirect-gateway")
    assert tunnel(replace(network, ifconfig_noexec=True)).addresses == ()
    without = tunnel(replace(network, route_noexec=True))
    assert (without.routes, without.redirect) == ((), None)


def test_an_address_that_does_not_resolve_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="--ifconfig: me is not a valid address, and does not resolve"):
        tunnel(NetworkOptions(ifconfig=("me", "you")))


words = st.sampled_from(
    ["ifconfig", "ifconfig-ipv6", "route", "route-ipv6", "route-gateway", "redirect-gateway", "topology",
     "subnet", "10.8.0.1", "255.255.255.0", "fd00::1/64", "default", "def1", "vpn_gateway", "-1",
     "99999999999"]
)  # fmt: skip


@examples(500)
@given(st.lists(st.lists(words | st.text(max_size=8), max_size=5).map(" ".join), max_size=6))
def test_a_server_s_words_raise_nothing(lines: list[str]) -> None:
    network, _notes = network_options.with_pushed(NetworkOptions(), lines, fqdn=True)
    with contextlib.suppress(ValueError):
        tunnel(network)
