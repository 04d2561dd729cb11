"""Where a socket is: an address and port, or a path; as machine files write them.

No I/O. Each function takes the text of one word and returns a value, or raises `ValueError` whose message
says what was expected.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tmelink import values

MAX_PATH = 107
"""Bytes of a unix socket's path (`man 7 unix`: 108 with the final zero)."""


@dataclass(frozen=True, slots=True)
class Inet:
    """A host, by address or name, and a port; None as the host means every address of this computer."""

    host: str | None
    port: int

    def __str__(self) -> str:
        if self.host is None:
            return str(self.port)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A unix socket's path."""

    path: str

    def __str__(self) -> str:
        return self.path


SocketAddress = Inet | UnixPath


def inet(word: str) -> Inet:
    """`HOST:PORT`; an IPv6 address has brackets."""
    host, colon, port = word.rpartition(":")
    if not colon or not host:
        raise ValueError(f"'{word}' is not a valid address and port, such as 192.0.2.1:5000")
    if host.startswith("[") and host.endswith("]"):
        host = str(values.ipv6(host[1:-1]))
    elif ":" in host:
        raise ValueError(f"'{word}': an IPv6 address before a port needs brackets, as in [fd00::1]:5000")
    return Inet(values.host(host), values.port(port))


def local(word: str) -> Inet:
    """`PORT` or `ADDR:PORT` of this computer."""
    place = inet(word) if ":" in word else Inet(None, values.port(word))
    if not is_local(place):
        raise ValueError(f"'{place.host}' is not a valid IP address of this computer")
    return place


def is_local(place: Inet) -> bool:
    """Whether it can be an address of this computer: no host, or an address instead of a name."""
    try:
        return place.host is None or bool(ipaddress.ip_address(place.host))
    except ValueError:
        return False


def path(word: str) -> UnixPath:
    """A path for a unix socket."""
    if not word or "\0" in word or len(word.encode()) > MAX_PATH:
        raise ValueError(f"'{word}' is not a valid socket path: it has 1 to {MAX_PATH} bytes")
    return UnixPath(word)


def place(word: str) -> SocketAddress:
    """`HOST:PORT`, or a path, which has a slash in it."""
    return path(word) if "/" in word else inet(word)


def local_place(word: str) -> SocketAddress:
    """`[ADDR:]PORT` of this computer, or a path, which has a slash in it."""
    return path(word) if "/" in word else local(word)


def any_place(word: str) -> SocketAddress:
    """`[HOST:]PORT`, or a path, which has a slash in it."""
    if "/" in word:
        return path(word)
    return inet(word) if ":" in word else Inet(None, values.port(word))


def group(word: str) -> Inet:
    """An IPv4 multicast group and a port."""
    where = inet(word)
    try:
        multicast = ipaddress.IPv4Address(where.host or "").is_multicast
    except ValueError:
        multicast = False
    if not multicast:
        raise ValueError(f"'{word}' is not a valid multicast group and port, such as 230.0.0.1:1234")
    return where
