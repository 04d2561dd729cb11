"""What an interface's own arguments and its link's words come to together."""

from __future__ import annotations

import ipaddress

from tmelink.elements.host_interfaces import host_network
from tmelink.elements.host_interfaces.host_network import HostNetworkRequest
from tmelink.routing.facts import parse
from tmelink.routing.identities import Identity
from tmelink.routing.translation import RouterSettings
from tmelink.routing.tunnel import RouteRequest, Tunnel

HOST = parse("address 203.0.113.5/24 dev eth0\nroute default via 203.0.113.1 dev eth0")
INSIDE = Tunnel(
    addresses=(ipaddress.ip_interface("10.8.0.1/32"),),
    peers={4: ipaddress.ip_address("10.8.0.2")},
    routes=(RouteRequest("192.168.50.0", 24),),
    redirect=frozenset({"def1"}),
    remote=ipaddress.ip_address("198.51.100.7"),
    delay=5,
)


def added(request: HostNetworkRequest, *, with_routes: bool = True) -> list[str]:
    plan = host_network.plan(request, INSIDE, "tun0", (), HOST, with_routes=with_routes)
    return [str(change) for change in plan.changes]


def test_delayed_routes_leave_the_addresses() -> None:
    assert added(HostNetworkRequest(), with_routes=False) == ["10.8.0.1 peer 10.8.0.2 dev tun0"]
    assert "192.168.50.0/24 via 10.8.0.2 dev tun0" in added(HostNetworkRequest())


def test_what_is_behind_the_link_is_translated_and_all_the_world_is_not() -> None:
    nat = added(HostNetworkRequest(router=RouterSettings(device="", nat="eth0")))[-1]
    assert nat == "from 10.8.0.1/32, 10.8.0.2/32, 192.168.50.0/24 oif eth0"


def test_an_identity_has_the_addresses_that_the_link_names() -> None:
    changes = added(HostNetworkRequest(identity=Identity(device="", addresses=())))
    assert "28000 from 10.8.0.1/32 lookup 28000" in changes
    assert "28001 from 203.0.113.5/32 lookup 28001" in changes
