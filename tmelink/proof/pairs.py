"""Finds the links of a file that are the two ends of one link, by addresses, ports and protocol.

Host names are compared as written; nothing is resolved. A link without `--remote` accepts any peer, so it is
paired with the link that names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tmelink.elements.openvpn.link import Link
from tmelink.openvpn.options.fields import transport
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.options.values import Via

T = TypeVar("T", bound=Hashable)

ANSWERS = {"udp": "udp", "tcp-server": "tcp-client", "tcp-client": "tcp-server"}
"""The protocol of the other end."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: its options, and the address of its computer where the file gives one."""

    options: Options
    computer: str | None

    @property
    def address(self) -> str | None:
        """The source address of its packets, if that is known."""
        return self.options.local or self.computer

    @property
    def called(self) -> set[str]:
        """The addresses and names of its --remote options."""
        return {remote.host for remote in self.options.remotes}

    @property
    def port(self) -> int | None:
        """The port that it listens on; None for one that is chosen at the start."""
        return self.options.lport if self.options.bind and self.options.lport else None


def pairs(links: Sequence[Link], computers: Mapping[Link, str | None]) -> dict[Link, Link]:
    """The other end of each link whose other end is in the file, in both directions."""
    found = _by_rendezvous(links)
    ends = {link: End(link.arguments, computers[link]) for link in links}
    named = NamedEnds(ends)
    for link in links:
        for other in named.near(ends[link]):
            if link is other or link in found or other in found:
                continue
            if meet(ends[link], ends[other]):
                found[link], found[other] = other, link
    return found


def _by_rendezvous(links: Sequence[Link]) -> dict[Link, Link]:
    """Links with the same --via, where there are two of them; neither names an address."""
    together: dict[Via, list[Link]] = defaultdict(list)
    for link in links:
        if link.arguments.via is not None:
            together[link.arguments.via].append(link)
    return {one: other for ends in together.values() if len(ends) == 2 for one, other in (ends, ends[::-1])}


class NamedEnds(Generic[T]):
    """Ends by the addresses that they have and that they name, so that few need a closer look."""

    def __init__(self, ends: Mapping[T, End]) -> None:
        self._order = {key: number for number, key in enumerate(ends)}
        self._at: dict[str, list[T]] = defaultdict(list)
        self._calling: dict[str, list[T]] = defaultdict(list)
        for key, end in ends.items():
            if end.address is not None:
                self._at[end.address].append(key)
            for host in end.called:
                self._calling[host].append(key)

    def near(self, end: End) -> list[T]:
        """Those that `end` names, or that name it, in their order."""
        found = {key for host in end.called for key in self._at.get(host, ())}
        if end.address is not None:
            found.update(self._calling.get(end.address, ()))
        return sorted(found, key=self._order.__getitem__)


def meet(one: End, other: End) -> bool:
    """Whether two ends belong to one link."""
    if ANSWERS[transport(one.options.proto)] != transport(other.options.proto):
        return False
    if one.options.dev_type != other.options.dev_type or one.options.via or other.options.via:
        return False
    calls, called = _calls(one, other), _calls(other, one)
    # An end without --remote accepts any peer; one with --remote accepts only that peer.
    return bool(calls or called) and calls is not False and called is not False


def why_not(one: End, other: End) -> str | None:
    """What keeps two ends apart that name each other's addresses; None if nothing does."""
    if not (_names(one, other) and _names(other, one)):
        return None
    here, there = transport(one.options.proto), transport(other.options.proto)
    if one.options.dev_type != other.options.dev_type:
        return f"one has --dev {one.options.dev_type} and the other --dev {other.options.dev_type}"
    if ANSWERS[here] != there:
        both = f"both have --proto {here}" if here == there else f"one has --proto {here}, the other {there}"
        return f"{both}; a {here} end meets a {ANSWERS[here]} end"
    misses = [
        f"port {', '.join(str(remote.port) for remote in caller.options.remotes)} is called where "
        f"port {called.port} listens"
        for caller, called in ((one, other), (other, one))
        if called.port is not None and _calls(caller, called) is False
    ]
    return "; ".join(misses) or None


def _names(one: End, other: End) -> bool:
    return any(remote.host == other.address for remote in one.options.remotes)


def _calls(one: End, other: End) -> bool | None:
    """Whether `one` names `other` as its peer; None if it names no peer."""
    if not one.options.remotes:
        return None
    listens = transport(one.options.proto) == "tcp-server"
    return any(
        remote.host == other.address and (listens or remote.port == other.port)
        for remote in one.options.remotes
    )
