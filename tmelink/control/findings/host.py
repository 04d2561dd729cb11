"""Findings about this computer: ports, privileges, addresses, its firewall."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from tmelink.control.findings import Finding, Subject, check
from tmelink.element import Element
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.host_interfaces.tap import Tap

NFT_SECONDS = 5

_PORT_IN_USE = "is in use by another program"


def _failed(subject: Subject) -> Iterator[tuple[Element, str]]:
    for element in subject.machine.elements.values():
        if element.state.condition == "failed":
            yield element, element.state.reason


@check
async def port_taken(subject: Subject) -> AsyncIterator[Finding]:
    """Another program has the port."""
    failed = {element: reason for element, reason in _failed(subject) if _PORT_IN_USE in reason}
    for element in failed if subject.running else subject.machine.elements.values():
        for claim in element.claims():
            if claim.what in ("udp", "tcp"):
                address, port = str(claim.where[0]), int(str(claim.where[1]))
                reason = failed.get(element) or _in_use(claim.what, address, port)
                if not reason:
                    continue
                who = await asyncio.to_thread(_holder, claim.what, port)
                yield Finding(
                    "port taken",
                    element.name,
                    f"{claim.what} port {port} is taken" + (f" by {who}" if who else ""),
                    reason,
                    "end that program, or choose another port with --lport",
                    95,
                )


@check
async def privileges(subject: Subject) -> AsyncIterator[Finding]:
    """An element lacks a capability."""
    for element, reason in _failed(subject):
        if "CAP_" in reason or "privilege" in reason or "not permitted" in reason:
            remedy = "run as root, or see docs/privileges.md for what to give instead"
            yield Finding("privileges", element.name, "the element lacks the privilege", reason, remedy, 95)


@check
async def networks_differ(subject: Subject) -> AsyncIterator[Finding]:
    """Two hosts on one switch whose addresses are of different networks."""
    for switch in subject.machine.elements.values():
        if not isinstance(switch, Switch):
            continue
        hosts = [port.peer.element for port in switch.ports if port.peer is not None]
        found = [
            (host, network)
            for host in hosts
            if isinstance(host, Host | Tap)
            and (network := getattr(getattr(host.arguments, "inet", None), "network", None)) is not None
        ]
        for host, network in found[1:]:
            first, other = found[0]
            if not network.overlaps(other):
                yield Finding(
                    "wrong network",
                    host.name,
                    f"{host.name} and {first.name} are on one switch and in different networks",
                    f"{network} and {other}",
                    "give both addresses of one network, or put a router between",
                    60,
                )


@check
async def no_address(subject: Subject) -> AsyncIterator[Finding]:
    """A TAP at a link that has no address."""
    for tap in subject.machine.elements.values():
        if not isinstance(tap, Tap) or tap.arguments.inet or tap.arguments.inet6 or tap.arguments.bridge:
            continue
        link = next((port.peer.element for port in tap.ports if port.peer is not None), None)
        network = getattr(getattr(link, "arguments", None), "network", None)
        if link is not None and network is not None and network.ifconfig is None:
            text = "the TAP has no address, so nothing answers there"
            remedy = "add 'inet ADDRESS/LENGTH', or 'bridge NAME', unless a server gives it one"
            yield Finding("no address", tap.name, text, f"{tap.name} at {link.name}", remedy, 30)


@check
async def loops(subject: Subject) -> AsyncIterator[Finding]:
    """A switch gets back what it has sent, or sees stations in two places."""
    for element in subject.machine.elements.values():
        count = subject.drops(element).get("switch loop", 0)
        trouble = getattr(element.details(), "trouble", "") if subject.running else ""
        if count or trouble:
            evidence = trouble or f"{count} x switch loop"
            text = "frames come back to the switch, or stations are in two places at once"
            remedy = "remove one of the two paths, or give each machine a MAC address of its own"
            yield Finding("loop or MAC conflict", element.name, text, evidence, remedy, 80)


@check
async def address_conflict(subject: Subject) -> AsyncIterator[Finding]:
    """Another machine has the address of a built-in host."""
    for element in subject.machine.elements.values():
        for reason in ("ARP: address conflict", "ND: address conflict"):
            count = subject.drops(element).get(reason, 0)
            if count:
                text, remedy = "another machine uses the same IP address", "give one of them another"
                yield Finding("address conflict", element.name, text, f"{count} x {reason}", remedy, 85)


@check
async def host_firewall(subject: Subject) -> AsyncIterator[Finding]:
    """This computer's firewall drops what it does not know."""
    if not (subject.running and any(not link.counters()["wire received"].frames for link in subject.links())):
        return
    for chain in await asyncio.to_thread(_dropping_chains):
        text = "this computer's firewall drops what no rule allows"
        remedy = "allow the link's port: nft add rule FAMILY TABLE CHAIN udp dport PORT accept"
        yield Finding("host firewall", "", text, f"nft chain {chain}: hook input, policy drop", remedy, 75)


@check
async def reverse_path_filter(subject: Subject) -> AsyncIterator[Finding]:
    """Strict reverse path filtering drops what comes in by another interface than answers leave by."""
    if not (subject.running and subject.links()):
        return
    for name in _strict_interfaces():
        setting = f"net.ipv4.conf.{name}.rp_filter"
        remedy = f"'sysctl {setting}=2' if the two directions take different interfaces"
        yield Finding("rp_filter", "", "strict reverse path filtering is on", f"{setting} = 1", remedy, 10)


def _strict_interfaces() -> list[str]:
    files = sorted(Path("/proc/sys/net/ipv4/conf").glob("*/rp_filter"))
    return [file.parent.name for file in files if file.read_text().strip() == "1"]


def _dropping_chains() -> list[str]:
    """The nftables chains of incoming packets whose policy is to drop, in this network namespace."""
    program = shutil.which("nft")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "-j", "list", "chains"], capture_output=True, timeout=NFT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    items: list[dict[str, Any]] = json.loads(done.stdout)["nftables"]
    chains = [item["chain"] for item in items if "chain" in item]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "input" and chain.get("policy") == "drop"
    ]


def _in_use(protocol: str, address: str, port: int) -> str:
    """Why a port cannot be bound; empty if it can, or if binding fails for another reason."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as error:
            return f"{address}:{port}: {error.strerror}" if error.errno == errno.EADDRINUSE else ""
    return ""


def _holder(protocol: str, port: int) -> str:
    """The program that has a local port (proc(5), /proc/net/udp); empty if it cannot be seen."""
    inodes = set()
    for file in (Path(f"/proc/net/{protocol}"), Path(f"/proc/net/{protocol}6")):
        if file.exists():
            for line in file.read_text().splitlines()[1:]:
                words = line.split()
                if int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) in inodes:
                process = descriptor.parents[1]
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return ""
