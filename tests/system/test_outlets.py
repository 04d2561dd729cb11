"""By which interface an address is reached, as the kernel of this computer says."""

from __future__ import annotations

import asyncio
import ipaddress
import sys

import pytest

from tests.support.netns import Net, network
from tmelink.routing.facts import RouteResult
from tmelink.system import namespaces, route_lookup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's rtnetlink")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3"])
def test_an_own_address_is_known_as_such(address: str) -> None:
    found = route_lookup.towards(ipaddress.ip_address(address))
    assert found is not None
    assert (found.device, found.local) == ("lo", True)


def _asked(net: Net, address: str, *routes: str) -> RouteResult | None:
    one, _two = net.pair(mtu=1400)
    for route in routes:
        one.run("ip", "route", "add", *route.split())
    return asyncio.run(namespaces.run(lambda: route_lookup.towards(ipaddress.ip_address(address)), one.name))


@pytest.mark.needs_root
@pytest.mark.needs("ip")
@pytest.mark.parametrize(
    ("address", "routes", "found"),
    [
        ("10.1.0.2", (), RouteResult("eth0", 1400, ipaddress.ip_address("10.1.0.1"))),
        ("fd01::2", (), RouteResult("eth0", 1400, ipaddress.ip_address("fd01::1"))),
        ("10.1.0.1", (), RouteResult("lo", 65536, ipaddress.ip_address("10.1.0.1"), local=True)),
        ("192.0.2.9", ("default via 10.1.0.2",), RouteResult("eth0", 1400, ipaddress.ip_address("10.1.0.1"))),
        ("192.0.2.9", (), None),
        ("192.0.2.9", ("unreachable 192.0.2.0/24",), None),
    ],
)
def test_the_way_to_an_address(address: str, routes: tuple[str, ...], found: RouteResult | None) -> None:
    with network() as net:
        assert _asked(net, address, *routes) == found
