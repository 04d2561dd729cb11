"""The table of inner addresses: the longest prefix counts, and nobody takes another's."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.openvpn.server.inner_routes import InnerRoutes


def find(routes: InnerRoutes, address: str) -> int | None:
    return routes.find(ip_address(address).packed)


def test_the_longest_prefix_counts() -> None:
    routes = InnerRoutes()
    assert routes.add(1, [IPv4Network("10.8.0.2"), IPv4Network("10.9.0.0/16")]) == []
    assert routes.add(2, [IPv4Network("10.9.1.0/24"), IPv6Network("fd00::/64")]) == []
    assert [find(routes, a) for a in ("10.8.0.2", "10.9.0.1", "10.9.1.1", "10.8.0.3")] == [1, 1, 2, None]
    assert (find(routes, "fd00::7"), find(routes, "fd01::7")) == (2, None)


def test_nobody_takes_what_another_has() -> None:
    routes = InnerRoutes()
    routes.add(1, [IPv4Network("10.8.0.2")])
    assert routes.add(2, [IPv4Network("10.8.0.2"), IPv4Network("10.8.0.3")]) == [IPv4Network("10.8.0.2")]
    assert find(routes, "10.8.0.2") == 1
    routes.remove(1)
    assert find(routes, "10.8.0.2") is None
    assert find(routes, "10.8.0.3") == 2


NETWORKS = st.builds(
    lambda address, bits: IPv4Network((address, bits), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@examples()
@given(st.dictionaries(NETWORKS, st.integers(0, 5), max_size=20), st.integers(0, 2**32 - 1))
def test_as_a_search_through_all_finds(table: dict[IPv4Network, int], address: int) -> None:
    routes = InnerRoutes()
    for network, client in table.items():
        routes.add(client, [network])
    holding = [network for network in table if ip_address(address) in network]
    expected = table[max(holding, key=lambda network: network.prefixlen)] if holding else None
    assert routes.find(address.to_bytes(4, "big")) == expected
