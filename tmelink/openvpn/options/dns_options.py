"""`--dns` and what `--dhcp-option` says of name servers, read into a `Dns` (openvpn(8) 2.7).

Reads words, written or pushed. What is done with them, `tmelink.routing` and the host's interfaces know.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from tmelink import values
from tmelink.routing.dns import Dns, DnsAddress, DnsServer

MAX_ADDRESSES = 8
"""Addresses of one server, as OpenVPN has it."""

MAX_DOMAINS = 64
"""Domains in one list: more than anybody searches."""

DHCP = ("DNS", "DNS6", "DOMAIN", "ADAPTER-DOMAIN-SUFFIX", "DOMAIN-SEARCH")
"""The kinds of --dhcp-option that are about names."""

_PRIORITIES = (-128, 127)
_PORT = re.compile(r"(?P<v4>[0-9.]+):(?P<port4>\d+)|\[(?P<v6>[0-9A-Fa-f:.]+)\](:(?P<port6>\d+))?")

OptionWords = Sequence[str]


def check_dns(words: OptionWords, *, pushed: bool = False) -> None:
    """Raise `ValueError` or `IndexError` for the words of a `--dns` that mean nothing."""
    _search((), words) if words[0] == "search-domains" else _server({}, words, pushed=pushed)


def check_dhcp(words: OptionWords) -> None:
    """The same for a `--dhcp-option`; kinds that are not about names are left to others."""
    _from_dhcp([words])


def dns(own: Iterable[OptionWords], pushed: Iterable[OptionWords], dhcp: Iterable[OptionWords]) -> Dns | None:
    """All of it together, or None if nothing is said of name servers and domains.

    A server that is pushed takes the place of the link's own with its number. `--dhcp-option` counts where
    no `--dns server` does. The words have been checked.
    """
    search: tuple[str, ...] = ()
    servers: dict[int, DnsServer] = {}
    told: dict[int, DnsServer] = {}
    for lines, into in ((own, servers), (pushed, told)):
        for words in lines:
            if words[0] == "search-domains":
                search = _search(search, words)
            else:
                _server(into, words, pushed=into is told)
    servers = {number: server for number, server in (servers | told).items() if server.addresses}
    found = Dns(search, tuple(server for _, server in sorted(servers.items(), key=lambda item: item[0])))
    if not found.servers:
        more = _from_dhcp(dhcp)
        found = Dns((*search, *(name for name in more.search if name not in search)), more.servers)
    return None if found == Dns() else found


def _search(before: tuple[str, ...], words: OptionWords) -> tuple[str, ...]:
    return (*before, *_domains(words[1:]))[:MAX_DOMAINS]


def _server(servers: dict[int, DnsServer], words: OptionWords, *, pushed: bool) -> None:
    if words[0] != "server":
        raise ValueError(f"'{words[0]}' is neither search-domains nor server")
    number, what, given = words[1], words[2], words[3:]
    least = 0 if pushed else _PRIORITIES[0]
    if not re.fullmatch(r"-?\d{1,3}", number) or not least <= int(number) <= _PRIORITIES[1]:
        raise ValueError(f"'{number}' is not a number from {least} to {_PRIORITIES[1]}")
    before = servers.get(int(number), DnsServer())
    changed: dict[str, Any]
    match what:
        case "address":
            addresses = (*before.addresses, *map(_address, given))
            if not given or len(addresses) > MAX_ADDRESSES:
                raise ValueError(f"a server has from one to {MAX_ADDRESSES} addresses")
            changed = {"addresses": addresses}
        case "resolve-domains":
            changed = {"domains": (*before.domains, *_domains(given))[:MAX_DOMAINS]}
        case "dnssec":
            changed = {"dnssec": values.choice("yes", "optional", "no")(given[0])}
        case "transport":
            changed = {"transport": values.choice("plain", "DoT", "DoH")(given[0])}
        case "sni":
            changed = {"sni": _domain(given[0])}
        case _:
            raise ValueError(f"'{what}' is not one of address, resolve-domains, dnssec, transport, sni")
    servers[int(number)] = replace(before, **changed)


def _address(word: str) -> DnsAddress:
    found = _PORT.fullmatch(word)
    host, port = word, None
    if found is not None:
        host, port = found["v4"] or found["v6"], found["port4"] or found["port6"]
    return DnsAddress(ipaddress.ip_address(host), None if port is None else values.port(port))


def _domains(words: OptionWords) -> tuple[str, ...]:
    if not words:
        raise IndexError("a domain is missing")
    return tuple(map(_domain, words))


def _domain(word: str) -> str:
    """A name as it may stand in a program's arguments: neither an option nor two words."""
    if not re.fullmatch(r"[^\W_][\w.-]{0,252}|_[\w.-]{0,252}", word):
        raise ValueError(f"'{word}' is not a valid domain")
    return word


def _from_dhcp(lines: Iterable[OptionWords]) -> Dns:
    addresses: list[DnsAddress] = []
    domain: tuple[str, ...] = ()
    search: list[str] = []
    for kind, *given in lines:
        match kind:
            case "DNS" | "DNS6":
                addresses.append(DnsAddress(ipaddress.ip_address(given[0])))
            case "DOMAIN" | "ADAPTER-DOMAIN-SUFFIX":
                domain = (_domain(given[0]),)
            case "DOMAIN-SEARCH":
                search.append(_domain(given[0]))
    names = tuple(dict.fromkeys((*domain, *search)))[:MAX_DOMAINS]
    servers = (DnsServer(tuple(addresses[:MAX_ADDRESSES])),) if addresses else ()
    return Dns(names if servers else (), servers)
