"""What `--via HOST` stands for: a rendezvous on that host, at both ends its address and the link's key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
    """Where the two ends of a link meet: a host of the file, its address, and the link's key there."""

    host: str
    address: str
    key: RendezvousKey

    @property
    def file(self) -> str:
        """The key's name in a slice."""
        return f"{FOLDER}/{self.key.stem}.rendezvous"

    def options(self) -> list[str]:
        """What stands in the place of `--via` at an end."""
        return ["--remote", self.address, str(PORT), "--rendezvous", self.file]


def without_via(words: Sequence[Word]) -> list[Word]:
    """An end's words less `--via` and its arguments."""
    kept: list[Word] = []
    skipping = False
    for word in words:
        skipping = word.text == OPTION or (skipping and not word.text.startswith("--"))
        if not skipping:
            kept.append(word)
    return kept


class Meetings:
    """The meetings of a file's links, by the place where an end is made, as `FILE:LINE:COLUMN`.

    `mistakes` are those of links that cannot meet.
    """

    def __init__(self, machine: CheckedMachine, keys: KeyFolder) -> None:
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
                key = keys.rendezvous("-".join(filter(None, (via.host, via.name))))
                for path in paths:
                    self.ends[str(machine.places[path])] = Meeting(via.host, machine.hosts[via.host], key)

    def _wrong(self, via: Via, paths: Sequence[str]) -> Iterator[Mistake]:
        machine, place = self._machine, self._machine.places[paths[-1]]
        words = " ".join(filter(None, (OPTION, *via)))
        if via.host not in machine.hosts:
            known = ", ".join(machine.hosts)
            yield Mistake(place, f"{words}: the file has no host {via.host}", f"it has {known}")
        elif machine.access[via.host].behind_nat or machine.hosts[via.host] == NO_ADDRESS:
            hint = "name a host that both ends can call"
            yield Mistake(place, f"{words}: host {via.host} cannot be called", hint)
        if len(paths) == 1:
            hint = f"give its other end {words} too"
            yield Mistake(place, f"{paths[0].lstrip('/')} is alone with {words}", hint)
        elif len(paths) > 2:
            hint = f"give the two ends of each a name of their own, as in {OPTION} {via.host} one"
            yield Mistake(place, f"{len(paths)} links have {words}", hint)

    def block(self, host: str) -> str:
        """The block that makes the rendezvous of `host`; empty where no link meets there."""
        files = list(self.files(host))
        if not files:
            return ""
        machine = self._machine
        name, address = "rendezvous", machine.hosts[host]
        while f"/{name}" in machine.elements:
            name += "0"
        local = f' local "[::]:{PORT}"' if ":" in address else ""
        keys = "".join(f" key {file}" for file in files)
        return f'host {host} address "{address}" {{\n    {name}: tmelink/rendezvous{local}{keys}\n}}\n'

    def files(self, host: str) -> Mapping[str, Path]:
        """The keys of the links that meet at `host`, by their names in its slice."""
        return {each.file: each.key.path for each in self.ends.values() if each.host == host}
