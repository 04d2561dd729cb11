"""A host as router of an interface's network: what is forwarded, translated and answered for."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from tmelink.routing import translation
from tmelink.routing.facts import Facts, parse
from tmelink.routing.plan import Plan
from tmelink.routing.translation import RouterSettings

HOST = parse("address 198.51.100.7/24 dev eth0\nroute default via 198.51.100.1 dev eth0")
TAP = RouterSettings("tap0", tuple(map(ipaddress.ip_interface, ("10.0.78.1/24", "fd78::1/64"))))


def added(plan: Plan) -> list[str]:
    return [str(change) for change in plan.changes]


def test_nat_forwards_and_translates_both_versions() -> None:
    plan = translation.plan(replace(TAP, nat="eth0"), replace(HOST, forwards_singly=True))
    assert added(plan) == [
        "net.ipv4.conf.tap0.forwarding=1",
        "net.ipv4.conf.eth0.forwarding=1",
        "from 10.0.78.0/24 oif eth0",
        "net.ipv6.conf.tap0.force_forwarding=1",
        "net.ipv6.conf.eth0.force_forwarding=1",
        "from fd78::/64 oif eth0",
    ]


def test_a_kernel_that_forwards_all_or_nothing_still_hears_its_router() -> None:
    facts = replace(HOST, settings={"net/ipv6/conf/eth0/accept_ra": "1"})
    plan = translation.plan(replace(TAP, nat="eth0"), facts)
    assert added(plan)[3:5] == ["net.ipv6.conf.eth0.accept_ra=2", "net.ipv6.conf.all.forwarding=1"]


def test_auto_is_where_the_default_route_goes() -> None:
    plan = translation.plan(replace(TAP, nat="auto"), HOST)
    assert "from 10.0.78.0/24 oif eth0" in added(plan)
    assert not any("fd78" in change for change in added(plan))
    nowhere = translation.plan(replace(TAP, nat="auto"), Facts())
    assert "no default route" in nowhere.warnings[0]
    assert nowhere.changes == ()


def test_networks_behind_the_other_end_are_translated_too() -> None:
    plan = translation.plan(replace(TAP, nat="eth0", behind=(ipaddress.ip_network("10.8.0.2/32"),)), HOST)
    assert "from 10.0.78.0/24, 10.8.0.2/32 oif eth0" in added(plan)


def test_proxies_answer_on_both_sides() -> None:
    router = replace(TAP, proxy_arp="eth0", proxy_ndp=(ipaddress.ip_address("2001:db8::9"),))
    assert added(translation.plan(router, HOST))[-5:] == [
        "net.ipv4.conf.eth0.proxy_arp=1",
        "net.ipv4.conf.tap0.proxy_arp=1",
        "net.ipv6.conf.eth0.forwarding=1",
        "net.ipv6.conf.eth0.proxy_ndp=1",
        "2001:db8::9 dev eth0",
    ]
