"""Replaces `--secure` with roles, keys and fingerprints, and finds links that nobody can call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.meetings import FOLDER as KEYS
from tmelink.deploy.meetings import Meeting, Meetings, without_via
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.machine import CheckedMachine
from tmelink.openvpn.options import secure
from tmelink.openvpn.options.fields import transport
from tmelink.proof.topology import Topology
from tmelink.source import Mistake, Place, Word
from tmelink.tmesh.host_access import NO_ADDRESS, HostAccess


@dataclass(frozen=True)
class SecureEnd:
    """One end: its host, the name of its key files, and its peers' fingerprints.

    `calls` says whether it begins TLS, where its words do not; `meeting` where it meets the other end, unless
    one calls the other.
    """

    host: str
    stem: str
    peers: tuple[str, ...]
    calls: bool
    meeting: Meeting | None = None

    def replaced(self, words: Sequence[Word]) -> list[Word]:
        """`words` with what `--secure` and `--via` stand for; key files are relative to the slice."""
        place = next(word.place for word in words if word.text == secure.OPTION)
        plain = [word for word in without_via(words) if word.text != secure.OPTION]
        stem = f"{KEYS}/{self.stem}"
        added = secure.options(words, f"{stem}.key", f"{stem}.crt", self.peers, calls=self.calls)
        added += [] if self.meeting is None else self.meeting.options()
        return [*plain, *(Word(text, place) for text in added)]


class SecureLinks:
    """The ends with `--secure`, by the place where their element is made, as `FILE:LINE:COLUMN`.

    `mistakes` are those that have no other end to be secure with.
    """

    def __init__(
        self, machine: CheckedMachine, topology: Topology, keys: KeyFolder, meetings: Meetings
    ) -> None:
        self.ends: dict[str, SecureEnd] = {}
        self.mistakes: list[Mistake] = []
        self._topology = topology
        self._keys = keys
        self._meetings = meetings
        for path, element in machine.elements.items():
            if isinstance(element, Link | Server) and element.arguments.awaits_keys:
                self._add(element, machine.places[path])

    @property
    def hosts(self) -> set[str]:
        """The hosts whose keys are in use."""
        return {end.host for end in self.ends.values()}

    def _add(self, element: Link | Server, place: Place) -> None:
        topology = self._topology
        own = topology.home(element)
        if own is None:
            self._complain(
                place,
                f"{element.name} is --secure, but not on a host of the file",
                "put it in 'host NAME address ADDRESS { … }'",
            )
            return
        peers = topology.link_ends(element)
        if not peers and isinstance(element, Link) and element.arguments.via is not None:
            return  # `Meetings` says why.
        if not peers:
            self._complain(
                place,
                f"{element.name} is --secure, but its other end is not in the file",
                "check the addresses, ports and protocols of both ends",
            )
            return
        for peer in peers:
            if not peer.arguments.awaits_keys:
                message = f"{element.name} is --secure, and its other end {peer.name} is not"
                self._complain(place, message, f"give {peer.name} --secure too")
        homes = {home for peer in peers if (home := topology.home(peer)) is not None}
        prints = tuple(self._keys.of(home).fingerprint for home in sorted(homes))
        self.ends[str(place)] = SecureEnd(
            own,
            self._keys.of(own).stem,
            prints,
            _calls(element, peers[0]),
            self._meetings.ends.get(str(place)),
        )

    def _complain(self, place: Place, message: str, hint: str) -> None:
        self.mistakes.append(Mistake(place, message, hint))


def _calls(one: Link | Server, other: Link | Server) -> bool:
    """Whether `one` is the end that begins TLS: the one that calls, or of two such the second by name."""
    if transport(one.arguments.proto) == "tcp-client":
        return True
    if transport(other.arguments.proto) == "tcp-client":
        return False
    calls, called = bool(one.arguments.remotes), bool(other.arguments.remotes)
    return calls if calls != called else one.name > other.name


def unreachable(machine: CheckedMachine, topology: Topology) -> Iterator[Mistake]:
    """A mistake for each link whose `--remote` is a host that nobody can call."""
    closed = {
        machine.hosts[name]: name
        for name, access in machine.access.items()
        if access.behind_nat and machine.hosts[name] != NO_ADDRESS
    }
    for path, element in machine.elements.items():
        if not isinstance(element, Link):
            continue
        for remote in element.arguments.remotes:
            host = closed.get(remote.host)
            if host is not None and host != topology.home(element):
                yield Mistake(
                    machine.places[path],
                    f"{element.name} calls {remote.host}, and host {host} is behind NAT",
                    _remedy(machine.access, host, topology.home(element)),
                )


def _remedy(access: Mapping[str, HostAccess], host: str, caller: str | None) -> str:
    if caller is not None and access[caller].behind_nat:
        return (
            f"neither {caller} nor {host} can be called: write '--secure --via HOST' in place of --remote at "
            "both ends, where HOST is a third host of the file, let both be clients of a server there, or "
            "forward a port at one router and give that address"
        )
    return f"leave --remote out here, and let the link on {host} call this host"
