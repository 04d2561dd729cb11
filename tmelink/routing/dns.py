"""Name servers and domains that a tunnel brings: what `--dns` and `--dhcp-option` come to, as values.

Knows neither how they are written nor who sets them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tmelink.routing.facts import IPAddress

DnsSecurity = Literal["yes", "optional", "no"]
DnsTransport = Literal["plain", "DoT", "DoH"]


@dataclass(frozen=True, slots=True)
class DnsAddress:
    """Where a name server listens; without a port, on that of its transport."""

    host: IPAddress
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return str(self.host)
        return f"{self.host}:{self.port}" if self.host.version == 4 else f"[{self.host}]:{self.port}"


@dataclass(frozen=True, slots=True)
class DnsServer:
    """A name server: its addresses, the only domains it is asked for (none: all), and how it is asked."""

    addresses: tuple[DnsAddress, ...] = ()
    domains: tuple[str, ...] = ()
    dnssec: DnsSecurity | None = None
    transport: DnsTransport | None = None
    sni: str | None = None

    @property
    def plain(self) -> bool:
        """Whether a line `nameserver ADDRESS` says all there is to say of it."""
        ordinary_ports = all(address.port in (None, 53) for address in self.addresses)
        return self.transport in (None, "plain") and self.dnssec in (None, "no") and ordinary_ports


@dataclass(frozen=True, slots=True)
class Dns:
    """Domains to search, and servers by rank: the first one that the system can use is used."""

    search: tuple[str, ...] = ()
    servers: tuple[DnsServer, ...] = ()

    def __str__(self) -> str:
        servers = ", ".join(str(address) for server in self.servers[:1] for address in server.addresses)
        search = f"domains {' '.join(self.search)}" if self.search else ""
        return "; ".join(filter(None, (servers, search)))

    def environment(self) -> dict[str, str]:
        """The environment of scripts (openvpn(8) 2.7, "Environmental Variables")."""
        told = {f"dns_search_domain_{at}": name for at, name in enumerate(self.search, 1)}
        for number, server in enumerate(self.servers, 1):
            before = f"dns_server_{number}_"
            for at, address in enumerate(server.addresses, 1):
                told[f"{before}address_{at}"] = str(address.host)
                if address.port is not None:
                    told[f"{before}port_{at}"] = str(address.port)
            for at, name in enumerate(server.domains, 1):
                told[f"{before}resolve_domain_{at}"] = name
            single = {"dnssec": server.dnssec, "transport": server.transport, "sni": server.sni}
            told |= {before + name: value for name, value in single.items() if value is not None}
        return told
