"""Two identities of one host: packets from the tunnel's address use the tunnel, all others do not.

Each identity has a routing table, and each address a rule. The tunnel identity's table holds only the tunnel;
the host identity's table holds the main table without the tunnel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from tmelink.routing.facts import DEFAULT, Facts, IPAddress, IPInterface, Route
from tmelink.routing.plan import Plan, PlanStep, Rule, SysctlSetting

PRIORITIES = range(28_000, 30_000)
"""The priorities of rules: after those that administrators number by hand, before the main table (32766)."""

TABLES = range(28_000, 30_000)
"""The first number for tables without one; people choose theirs below 256."""

LOOSE = "2"
"""rp_filter's loose mode: accept a packet if any interface has a route back (RFC 3704)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The tunnel identity: its interface, its addresses and, unless it is point-to-point, its routers.

    `table` is what the file gives: a number, a name of rt_tables(5), or None for a free number.
    """

    device: str
    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...] = ()
    point_to_point: bool = True
    table: str | None = None


def plan(identity: Identity, facts: Facts, taken: Sequence[int] = ()) -> Plan:
    """Rules and tables for `identity`; `taken` are the priorities and tables that other plans use.

    `facts` may include the interface's own; only the numbers in use count.
    """
    used = facts.tables | set(taken)
    table, problem = _table(identity, facts, used)
    if table is None:
        return Plan((), (problem,))
    host_table = _free(TABLES, used | {table})
    priorities = [p for p in PRIORITIES if p not in facts.rules and p not in taken]
    facts = facts.without(identity.device)
    steps: list[PlanStep] = []
    warnings: list[str] = []
    versions = sorted({own.version for own in identity.addresses})
    for version in versions:
        gateway = next((g for g in identity.gateways if g.version == version), None)
        if gateway is None and not identity.point_to_point:
            warnings.append(
                f"policy-routing: IPv{version} packets from the tunnel's address have no router; "
                "name it with 'router ADDRESS'"
            )
            continue
        for own in identity.addresses:
            if own.version == version and own.network.prefixlen < own.max_prefixlen:
                steps.append(PlanStep(Route(own.network, identity.device, None, 0, table),
                                  "the tunnel identity: its own network"))  # fmt: skip
        steps.append(
            PlanStep(
                Route(DEFAULT[version], identity.device, gateway, 0, table),
                "the tunnel identity: everything goes through the tunnel",
            )
        )
        # The kernel accepts a route via a router only after the route to the router's network.
        outer = sorted(
            (r for r in facts.routes if r.destination.version == version and not r.destination.is_link_local),
            key=lambda r: (r.gateway is not None, -r.destination.prefixlen, r.metric, str(r)),
        )
        for route in outer:
            copy = Route(route.destination, route.device, route.gateway, route.metric, host_table)
            steps.append(PlanStep(copy, "the host identity: its ordinary routes, without the tunnel"))
        sources = [(own, table, "through the tunnel") for own in identity.addresses if own.version == version]
        if outer:
            sources += [
                (own, host_table, "by the host's ordinary routes")
                for device, own in facts.addresses
                if own.version == version and not own.ip.is_loopback and not own.ip.is_link_local
            ]
        for own, number, how in sources:
            rule = Rule(priorities.pop(0), ipaddress.ip_network(own.ip), number)
            steps.append(PlanStep(rule, f"packets from {own.ip} go {how}"))
    if 4 in versions:
        steps.append(
            PlanStep(
                SysctlSetting(f"net/ipv4/conf/{identity.device}/rp_filter", LOOSE),
                "accept packets from the tunnel although the main table routes the answer elsewhere",
            )
        )
    return Plan(tuple(steps), tuple(warnings))


def _table(identity: Identity, facts: Facts, used: frozenset[int] | set[int]) -> tuple[int | None, str]:
    text = identity.table
    if text is None:
        return _free(TABLES, used), ""
    number = int(text) if text.isascii() and text.isdigit() else facts.table_names.get(text)
    if number is None:
        return None, f"policy-routing: no table is named {text} in rt_tables; give a number"
    if number in (0, 253, 254, 255):
        return None, f"policy-routing: table {text} belongs to the system; give another number"
    if number in used:
        return None, f"policy-routing: table {text} already has routes; give another number"
    return number, ""


def _free(numbers: range, used: frozenset[int] | set[int]) -> int:
    return next(number for number in numbers if number not in used)
