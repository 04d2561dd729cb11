"""Gives the name servers of an interface to the host's resolver, and takes them back.

Through systemd-resolved (resolvectl(1)) where that writes /etc/resolv.conf, else through resolvconf(8). Both
keep what they are given by interface. A file /etc/resolv.conf that neither looks after is left alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Literal

from tmelink.errors import ElementError
from tmelink.routing.dns import Dns, DnsServer
from tmelink.system import journal, namespaces, programs
from tmelink.system.journal import Journal

Manager = Literal["resolvectl", "resolvconf"]

CONFIGURATION = Path("/etc/resolv.conf")

MAX_NAMESERVERS = 3
"""Lines `nameserver` that a C library reads (resolv.conf(5), MAXNS)."""

REMEDY = "set them by hand, or name a script with --dns-updown"


def manager() -> Manager | None:
    """Who looks after the host's name servers; None if nobody does."""
    if shutil.which("resolvectl") and "systemd" in os.path.realpath(CONFIGURATION):
        return "resolvectl"
    return "resolvconf" if shutil.which("resolvconf") else None


def of_the_host() -> bool:
    """Whether this process is in the network of the whole system, whose resolver it asks.

    A resolver knows an interface by its number, which means another one in another namespace.
    """
    own = _inode(Path("/proc/self/ns/net"))
    first = _inode(Path("/proc/1/ns/net"))
    if first is not None:
        return own == first
    # Not to be seen without privilege; what has a name is another one.
    named = namespaces.DIRECTORY.iterdir() if namespaces.DIRECTORY.is_dir() else ()
    return own not in map(_inode, named)


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


class InterfaceNames:
    """The name servers of one interface, as the host's resolver has them."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._manager: Manager | None = None
        self._journal: Journal | None = None

    async def set(self, dns: Dns) -> str:
        """Replace the name servers; returns which resolver has them.

        Raises `ElementError` with the remedy.
        """
        who = self._manager or manager()
        if who is None:
            raise ElementError(f"neither systemd-resolved nor resolvconf is here; {REMEDY}")
        if who == "resolvectl":
            for words in resolvectl(dns, self._device):
                await _run(words)
        else:
            await asyncio.to_thread(self._note)
            await _run(["resolvconf", "-a", self._device], resolvconf(dns))
        self._manager = who
        return who

    async def reset(self) -> None:
        """Withdraw the name servers; raises `ElementError`."""
        who, self._manager = self._manager, None
        if who == "resolvectl":
            await _run(["resolvectl", "revert", self._device])
        elif who == "resolvconf":
            await _run(["resolvconf", "-d", self._device])
        if self._journal is not None:
            self._journal.forget(self._journal.entries[0])
            self._journal.close()
            self._journal = None

    def _note(self) -> None:
        """What resolvconf is told outlives the interface, so it stands in the journal."""
        if self._journal is None:
            with journal.alone():
                self._journal = Journal()
            self._journal.note(["resolvconf", self._device])


def resolvectl(dns: Dns, device: str) -> list[list[str]]:
    """The commands that give an interface its name servers; raises `ElementError` if none can be used."""
    server = _usable(dns, [server for server in dns.servers if server.transport != "DoH"], "DNS over HTTPS")
    if not server.addresses:
        return [["resolvectl", "domain", device, *dns.search]]
    sni = f"#{server.sni}" if server.transport == "DoT" and server.sni else ""
    routing = [f"~{name}" for name in server.domains if name not in dns.search]
    dnssec = {"yes": "true", "optional": "allow-downgrade"}.get(server.dnssec or "no", "false")
    return [
        ["resolvectl", "dns", device, *(f"{address}{sni}" for address in server.addresses)],
        ["resolvectl", "default-route", device, "false" if server.domains else "true"],
        ["resolvectl", "domain", device, *dns.search, *(routing if server.domains else ["~."])],
        ["resolvectl", "dnssec", device, dnssec],
        ["resolvectl", "dnsovertls", device, "true" if server.transport == "DoT" else "false"],
    ]


def resolvconf(dns: Dns) -> str:
    """What stands in /etc/resolv.conf for them; raises `ElementError` if none can be used."""
    what = "DNSSEC, an encrypted transport or a port"
    server = _usable(dns, [server for server in dns.servers if server.plain], what)
    lines = [f"nameserver {address.host}\n" for address in server.addresses[:MAX_NAMESERVERS]]
    return "".join((*lines, f"search {' '.join(dns.search)}\n" if dns.search else ""))


def _usable(dns: Dns, servers: list[DnsServer], wanted: str) -> DnsServer:
    if not dns.servers:
        return DnsServer()
    if not servers:
        raise ElementError(
            f"every name server needs {wanted}, which the host's resolver does not support; {REMEDY}"
        )
    return servers[0]


async def _run(words: list[str], given: str = "") -> None:
    said, ending = await programs.result(words, given=given.encode())
    if ending:
        raise ElementError(f"'{' '.join(words)}' failed: {said or ending}; {REMEDY}")
