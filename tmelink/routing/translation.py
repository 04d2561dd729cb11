"""A host as router of the Ethernet on one of its interfaces: forwarding, AutoNAT, proxy ARP, proxy NDP.

Plans only; how the kernel is told is `tmelink.system`'s.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tmelink.routing.facts import Facts, IPAddress, IPInterface, IPNetwork
from tmelink.routing.plan import Masquerade, Plan, PlanStep, Proxied, SysctlSetting

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """What an interface is to do for the network on it: `nat` and `proxy_arp` name the interface outside.

    `behind` are networks that are reached by it beside its own.
    `nat` may be "auto": the interface of the default route when the plan is made. `forward` are interfaces
    that packets are forwarded to and from without translation.
    """

    device: str
    addresses: tuple[IPInterface, ...] = ()
    behind: tuple[IPNetwork, ...] = ()
    nat: str | None = None
    forward: tuple[str, ...] = ()
    proxy_arp: str | None = None
    proxy_ndp: tuple[IPAddress, ...] = ()


def plan(router: RouterSettings, facts: Facts) -> Plan:
    """Forwarding in both directions, translation on the way out, answers for the neighbours' neighbours."""
    facts = facts.without(router.device)
    steps: list[PlanStep] = []
    warnings: list[str] = []
    versions = sorted({own.version for own in router.addresses})
    for version in versions:
        outside = router.nat
        if outside == AUTO:
            default = facts.default(version)
            outside = None if default is None else default.device
            if outside is None and version == 4:
                warnings.append(
                    "nat auto: the host has no default route, so there is no way out to translate"
                )
        ways = [way for way in (outside, *router.forward, router.proxy_arp) if way is not None]
        if not ways:
            continue
        steps += forwarding(version, router.device, ways, facts)
        if outside is not None:
            all_networks = (*(own.network for own in router.addresses), *router.behind)
            networks = tuple(dict.fromkeys(n for n in all_networks if n.version == version))
            steps.append(
                PlanStep(
                    Masquerade(router.device, networks, outside),
                    f"packets from the network on {router.device} leave {outside} under its address",
                )
            )
    steps += _proxies(router, facts)
    return Plan(tuple(dict.fromkeys(steps)), tuple(warnings))


def forwarding(version: int, device: str, others: list[str], facts: Facts) -> list[PlanStep]:
    """Forwarding between `device` and `others`, as narrowly as the kernel allows."""
    reason = "packets that come in here are forwarded"
    if version == 4:
        return [
            PlanStep(SysctlSetting(f"net/ipv4/conf/{name}/forwarding", "1"), reason)
            for name in (device, *others)
        ]
    if facts.forwards_singly:
        return [
            PlanStep(SysctlSetting(f"net/ipv6/conf/{name}/force_forwarding", "1"), reason)
            for name in (device, *others)
        ]
    steps = [step for name in others for step in _still_learning(name, facts)]
    whole = SysctlSetting("net/ipv6/conf/all/forwarding", "1", wide=True)
    return [*steps, PlanStep(whole, "IPv6 is forwarded: this kernel knows only all interfaces or none")]


def _still_learning(name: str, facts: Facts) -> list[PlanStep]:
    """A router takes no router advertisements, unless it is told to."""
    learns = f"net/ipv6/conf/{name}/accept_ra"
    if facts.settings.get(learns) != "1":
        return []
    return [PlanStep(SysctlSetting(learns, "2"), "a router that still takes its own router's word")]


def _proxies(router: RouterSettings, facts: Facts) -> list[PlanStep]:
    steps = []
    outside = router.proxy_arp
    if outside is not None:
        for name, whose in ((outside, router.device), (router.device, outside)):
            steps.append(
                PlanStep(
                    SysctlSetting(f"net/ipv4/conf/{name}/proxy_arp", "1"),
                    f"who asks on {name} for an address behind {whose} is answered by this host",
                )
            )
        if router.proxy_ndp:
            steps += _still_learning(outside, facts)
            steps.append(
                PlanStep(
                    SysctlSetting(f"net/ipv6/conf/{outside}/forwarding", "1"),
                    "only routers answer for others",
                )
            )
            steps.append(
                PlanStep(
                    SysctlSetting(f"net/ipv6/conf/{outside}/proxy_ndp", "1"),
                    f"the same for IPv6 on {outside}",
                )
            )
        for address in router.proxy_ndp:
            assert ipaddress.ip_address(address).version == 6
            steps.append(
                PlanStep(
                    Proxied(outside, address), f"{address} is behind {router.device}, and answered for here"
                )
            )
    return steps
