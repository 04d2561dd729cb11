"""A host as the router of the Ethernet on one of its interfaces: forwarding, AutoNAT, proxy ARP, proxy NDP.

This module only plans; `tmelink.system` carries the plans out.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tmelink.routing.facts import Facts, IPAddress, IPInterface, IPNetwork
from tmelink.routing.plan import Masquerade, Plan, PlanStep, Proxied, SysctlSetting

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """What the host does as a router for the network on the interface `device`.

    `behind` are other networks that are reached through it. `nat` and `proxy_arp` name an uplink interface of
    the host; `nat` may be "auto", the interface of the default route when the plan is made. `forward` are
    interfaces to and from which packets are forwarded without translation.
    """

    device: str
    addresses: tuple[IPInterface, ...] = ()
    behind: tuple[IPNetwork, ...] = ()
    nat: str | None = None
    forward: tuple[str, ...] = ()
    proxy_arp: str | None = None
    proxy_ndp: tuple[IPAddress, ...] = ()


def plan(router: RouterSettings, facts: Facts) -> Plan:
    """Forwarding in both directions, address translation for packets that leave, proxy ARP and proxy NDP."""
    facts = facts.without(router.device)
    steps: list[PlanStep] = []
    warnings: list[str] = []
    versions = sorted({own.version for own in router.addresses})
    for version in versions:
        uplink = router.nat
        if uplink == AUTO:
            default = facts.default(version)
            uplink = None if default is None else default.device
            if uplink is None and version == 4:
                warnings.append(
                    "nat auto: the host has no default route, so there is no interface to translate on"
                )
        others = [name for name in (uplink, *router.forward, router.proxy_arp) if name is not None]
        if not others:
            continue
        steps += forwarding(version, router.device, others, facts)
        if uplink is not None:
            all_networks = (*(own.network for own in router.addresses), *router.behind)
            networks = tuple(dict.fromkeys(n for n in all_networks if n.version == version))
            steps.append(
                PlanStep(
                    Masquerade(router.device, networks, uplink),
                    f"packets from the network on {router.device} leave {uplink} with its address",
                )
            )
    steps += _proxies(router, facts)
    return Plan(tuple(dict.fromkeys(steps)), tuple(warnings))


def forwarding(version: int, device: str, others: list[str], facts: Facts) -> list[PlanStep]:
    """Forwarding between `device` and `others`, for as few interfaces as the kernel allows."""
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
    return [
        *steps,
        PlanStep(whole, "IPv6 is forwarded: this kernel can only forward for all interfaces or none"),
    ]


def _still_learning(name: str, facts: Facts) -> list[PlanStep]:
    """A router ignores router advertisements, unless accept_ra is 2."""
    learns = f"net/ipv6/conf/{name}/accept_ra"
    if facts.settings.get(learns) != "1":
        return []
    return [PlanStep(SysctlSetting(learns, "2"), "a router that still accepts router advertisements")]


def _proxies(router: RouterSettings, facts: Facts) -> list[PlanStep]:
    steps = []
    uplink = router.proxy_arp
    if uplink is not None:
        for name, whose in ((uplink, router.device), (router.device, uplink)):
            steps.append(
                PlanStep(
                    SysctlSetting(f"net/ipv4/conf/{name}/proxy_arp", "1"),
                    f"this host answers ARP on {name} for addresses behind {whose}",
                )
            )
        if router.proxy_ndp:
            steps += _still_learning(uplink, facts)
            steps.append(
                PlanStep(
                    SysctlSetting(f"net/ipv6/conf/{uplink}/forwarding", "1"),
                    "only routers answer for other hosts",
                )
            )
            steps.append(
                PlanStep(
                    SysctlSetting(f"net/ipv6/conf/{uplink}/proxy_ndp", "1"),
                    f"the same for IPv6 on {uplink}",
                )
            )
        for address in router.proxy_ndp:
            assert ipaddress.ip_address(address).version == 6
            steps.append(
                PlanStep(
                    Proxied(uplink, address),
                    f"this host answers for {address}, which is behind {router.device}",
                )
            )
    return steps
