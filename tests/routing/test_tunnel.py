"""What a link's options come to on a host: the documents' routes, and that no plan can cut its own path."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.routing import conflicts, tunnel
from tmelink.routing.facts import Facts, Route, parse
from tmelink.routing.plan import InterfaceAddress, Plan
from tmelink.routing.tunnel import RouteRequest, Tunnel

HOME = parse(
    """
    address 198.51.100.7/24 dev eth0
    address 2001:db8:1::7/64 dev eth0
    address 192.168.1.5/24 dev eth1
    route default via 198.51.100.1 dev eth0
    route default via 2001:db8:1::1 dev eth0
    nameserver 192.0.2.53
    """
)
SERVER = IPv4Address("203.0.113.5")
OWN = IPv4Interface("10.8.0.2/32")
PEER = IPv4Address("10.8.0.1")


def client(**options: object) -> Tunnel:
    defaults = {"addresses": (OWN,), "peers": {4: PEER}, "remote": SERVER}
    return Tunnel(**{**defaults, **options})  # type: ignore[arg-type]


def added(plan: Plan) -> list[str]:
    return [str(change) for change in plan.changes]


def stays(plan: Plan) -> list[str]:
    return [str(step.change) for step in plan.steps if step.stands]


def test_a_client_keeps_its_routes_and_adds_the_inner_network() -> None:
    plan = tunnel.plan(client(routes=(RouteRequest("192.168.50.0", 24),)), "tun0", HOME)
    assert added(plan) == ["10.8.0.2 peer 10.8.0.1 dev tun0", "192.168.50.0/24 via 10.8.0.1 dev tun0"]
    assert stays(plan) == [
        "198.51.100.0/24 dev eth0",
        "192.168.1.0/24 dev eth1",
        "default via 198.51.100.1 dev eth0",
    ]
    assert plan.warnings == ()


@pytest.mark.parametrize("flags", [{"def1"}, set()])
def test_all_traffic_goes_by_the_tunnel_but_the_link_s_own(flags: set[str]) -> None:
    plan = tunnel.plan(client(redirect=frozenset(flags)), "tun0", HOME)
    assert added(plan) == [
        "10.8.0.2 peer 10.8.0.1 dev tun0",
        "203.0.113.5/32 via 198.51.100.1 dev eth0",
        "unreachable 203.0.113.5/32 metric 4294967294",
        "0.0.0.0/1 via 10.8.0.1 dev tun0",
        "128.0.0.0/1 via 10.8.0.1 dev tun0",
    ]


@pytest.mark.parametrize(
    ("flags", "private", "expected"),
    [
        ({"ipv6"}, False, ["203.0.113.5/32 via 198.51.100.1 dev eth0", "0.0.0.0/1", "128.0.0.0/1", "::/3",
                           "2000::/4", "3000::/4", "fc00::/7"]),
        ({"!ipv4", "ipv6"}, False, ["::/3", "2000::/4", "3000::/4", "fc00::/7"]),
        (set(), True, ["203.0.113.5/32 via 198.51.100.1 dev eth0"]),
        ({"bypass-dns"}, True, ["203.0.113.5/32 via 198.51.100.1 dev eth0",
                                "192.0.2.53/32 via 198.51.100.1 dev eth0"]),
        ({"block-local"}, True, ["198.51.100.1/32 dev eth0", "203.0.113.5/32 via 198.51.100.1 dev eth0",
                                 "198.51.100.0/25", "198.51.100.128/25"]),
    ],
)  # fmt: skip
def test_flags_of_redirect_gateway(flags: set[str], private: bool, expected: list[str]) -> None:
    own6 = ipaddress.ip_interface("fd08::2/64")
    wanted = client(addresses=(OWN, own6), redirect=frozenset(flags), private=private)
    routes = [str(c) for c in tunnel.plan(wanted, "tun0", HOME).changes if isinstance(c, Route)]
    assert ("unreachable 203.0.113.5/32 metric 4294967294" in routes) == ("!ipv4" not in flags)
    routes = [route for route in routes if not route.startswith("unreachable")]
    short = [route.split()[0] if "dev tun0" in route else route for route in routes]
    assert short == expected


def test_a_peer_on_the_local_network_needs_no_host_route_with_autolocal() -> None:
    near = IPv4Address("198.51.100.99")
    plan = tunnel.plan(client(remote=near, redirect=frozenset({"autolocal"})), "tun0", HOME)
    assert "198.51.100.99" not in " ".join(added(plan))
    assert plan.warnings == ()
    plan = tunnel.plan(client(remote=near, redirect=frozenset()), "tun0", HOME)
    assert "198.51.100.99/32 dev eth0" in added(plan)


def test_the_server_in_a_redirected_net_without_its_host_route_is_flagged_and_left_out() -> None:
    plan = tunnel.plan(client(redirect=frozenset({"local"})), "tun0", HOME)
    assert "0.0.0.0/1 via 10.8.0.1 dev tun0" in added(plan)
    assert "128.0.0.0/1 via 10.8.0.1 dev tun0" not in added(plan)
    (warning,) = plan.warnings
    assert warning == (
        "the route to 128.0.0.0/1 is left out: the peer 203.0.113.5 is in it, and the link's own packets "
        "would go into the link; add --route 203.0.113.5 255.255.255.255 net_gateway"
    )
    remedy = RouteRequest("203.0.113.5", 32, "net_gateway")
    plan = tunnel.plan(client(routes=(RouteRequest("203.0.113.0", 24), remedy)), "tun0", HOME)
    assert plan.warnings == ()
    assert added(plan)[1:] == [
        "203.0.113.5/32 via 198.51.100.1 dev eth0",
        "unreachable 203.0.113.5/32 metric 4294967294",
        "203.0.113.0/24 via 10.8.0.1 dev tun0",
    ]


def test_an_inner_network_that_overlaps_an_outer_one_is_flagged() -> None:
    plan = tunnel.plan(client(routes=(RouteRequest("192.168.0.0", 16),)), "tun0", HOME)
    assert plan.warnings == (
        "tunnel network 192.168.0.0/16 overlaps 192.168.1.0/24 on eth1: addresses in both can only be "
        "reached in one of them; renumber one of the networks",
    )


@pytest.mark.parametrize("remote", ["203.0.113.5", "2001:db8:3::5"])
def test_without_a_route_to_the_peer_everything_stays_in_the_tunnel(remote: str) -> None:
    """When the default route is lost, and when it comes back, nothing inside is taken away or added."""
    own6 = ipaddress.ip_interface("fd08::2/64")
    wanted = client(
        addresses=(OWN, own6), remote=ipaddress.ip_address(remote), redirect=frozenset({"ipv6"}),
        routes=(RouteRequest("203.0.113.0", 24), RouteRequest("2001:db8:3::", 32, six=True)),
    )  # fmt: skip
    without, with_routes = (tunnel.plan(wanted, "tun0", facts) for facts in (Facts(), HOME))
    assert without.warnings == (
        f"{remote} cannot be reached: the host has no route to it, and no default gateway",
    )
    lost = set(added(with_routes)) - set(added(without))
    assert [route.split("/")[0] for route in lost] == [remote]
    assert set(added(without)) <= set(added(with_routes))
    guard = next(route for route in added(without) if route.startswith("unreachable"))
    assert guard == f"unreachable {ipaddress.ip_network(remote)} metric 4294967294"


def test_what_the_links_packets_pass_through_stays_outside_too() -> None:
    relay = IPv4Address("203.0.113.80")
    plan = tunnel.plan(client(redirect=frozenset(), relays=(relay,)), "tun0", HOME)
    assert "203.0.113.80/32 via 198.51.100.1 dev eth0" in added(plan)
    assert "unreachable 203.0.113.80/32 metric 4294967294" in added(plan)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (
            RouteRequest("192.168.50.0", 24, "vpn_gateway", 7),
            "192.168.50.0/24 via 10.8.0.1 dev tun0 metric 7",
        ),
        (RouteRequest("192.0.2.0", 24, "net_gateway"), "192.0.2.0/24 via 198.51.100.1 dev eth0"),
        (RouteRequest("remote_host", 32, "net_gateway"), "203.0.113.5/32 via 198.51.100.1 dev eth0"),
        (RouteRequest("192.0.2.0", 24, "192.168.1.1"), "192.0.2.0/24 via 192.168.1.1 dev eth1"),
        (RouteRequest("office.test", 32), "192.0.2.9/32 via 10.8.0.1 dev tun0"),
    ],
)
def test_words_in_routes(wanted: RouteRequest, expected: str) -> None:
    names = {"office.test": IPv4Address("192.0.2.9")}
    plan = tunnel.plan(client(routes=(wanted,), names=names), "tun0", HOME)
    assert added(plan)[1:] == [expected]
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"routes": (RouteRequest("nowhere.test", 32),)}, "the name nowhere.test does not resolve"),
        ({"routes": (RouteRequest("192.0.2.0", 24, "10.99.0.1"),)}, "this host holds the gateway"),
        ({"addresses": (), "peers": {}, "routes": (RouteRequest("192.0.2.0", 24),)}, "add --ifconfig"),
        ({"kind": "tap", "addresses": (IPv4Interface("10.9.0.2/24"),), "peers": {},
          "routes": (RouteRequest("192.0.2.0", 24),)}, "a tap needs a gateway; write --route-gateway"),
        ({"remote": None, "routes": (RouteRequest("remote_host", 32, "net_gateway"),)}, "add --remote"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_left_out_and_told(options: dict[str, object], problem: str) -> None:
    plan = tunnel.plan(client(**options), "tun0", HOME)
    assert problem in plan.warnings[0]
    assert not [c for c in plan.changes if isinstance(c, Route)]


def test_blocked_ipv6_is_answered_by_the_host_itself() -> None:
    wanted = client(redirect=frozenset({"ipv6"}), block_ipv6=True)
    assert "unreachable 2000::/4" in added(tunnel.plan(wanted, "tun0", HOME))


def test_two_tunnels_that_claim_one_network_are_flagged() -> None:
    wanted = client(routes=(RouteRequest("192.168.50.0", 24),))
    plans = {device: tunnel.plan(wanted, device, HOME) for device in ("tun0", "tun1")}
    assert conflicts.between(plans) == [
        "tun0 and tun1 both claim the network 192.168.50.0/24: the one that comes up first gets it; remove "
        "it from one of them, or give one a --route-metric"
    ]


addresses = st.integers(1 << 24, (224 << 24) - 1).map(IPv4Address)
networks = st.builds(
    lambda a, n: IPv4Network((a, n), strict=False), addresses, st.integers(1, 32)
)  # fmt: skip
flags = st.sets(st.sampled_from(["local", "autolocal", "def1", "bypass-dns", "block-local", "!ipv4"]))


@examples(300)
@given(
    remote=addresses,
    inner=st.lists(networks, max_size=4),
    redirect=st.none() | flags,
    private=st.booleans(),
    outer=st.lists(networks.filter(lambda n: n.prefixlen < 31), max_size=2),
    default=st.booleans(),
)
def test_no_prefix_of_any_plan_leads_the_link_s_own_packets_into_the_link(
    remote: IPv4Address,
    inner: list[IPv4Network],
    redirect: set[str] | None,
    private: bool,
    outer: list[IPv4Network],
    default: bool,
) -> None:
    """After every single step, not only at the end: the routes are looked up as the kernel does."""
    routes = [Route(network, f"eth{number}") for number, network in enumerate(outer)]
    if default and outer:
        routes.append(Route(IPv4Network("0.0.0.0/0"), "eth0", outer[0].network_address + 1))
    facts = Facts(tuple(routes))
    wanted = client(
        remote=remote,
        routes=tuple(RouteRequest(str(network.network_address), network.prefixlen) for network in inner),
        redirect=None if redirect is None else frozenset(redirect),
        private=private,
    )
    before = facts.route_to(remote)
    plan = tunnel.plan(wanted, "tun0", facts)
    for change in plan.changes:
        if isinstance(change, InterfaceAddress):
            continue
        assert isinstance(change, Route)
        routes.append(change)
        way = Facts(tuple(routes)).route_to(remote)
        if before is not None:
            assert way is not None
            assert way.device == before.device
        else:
            assert way is None or way.device != "tun0"
    slots = [(c.destination, c.metric) for c in plan.changes if isinstance(c, Route)]
    assert len(slots) == len(set(slots))
