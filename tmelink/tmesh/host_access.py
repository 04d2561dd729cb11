"""How the file says to reach a host: the words after its address, for `tmelink deploy`.

    host NAME address ADDRESS [behind nat] [ssh [USER@]HOST[:PORT]] [python PATH] [vars NAME=VALUE…] { … }

Nobody can call a host with `address none`, or one that is `behind nat`; ADDRESS is then its own in its
private network. Knows the words; connects to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tmelink import values
from tmelink.source import Mistake, Report, Word, suggestion

NO_ADDRESS = "none"
"""What `address` says of a host that has no address others could use."""

WORDS = ("behind", "ssh", "python", "vars")
"""What may follow a host's address."""

_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_USER = re.compile(r"[A-Za-z_][\w.-]*\$?")


class SshTarget(NamedTuple):
    """Where ssh connects; without a user or port, the user's own ssh configuration decides."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class HostAccess:
    """How to reach a host; `python` is the interpreter there, `variables` are Ansible's."""

    behind_nat: bool = False
    ssh: SshTarget | None = None
    python: str | None = None
    variables: dict[str, str] = field(default_factory=dict)


def ssh_target(text: str) -> SshTarget:
    """`[USER@]HOST[:PORT]`, an IPv6 address with a port in brackets; `ValueError` for anything else."""
    user, at, rest = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise ValueError(f"'{user}' is not a valid user name")
    port = None
    if rest.startswith("["):
        host, closed, tail = rest[1:].partition("]")
        if not closed or (tail and not tail.startswith(":")):
            raise ValueError(f"'{rest}' is not a host; write [ADDRESS]:PORT")
        rest, tail = host, tail[1:]
    elif rest.count(":") == 1:
        rest, _, tail = rest.partition(":")
    else:
        tail = ""
    if tail:
        port = values.integer(1, 65535, "port")(tail)
    return SshTarget(values.host(rest), user if at else None, port)


def read(words: Sequence[Word], report: Report) -> HostAccess:
    """The access that the words after a host's address give; `report` takes every mistake."""
    reader = _AccessReader(words, report)
    reader.run()
    return reader.access


class _AccessReader:
    """Takes the words one after the other; each setting has a method of its name."""

    def __init__(self, words: Sequence[Word], report: Report) -> None:
        self.words = list(words)
        self.report = report
        self.access = HostAccess()

    def run(self) -> None:
        seen: set[str] = set()
        while self.words:
            name = self.words.pop(0)
            if name.text not in WORDS:
                hint = suggestion(name.text, WORDS) or f"it takes {', '.join(WORDS)}"
                self.report(Mistake(name.place, f"unknown setting {name} of a host", hint))
                continue
            if name.text in seen:
                self.report(Mistake(name.place, f"{name} is given twice"))
            seen.add(name.text)
            if not self.words:
                self.report(Mistake(name.place, f"a value is missing after {name}"))
                return
            getattr(self, name.text)()

    def behind(self) -> None:
        word = self.words.pop(0)
        if word.text != "nat":
            self.report(Mistake(word.place, f"expected 'nat' after 'behind', found {word}"))
        self.access = replace(self.access, behind_nat=True)

    def ssh(self) -> None:
        word = self.words.pop(0)
        try:
            self.access = replace(self.access, ssh=ssh_target(word.text))
        except ValueError as error:
            self.report(Mistake(word.place, str(error)))

    def python(self) -> None:
        self.access = replace(self.access, python=self.words.pop(0).text)

    def vars(self) -> None:
        found: dict[str, str] = {}
        while self.words and self.words[0].text not in WORDS:
            word = self.words.pop(0)
            match = _VARIABLE.fullmatch(word.text)
            if match is None:
                self.report(Mistake(word.place, f"{word} is not a variable", "write NAME=VALUE"))
            else:
                found[match[1]] = match[2]
        self.access = replace(self.access, variables=found)
