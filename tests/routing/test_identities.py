"""Two identities: a table for each, a rule for each address, and nothing that collides."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from tmelink.routing import identities
from tmelink.routing.facts import Route, parse
from tmelink.routing.identities import Identity
from tmelink.routing.plan import Rule

HOST = parse(
    """
    address 198.51.100.7/24 dev eth0
    route default via 198.51.100.1 dev eth0
    address 10.8.0.2/32 dev tun0
    route 192.168.50.0/24 via 10.8.0.1 dev tun0
    address 2001:db8:1::7/64 dev eth0
    route default via 2001:db8:1::1 dev eth0
    """
)
INSIDE = Identity("tun0", (ipaddress.ip_interface("10.8.0.2/32"),))


def test_inside_goes_by_the_tunnel_and_outside_the_ordinary_way() -> None:
    plan = identities.plan(INSIDE, HOST)
    assert [str(change) for change in plan.changes] == [
        "default dev tun0 table 28000",
        "198.51.100.0/24 dev eth0 table 28001",
        "default via 198.51.100.1 dev eth0 table 28001",
        "28000 from 10.8.0.2/32 lookup 28000",
        "28001 from 198.51.100.7/32 lookup 28001",
        "net.ipv4.conf.tun0.rp_filter=2",
    ]


def test_ipv6_has_rules_of_its_own() -> None:
    inside = replace(INSIDE, addresses=(ipaddress.ip_interface("fd08::2/64"),))
    changes = identities.plan(inside, HOST).changes
    assert [str(change) for change in changes if isinstance(change, Rule)] == [
        "28000 from fd08::2/128 lookup 28000",
        "28001 from 2001:db8:1::7/128 lookup 28001",
    ]
    assert all(change.destination.version == 6 for change in changes if isinstance(change, Route))


def test_numbers_that_are_taken_are_not_taken_again() -> None:
    facts = replace(HOST, rules=frozenset({28000, 28002}), tables=frozenset({28000, 28001, 28003}))
    changes = identities.plan(INSIDE, facts).changes
    assert [change.priority for change in changes if isinstance(change, Rule)] == [28001, 28003]
    assert {change.table for change in changes if isinstance(change, Route)} == {28002, 28004}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("main", "belongs to the system"),
        ("254", "belongs to the system"),
        ("nobody", "no table is named nobody"),
        ("77", "already has routes"),
    ],
)
def test_tables_that_cannot_be_used(table: str, problem: str) -> None:
    facts = replace(HOST, tables=frozenset({77}), table_names={"main": 254, "vpn": 100})
    plan = identities.plan(replace(INSIDE, table=table), facts)
    assert problem in plan.warnings[0]
    assert plan.changes == ()
    named = identities.plan(replace(INSIDE, table="vpn"), facts)
    assert "default dev tun0 table 100" in map(str, named.changes)


def test_on_an_ethernet_there_must_be_a_router() -> None:
    tap = replace(INSIDE, device="tap0", addresses=(ipaddress.ip_interface("10.9.0.2/24"),),
                  point_to_point=False)  # fmt: skip
    assert "'router ADDRESS'" in identities.plan(tap, HOST).warnings[0]
    routed = identities.plan(replace(tap, gateways=(ipaddress.ip_address("10.9.0.1"),)), HOST)
    assert [str(change) for change in routed.changes][:2] == [
        "10.9.0.0/24 dev tap0 table 28000",
        "default via 10.9.0.1 dev tap0 table 28000",
    ]
