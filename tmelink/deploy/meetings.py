"""What `--via HOST` stands for: a rendezvous on that host, at both ends its address and the link's key."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tmelink.deploy.keys import KeyFolder, RendezvousKey
from tmelink.elements.openvpn.link import Link
from tmelink.machine import CheckedMachine
from tmelink.openvpn.options.values import Via
from tmelink.source import Mistake, Word
from tmelink.tmesh.host_access import NO_ADDRESS
from tmelink.transport.rendezvous import PORT

OPTION = "--via"
FOLDER = "keys"
"""The folder of a slice that holds its keys."""


@dataclass(frozen=True)
class Meeting:
    """Where the two ends of a link meet: a host of the file, its address, its port, the link's key there."""

    host: str
    address: str
    port: int
    key: RendezvousKey

    @property
    def file(self) -> str:
        """The key's name in a slice."""
        return f"{FOLDER}/{self.key.stem}.rendezvous"

    def options(self) -> list[str]:
        """What replaces `--via` at an end."""
        return ["--remote", self.address, str(self.port), "--rendezvous", self.file]


def without_via(words: Sequence[Word]) -> list[Word]:
    """An end's words without `--via` and its arguments."""
    kept: list[Word] = []
    skipping = False
    for word in words:
        skipping = word.text == OPTION or (skipping and not word.text.startswith("--"))
        if not skipping:
            kept.append(word)
    return kept


class Meetings:
    """The meetings of a file's links, by the place where an end is made, as `FILE:LINE:COLUMN`.

    `port` is that of hubs whose links name none. `mistakes` are those of links that cannot meet.
    """

    def __init__(self, machine: CheckedMachine, keys: KeyFolder, port: int = PORT) -> None:
        self.ends: dict[str, Meeting] = {}
        self.mistakes: list[Mistake] = []
        self._machine = machine
        together: dict[Via, list[str]] = defaultdict(list)
        for path, element in machine.elements.items():
            if isinstance(element, Link) and element.arguments.via is not None:
                together[element.arguments.via].append(path)
        for via, paths in together.items():
            wrong = list(self._wrong(via, paths))
            self.mistakes += wrong
            if not wrong:
                key = keys.rendezvous(_key_name(via))
                meeting = Meeting(via.host, machine.hosts[via.host], via.port or port, key)
                for path in paths:
                    self.ends[str(machine.places[path])] = meeting

    def _wrong(self, via: Via, paths: Sequence[str]) -> Iterator[Mistake]:
        machine, place = self._machine, self._machine.places[paths[-1]]
        words = f"{OPTION} {via}"
        if via.host not in machine.hosts:
            known = ", ".join(machine.hosts)
            yield Mistake(place, f"{words}: the file has no host {via.host}", f"it has {known}")
        elif machine.access[via.host].behind_nat or machine.hosts[via.host] == NO_ADDRESS:
            hint = "name a host that both ends can call"
            yield Mistake(place, f"{words}: host {via.host} cannot be called", hint)
        if len(paths) == 1:
            hint = f"give its other end {words} too"
            yield Mistake(place, f"{paths[0].lstrip('/')} is the only link with {words}", hint)
        elif len(paths) > 2:
            hint = f"give both ends of each link a name, as in {OPTION} {via.host} one"
            yield Mistake(place, f"{len(paths)} links have {words}", hint)

    def ports(self, host: str) -> Mapping[int, Collection[str]]:
        """The ports of `host` at which links meet, each with the names of their keys in its slice."""
        found: dict[int, dict[str, None]] = defaultdict(dict)
        for each in self.ends.values():
            if each.host == host:
                found[each.port][each.file] = None
        return found

    def block(self, host: str) -> str:
        """The block that makes a rendezvous of `host` on each port; empty where no link meets there."""
        files = self.ports(host)
        if not files:
            return ""
        machine = self._machine
        taken = {path.lstrip("/") for path in machine.elements}
        lines = []
        for port, here in sorted(files.items()):
            name = next(each for each in _names() if each not in taken)
            taken.add(name)
            keys = "".join(f" key {file}" for file in here)
            lines.append(f"    {name}: tmelink/rendezvous{_local(machine.hosts[host], port)}{keys}\n")
        return f'host {host} address "{machine.hosts[host]}" {{\n{"".join(lines)}}}\n'

    def files(self, host: str) -> Mapping[str, Path]:
        """The keys of the links that meet at `host`, by their names in its slice."""
        return {each.file: each.key.path for each in self.ends.values() if each.host == host}


def _key_name(via: Via) -> str:
    """What the key of a meeting is called; no host, port and name of another give the same."""
    host = via.host if via.port is None else f"{via.host}@{via.port}"
    return "-".join(filter(None, (host, via.name)))


def _names() -> Iterator[str]:
    """Names for an element of which a host may have several: rendezvous, rendezvous0, rendezvous1, …"""
    yield "rendezvous"
    for number in itertools.count():
        yield f"rendezvous{number}"


def _local(address: str, port: int) -> str:
    """The words that bind a rendezvous; none where it does so by itself."""
    if ":" in address:
        return f' local "[::]:{port}"'
    return "" if port == PORT else f" local {port}"
