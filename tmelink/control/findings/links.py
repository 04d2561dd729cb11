"""Findings about links that do not hear their peer."""

from __future__ import annotations

import asyncio
import datetime
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography import x509

from tmelink.control.findings import Finding, Subject, check
from tmelink.elements.openvpn.link import Link
from tmelink.reasons import REASONS
from tmelink.transport import sockets

BY_REASON = {
    "peer's port closed": ("port closed", 95),
    "refused by a firewall on the path": ("refused by a firewall", 95),
    "refused by a firewall rule": ("refused by a firewall", 95),
    "no route": ("no route", 95),
    "network unreachable": ("no route", 90),
    "network down": ("no route", 90),
    "host unreachable": ("host unreachable", 90),
    "bad hmac": ("keys differ", 90),
    "control packet not authentic": ("keys differ", 90),
    "control packet too short": ("keys differ", 85),
    "unknown opcode": ("keys differ", 85),
    "bad packet": ("ciphers or framing differ", 85),
    "bad fragment": ("ciphers or framing differ", 85),
    "bad compression": ("ciphers or framing differ", 85),
    "LZO compressed": ("ciphers or framing differ", 80),
    "compressed": ("ciphers or framing differ", 80),
    "too short": ("ciphers or framing differ", 60),
    "too long for the path": ("MTU too large", 60),
}
"""The kind of finding for drops with a reason, and how likely they are the cause."""

CLOCK_WORDS = ("expired", "not valid yet", "not yet valid")


@check
async def told_by_drops(subject: Subject) -> AsyncIterator[Finding]:
    """What the network or the key reports about a link's packets."""
    for link in subject.links():
        for reason, count in subject.drops(link).items():
            if reason in BY_REASON and count:
                kind, likelihood = BY_REASON[reason]
                _direction, meaning, remedy = REASONS[reason]
                yield Finding(kind, link.name, meaning, f"{count} x {reason}", remedy, likelihood)


@check
async def wrong_source_address(subject: Subject) -> AsyncIterator[Finding]:
    """The peer sends from another address than --remote names."""
    for link in subject.links():
        count = subject.drops(link).get("not the remote", 0)
        if count:
            text = f"datagrams come from {link.stranger}, which is not the remote"
            remedy = "correct --remote, or --local at the other end, or give --float"
            yield Finding("wrong source address", link.name, text, f"{count} x not the remote", remedy, 90)


@check
async def certificate_times(subject: Subject) -> AsyncIterator[Finding]:
    """A certificate is not valid at the time that a clock shows."""
    for link in subject.links():
        own = await asyncio.to_thread(_own_certificate, link)
        evidence = own or (link.failure if any(words in link.failure for words in CLOCK_WORDS) else "")
        if evidence:
            text = "by one end's clock, a certificate is not valid now"
            remedy = "set both computers' clocks (date, timedatectl), or renew the certificate"
            yield Finding("clock skew", link.name, text, evidence, remedy, 90)


def _own_certificate(link: Link) -> str:
    """Why this end's certificate is not valid now; empty if it is valid, or cannot be read."""
    tls = link.arguments.tls
    if tls is None or tls.cert is None:
        return ""
    try:
        own = x509.load_pem_x509_certificate(tls.cert.load(lambda path: Path(path).read_bytes()).reveal())
    except (OSError, ValueError):
        return ""
    now = datetime.datetime.now(datetime.UTC)
    if own.not_valid_before_utc <= now <= own.not_valid_after_utc:
        return ""
    return (
        f"{tls.cert} holds from {own.not_valid_before_utc:%Y-%m-%d %H:%M} to "
        f"{own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and the clock here shows {now:%Y-%m-%d %H:%M}"
    )


@check
async def too_large_for_the_path(subject: Subject) -> AsyncIterator[Finding]:
    """A link that is up, and on which the largest packets do not arrive: measured over the link itself."""
    up = [each for each in subject.machine.elements.values() if isinstance(each, Link) and each.up]
    measured = await asyncio.gather(*(link.largest_packet() for link in up)) if subject.running else ()
    for link, found in zip(up, measured, strict=False):
        if found is not None and found[1] < found[0]:
            takes, arrives = found
            evidence = f"packets of {arrives} bytes arrive at the peer, packets of {takes} do not"
            remedy = f"give both ends --tun-mtu {arrives}, or --fragment {arrives - arrives % 100} --mssfix"
            text = "the path silently drops the link's largest packets"
            yield Finding("MTU too large", link.name, text, evidence, remedy, 90)


@check
async def name_does_not_resolve(subject: Subject) -> AsyncIterator[Finding]:
    """A --remote is a name that nobody knows."""
    for link in subject.links():
        for remote in link.arguments.remotes:
            if sockets.literal_family(remote.host) is not None:
                continue
            try:
                await sockets.resolve(remote.host, remote.port, socket.SOCK_DGRAM)
            except OSError as error:
                evidence = f"{remote.host}: {error.strerror or error}"
                remedy = "correct the name in --remote, or the name servers in /etc/resolv.conf"
                text = "the name of the remote does not resolve"
                yield Finding("name does not resolve", link.name, text, evidence, remedy, 95)


@check
async def both_ends_wait(subject: Subject) -> AsyncIterator[Finding]:
    """An end that waits to be called; if the other end waits too, nothing happens."""
    for link in subject.links():
        options = link.arguments
        waits = not options.remotes or (options.tls is not None and options.tls.role == "server")
        if waits and not any(counters.frames for counters in link.counters().values()):
            evidence = "no --remote" if not options.remotes else "--tls-server"
            remedy = "give one end --remote, and one --tls-client where both have --tls-server"
            likelihood = 50 if subject.running else 20
            yield Finding(
                "both ends wait", link.name, "this end waits to be called", evidence, remedy, likelihood
            )


@check
async def nothing_heard(subject: Subject) -> AsyncIterator[Finding]:
    """Silence, which the network does not explain."""
    for link in subject.links():
        if not subject.running or not link.waits_because:
            continue
        sent, received = link.counters()["wire sent"], link.counters()["wire received"]
        if not received.frames and not any(reason in BY_REASON for reason in sent.drops):
            evidence = f"{sent.frames} datagrams sent, none received"
            remedy = (
                "start the other end; allow the port in both firewalls, and forward it in a router before it"
            )
            if link.arguments.tls is not None:
                remedy += (
                    "; compare --tls-crypt and --tls-auth, since an end with another key does not answer"
                )
            text = "the peer is silent, and nothing shows why"
            yield Finding("nothing heard", link.name, text, evidence, remedy, 70)
