"""Conflicts: what several tunnels of one host ask for and cannot all get."""

from __future__ import annotations

from collections.abc import Mapping

from tmelink.routing.facts import IPNetwork, Route
from tmelink.routing.plan import InterfaceAddress, Plan
from tmelink.routing.tunnel import HALVES


def between(plans: Mapping[str, Plan]) -> list[str]:
    """A warning for every network that two interfaces claim; `plans` are keyed by interface name."""
    claims: dict[tuple[IPNetwork, int], str] = {}
    warnings: list[str] = []
    for device, plan in plans.items():
        for network, metric in _claimed(plan, device):
            first = claims.setdefault((network, metric), device)
            if first == device:
                continue
            what = f"the network {network}"
            if network in HALVES[network.version]:
                what = f"all IPv{network.version} traffic"
            warnings.append(
                f"{first} and {device} both claim {what}: the one that comes up first gets it; "
                "remove it from one of them, or give one a --route-metric"
            )
    return list(dict.fromkeys(warnings))


def _claimed(plan: Plan, device: str) -> list[tuple[IPNetwork, int]]:
    found: list[tuple[IPNetwork, int]] = []
    for change in plan.changes:
        if isinstance(change, Route) and change.device == device and change.table is None:
            found.append((change.destination, change.metric))
        elif isinstance(change, InterfaceAddress) and change.device == device and change.peer is None:
            found.append((change.interface.network, 0))
    return found
