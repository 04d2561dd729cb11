"""Two identities of one host: packets from the inside address by the tunnel, all others as without it.

A routing table of its own for each identity and a rule for each address. The inside one's table has nothing
but the tunnel; the outside one's has what the main table has, but for the tunnel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from tmelink.routing.facts import DEFAULT, Facts, IPAddress, IPInterface, Route
from tmelink.routing.plan import Plan, PlanStep, Rule, SysctlSetting

PRIORITIES = range(28_000, 30_000)
"""Where rules go: behind those that an administrator numbers by hand, before the main table (32766)."""

TABLES = range(28_000, 30_000)
"""Where tables without a given number go; the numbers below 256 are the ones people choose themselves."""

LOOSE = "2"
"""rp_filter that takes a packet if there is any way back, whichever interface that has."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The inside: its interface, its addresses and, where it is no point-to-point interface, its routers.

    `table` is what the file says: a number, a name of rt_tables(5), or None for a free one.
    """

    device: str
    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...] = ()
    point_to_point: bool = True
    table: str | None = None


def plan(inside: Identity, facts: Facts, taken: Sequence[int] = ()) -> Plan:
    """Rules and tables for `inside`; `taken` are priorities and tables that other plans use.

    `facts` are those without what stands on the interface itself, but for the numbers in use.
    """
    used = facts.tables | set(taken)
    table, problem = _table(inside, facts, used)
    if table is None:
        return Plan((), (problem,))
    outside_table = _free(TABLES, used | {table})
    priorities = [p for p in PRIORITIES if p not in facts.rules and p not in taken]
    facts = facts.without(inside.device)
    steps: list[PlanStep] = []
    warnings: list[str] = []
    versions = sorted({own.version for own in inside.addresses})
    for version in versions:
        gateway = next((g for g in inside.gateways if g.version == version), None)
        if gateway is None and not inside.point_to_point:
            warnings.append(
                f"policy-routing: IPv{version} packets from the inside have no router there; "
                "name it with 'router ADDRESS'"
            )
            continue
        for own in inside.addresses:
            if own.version == version and own.network.prefixlen < own.max_prefixlen:
                steps.append(PlanStep(Route(own.network, inside.device, None, 0, table),
                                  "the inside identity: its own network"))  # fmt: skip
        steps.append(
            PlanStep(
                Route(DEFAULT[version], inside.device, gateway, 0, table),
                "the inside identity: everything goes by the tunnel",
            )
        )
        # The kernel does not say it, but the order of routes matters: a router's network before the router.
        outer = sorted(
            (r for r in facts.routes if r.destination.version == version and not r.destination.is_link_local),
            key=lambda r: (r.gateway is not None, -r.destination.prefixlen, r.metric, str(r)),
        )
        for route in outer:
            copy = Route(route.destination, route.device, route.gateway, route.metric, outside_table)
            steps.append(PlanStep(copy, "the outside identity: the ordinary way, without the tunnel"))
        sources = [(own, table, "inside") for own in inside.addresses if own.version == version]
        if outer:
            sources += [
                (own, outside_table, "outside")
                for device, own in facts.addresses
                if own.version == version and not own.ip.is_loopback and not own.ip.is_link_local
            ]
        for own, number, which in sources:
            way = "by the tunnel" if which == "inside" else "by the ordinary way"
            rule = Rule(priorities.pop(0), ipaddress.ip_network(own.ip), number)
            steps.append(PlanStep(rule, f"packets from the {which} address {own.ip} go {way}"))
    if 4 in versions:
        steps.append(
            PlanStep(
                SysctlSetting(f"net/ipv4/conf/{inside.device}/rp_filter", LOOSE),
                "what comes by the tunnel is taken though the main table would answer another way",
            )
        )
    return Plan(tuple(steps), tuple(warnings))


def _table(inside: Identity, facts: Facts, used: frozenset[int] | set[int]) -> tuple[int | None, str]:
    text = inside.table
    if text is None:
        return _free(TABLES, used), ""
    number = int(text) if text.isascii() and text.isdigit() else facts.table_names.get(text)
    if number is None:
        return None, f"policy-routing: no table is named {text} in rt_tables; give a number"
    if number in (0, 253, 254, 255):
        return None, f"policy-routing: table {text} is one of the system's own; give another number"
    if number in used:
        return None, f"policy-routing: table {text} has routes already; give another number"
    return number, ""


def _free(numbers: range, used: frozenset[int] | set[int]) -> int:
    return next(number for number in numbers if number not in used)
