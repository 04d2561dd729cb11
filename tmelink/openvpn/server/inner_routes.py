"""Which client of a server in tun mode has which tunnel address: a table of prefixes, the longest first.

Addresses are as they stand in packets, 4 or 16 bytes. Knows no session and no packet.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

InnerNetwork = IPv4Network | IPv6Network


class InnerRoutes:
    """Networks and the clients, by number, that they are behind."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, dict[int, int]]] = {4: {}, 16: {}}

    def add(self, client: int, networks: Iterable[InnerNetwork]) -> list[InnerNetwork]:
        """Packets for these go to `client`; those that another one has already are returned instead."""
        taken = []
        for network in networks:
            table = self._table(network).setdefault(network.prefixlen, {})
            if table.setdefault(int(network.network_address), client) != client:
                taken.append(network)
        return taken

    def remove(self, client: int) -> None:
        """Forget a client's networks."""
        for tables in self._tables.values():
            for length in list(tables):
                kept = {base: other for base, other in tables[length].items() if other != client}
                if kept:
                    tables[length] = kept
                else:
                    del tables[length]

    def find(self, address: bytes) -> int | None:
        """The client whose address it is, or whose network it is in."""
        tables = self._tables[len(address)]
        bits, number = 8 * len(address), int.from_bytes(address, "big")
        for length in sorted(tables, reverse=True):
            client = tables[length].get(number >> (bits - length) << (bits - length))
            if client is not None:
                return client
        return None

    def _table(self, network: InnerNetwork) -> dict[int, dict[int, int]]:
        return self._tables[4 if network.version == 4 else 16]
