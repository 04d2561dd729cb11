"""The key material of the two directions of a link, however the ends came by it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StaticDirection:
    """The key material of one direction: 64 bytes for the cipher, 64 for the MAC."""

    cipher: bytes = field(repr=False)
    mac: bytes = field(repr=False)


def split(material: bytes, *, server: bool) -> tuple[StaticDirection, StaticDirection]:
    """What this end sends with and what it receives with, out of 256 bytes of material."""
    client_to_server = StaticDirection(material[:64], material[64:128])
    server_to_client = StaticDirection(material[128:192], material[192:256])
    return (server_to_client, client_to_server) if server else (client_to_server, server_to_client)
