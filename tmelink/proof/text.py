"""A proof for a person to read, and as plain data for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tmelink.proof.hops import Hop, Proof, UnderlayPackets
from tmelink.sizes import HeaderSize, listed

_INDENT = "      "


def lines(proof: Proof) -> list[str]:
    """The path, hop by hop."""
    ping = proof.ping
    source = proof.source.name + (f" ({proof.sender})" if proof.sender is not None else "")
    uncut = ", not to be fragmented (DF)" if ping.df else ""
    said = f"a ping with {ping.data} bytes of data, a packet of {ping.packet}{uncut}"
    found = [f"{source} -> {proof.destination}: {said}", ""]
    for number, hop in enumerate(proof.hops, 1):
        found.append(f"{number:>3}  {hop.name}  [{_place(hop)}]")
        found += [f"{_INDENT}{text}" for text in _hop(hop)]
    found += ["", f"  => {proof.verdict}: {proof.reason}"]
    if proof.back:
        found.append(f"     {proof.back}")
    return found


def _place(hop: Hop) -> str:
    return f"{hop.place.source.name}:{hop.place.line}"


def _hop(hop: Hop) -> list[str]:
    found = [hop.does]
    if hop.headers:
        total = sum(header.bytes for header in hop.headers)
        found.append(f"+{total} bytes: {headers(hop.headers)}")
    if hop.underlay is not None:
        found.append(underlay(hop.underlay))
        if hop.underlay.path is not None:
            found.append(str(hop.underlay.path))
    sizes = f"inner IP packets: {listed(hop.packets)}"
    found.append(sizes if hop.room is None else f"{sizes}; up to {hop.room} pass whole")
    if hop.remark:
        found.append(hop.remark)
    return found


def headers(given: Sequence[HeaderSize]) -> str:
    """Headers, the outermost first."""
    return ", ".join(f"{header.name} {header.bytes}" for header in given)


def underlay(sent: UnderlayPackets) -> str:
    """The underlay packets in one line."""
    port = "" if sent.port is None else f" port {sent.port}"
    ends = f"{sent.source or 'its own address'} -> {sent.destination or 'whoever has called'}{port}"
    what = "bytes of stream" if sent.stream else "IP packets"
    return f"underlay: {sent.carrier} {ends}, {what}: {listed(sent.sizes)}"


def data(proof: Proof) -> dict[str, Any]:
    """The proof for --json."""
    return {
        "from": proof.source.name,
        "sender": None if proof.sender is None else str(proof.sender),
        "to": proof.destination,
        "data": proof.ping.data,
        "packet": proof.ping.packet,
        "df": proof.ping.df,
        "hops": [_hop_data(hop) for hop in proof.hops],
        "verdict": proof.verdict,
        "reason": proof.reason,
        "back": proof.back or None,
    }


def _hop_data(hop: Hop) -> dict[str, Any]:
    sent = hop.underlay
    return {
        "element": hop.name,
        "file": hop.place.source.name,
        "line": hop.place.line,
        "does": hop.does,
        "headers": [header._asdict() for header in hop.headers],
        "packets": list(hop.packets),
        "room": hop.room,
        "outside": None
        if sent is None
        else {
            "source": sent.source,
            "destination": sent.destination,
            "carrier": sent.carrier,
            "port": sent.port,
            "stream": sent.stream,
            "sizes": list(sent.sizes),
            "path": None if sent.path is None else {"mtu": sent.path.mtu, "why": sent.path.why},
        },
        "remark": hop.remark or None,
    }
