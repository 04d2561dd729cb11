"""What the two ends of each link of a deployed file say of it, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.proof.topology import Topology

HostElement = tuple[str, str]
"""A host of the file, and an element there."""

SAME = {"cipher": "the cipher", "mtu": "--tun-mtu", "tls": "TLS"}
"""Details that both ends of a link should give alike, and what they are called."""

LIKELIHOOD = 90
"""Of a difference between two ends, in percent: nothing else is as near to the cause."""


def pairs(topology: Topology) -> Iterator[tuple[Link, Link | Server]]:
    """The ends of each link, those of two links once."""
    for link in topology.links:
        for other in topology.link_ends(link):
            if isinstance(other, Server) or _end(topology, link) < _end(topology, other):
                yield link, other


def names(topology: Topology) -> Iterator[tuple[str, str]]:
    """The ends of each link as `HOST/ELEMENT`."""
    for link, other in pairs(topology):
        yield "/".join(_end(topology, link)), "/".join(_end(topology, other))


def differences(topology: Topology, rows: Mapping[HostElement, Any]) -> Iterator[dict[str, Any]]:
    """Findings, as the doctor's, where the two ends do not say the same.

    `rows` are the elements of each host's status. An end of a host that does not answer has no row.
    """
    for link, other in pairs(topology):
        one, two = _end(topology, link), _end(topology, other)
        found = rows.get(one), rows.get(two)
        up = [row is not None and row["state"] == "up" for row in found]
        if up[0] != up[1]:
            standing, (host, name), row = (one, two, found[1]) if up[0] else (two, one, found[0])
            why = "its host did not answer" if row is None else row["reason"] or row["state"]
            text = f"{standing[1]} on {standing[0]} is up, but {name} on {host} is not: {why}"
            remedy = f"look at {host} with 'tmelink events'; the end that is up may not know yet"
            if row is None:
                remedy = f"see whether ssh reaches {host}, and whether its lab runs"
            yield _finding("one end is up", (host, name), text, remedy)
        elif all(up):
            yield from _unlike(one, two, found[0], found[1])
            if isinstance(other, Server) and link.arguments.awaits_keys:
                yield from _absent(one, two, found[1])


def _unlike(one: HostElement, two: HostElement, first: Any, second: Any) -> Iterator[dict[str, Any]]:
    mine, theirs = first["details"] or {}, second["details"] or {}
    for key, what in SAME.items():
        here, there = mine.get(key), theirs.get(key)
        if here is not None and there is not None and here != there:
            text = f"{what} is {here} at {one[1]} on {one[0]}, and {there} at {two[1]} on {two[0]}"
            yield _finding("the ends differ", one, text, "deploy the file again; one end runs an older one")


def _absent(one: HostElement, server: HostElement, row: Any) -> Iterator[dict[str, Any]]:
    """With --secure a client has its host's name."""
    clients = (row["details"] or {}).get("clients", ())
    if one[0] not in {client["name"] for client in clients}:
        text = f"{one[1]} on {one[0]} is up, but {server[1]} on {server[0]} has no client {one[0]}"
        yield _finding("one end is up", server, text, "wait for the link's --ping-restart, which finds out")


def _finding(kind: str, where: HostElement, text: str, remedy: str) -> dict[str, Any]:
    return {
        "kind": kind, "element": "/".join(where), "text": text, "evidence": "what both ends say of the link",
        "remedy": remedy, "likelihood": LIKELIHOOD,
    }  # fmt: skip


def _end(topology: Topology, element: Link | Server) -> HostElement:
    return topology.home(element) or "", element.name
