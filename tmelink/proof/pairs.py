"""Which links of a file are two ends of one: by addresses, ports and protocol, as their datagrams find it.

Names are compared as they are written; nothing is resolved. A link that hears anybody is joined to the one
that says so from its own side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tmelink.elements.openvpn.link import Link
from tmelink.openvpn.options.fields import transport
from tmelink.openvpn.options.parse import Options

ANSWERS = {"udp": "udp", "tcp-server": "tcp-client", "tcp-client": "tcp-server"}
"""Which protocol the other end has."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: its options, and the address of its computer, where the file has one."""

    options: Options
    computer: str | None

    @property
    def address(self) -> str | None:
        """The address that its packets come from, where that is known."""
        return self.options.local or self.computer

    @property
    def port(self) -> int | None:
        """The port that it is found at; None for one that is chosen at the start."""
        return self.options.lport if self.options.bind and self.options.lport else None


def pairs(links: Sequence[Link], computers: Mapping[Link, str | None]) -> dict[Link, Link]:
    """The other end of each link that has it in the file, both ways."""
    found: dict[Link, Link] = {}
    for link in links:
        for other in links:
            if link is other or link in found or other in found:
                continue
            if meet(End(link.arguments, computers[link]), End(other.arguments, computers[other])):
                found[link], found[other] = other, link
    return found


def meet(one: End, other: End) -> bool:
    """Whether two ends are those of one link."""
    if ANSWERS[transport(one.options.proto)] != transport(other.options.proto):
        return False
    if one.options.dev_type != other.options.dev_type:
        return False
    calls, called = _calls(one, other), _calls(other, one)
    # One that names nobody hears whoever calls; one that names somebody hears only him.
    return bool(calls or called) and calls is not False and called is not False


def _calls(one: End, other: End) -> bool | None:
    """Whether `one` names `other` as its peer; None where it names nobody."""
    if not one.options.remotes:
        return None
    listens = transport(one.options.proto) == "tcp-server"
    return any(
        remote.host == other.address and (listens or remote.port == other.port)
        for remote in one.options.remotes
    )
