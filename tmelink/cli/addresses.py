"""Addresses to listen on, as the command line takes them: `127.0.0.1:8080`, `[::1]:8080`, `:8080`."""

from __future__ import annotations

from typing import NamedTuple

LOOPBACK = "127.0.0.1"
MAX_PORT = 65535


class ListenAddress(NamedTuple):
    """Where a server of this program is to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen_address(text: str) -> ListenAddress:
    """Host and port; without a host, only this computer. Raises `ValueError` that says how to write it."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError(f"'{text}' is not an address with a port: write it as {LOOPBACK}:9273 or [::1]:9273")
    return ListenAddress(host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port))
