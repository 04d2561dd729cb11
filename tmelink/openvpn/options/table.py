"""What tmelink knows of each OpenVPN option: how it is written, and what becomes of it here.

The rows themselves stand in `tmelink.openvpn.options.rows`; here is what a row is. A row's `syntax` is all
there is to say about its arguments: `HOST [PORT] [PROTO]` gives their number, and the words in capitals
(`KINDS`) how each is read. Nothing here knows the meaning of an option; that is
`tmelink.openvpn.options.parse`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv6Interface
from typing import Any, Literal

from tmelink import values

OptionStatus = Literal["works", "ignored", "refused"]

PROTOCOLS = (
    "udp",
    "udp4",
    "udp6",
    "tcp",
    "tcp4",
    "tcp6",
    "tcp-server",
    "tcp4-server",
    "tcp6-server",
    "tcp-client",
    "tcp4-client",
    "tcp6-client",
)

_INT = 2**31 - 1
"""OpenVPN keeps its numbers in a C int."""


def _host(word: str) -> str:
    if found := re.fullmatch(r"([^:]+):(\d{1,5})", word):
        raise ValueError(f"'{word}' holds a port: write them as two words, {found[1]} {found[2]}")
    if not word or not word.isprintable() or " " in word:
        raise ValueError(f"{word!r} is not a valid host name or address")
    return word


def _host_and_port(word: str) -> tuple[str, int | None]:
    """`HOST` or `HOST:PORT`; without a port None."""
    host, colon, port = word.partition(":")
    return _host(host), values.port(port) if colon else None


def _ipv6_prefix(word: str) -> IPv6Interface:
    """An address whose network OpenVPN can hand out: from /64, which is the default, to /124."""
    address = values.ipv6_interface(word if "/" in word else f"{word}/64")
    if not 64 <= address.network.prefixlen <= 124:
        raise ValueError(f"'{word}' must have a prefix from /64 to /124")
    return address


def _name(word: str) -> str:
    if not re.fullmatch(r"[\w.-]+", word, re.ASCII) or word.startswith("--"):
        raise ValueError(f"'{word}' is not a valid name: it has letters, digits, '.', '-' and '_'")
    return word


def _given(word: str) -> str:
    if not word:
        raise ValueError("the value is empty")
    return word


def _busy(word: str) -> int | None:
    """Microseconds of polling without sleep: 0 for never, None if it is to be found out."""
    if word in ("auto", "off"):
        return None if word == "auto" else 0
    return values.integer(1, 10_000, "number of microseconds, 'auto' or 'off'")(word)


KINDS: dict[str, Callable[[str], Any]] = {
    "BYTES": values.integer(0, _INT, "number of bytes"),
    "DIR": _given,
    "FILE": _given,
    "HOST": _host,
    "HOST[:PORT]": _host_and_port,
    "INTERFACE": values.interface_name,
    "IPV4": values.ipv4,
    "IPV6": values.ipv6,
    "IPV6/BITS": _ipv6_prefix,
    "LPORT": values.integer(0, 65535, "port"),
    "MAC": values.unicast_mac,
    "MARK": values.integer(0, 2**32 - 1, "mark"),
    "MTU": values.integer(100, 65536, "mtu"),
    "NAME": _name,
    "NETMASK": values.netmask,
    "NUMBER": values.integer(0, _INT),
    "PACKET": values.integer(68, 65536, "packet size"),
    "PORT": values.port,
    "PROTO": values.choice(*PROTOCOLS),
    "RATE": values.integer(100, 100_000_000, "bytes a second"),
    "SECONDS": values.integer(0, _INT, "number of seconds"),
    "TEXT": values.text,
    "US|auto|off": _busy,
    "VLAN": values.vlan,
    "VLANS": values.vlan_list,
    "TIME": values.integer(0, 600, "replay time"),
    "WINDOW": values.integer(0, 65536, "replay window"),
}
"""How the words in capitals of a row's syntax are read; a word of small letters stands for itself."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an option."""

    written: str
    convert: Callable[[str], Any]
    required: bool
    many: bool


@dataclass(frozen=True)
class Row:
    """One option: `about` says what it does, or why it is ignored or refused; `instead` what to write.

    `connection` and `inline` say where it may stand, `secret` that its arguments are not to be shown, and
    `same` under which name OpenVPN knows it today.
    """

    name: str
    syntax: str = ""
    about: str = ""
    status: OptionStatus = "works"
    instead: str | None = None
    same: str | None = None
    connection: bool = False
    inline: bool = False
    secret: bool = False

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """The arguments as `syntax` writes them."""
        return tuple(map(_argument, self.syntax.split()))

    @property
    def least(self) -> int:
        """How many arguments it needs."""
        return sum(argument.required for argument in self.arguments)

    @property
    def most(self) -> int | None:
        """How many arguments it takes; None for any number."""
        return None if any(a.many for a in self.arguments) else len(self.arguments)

    def usage(self) -> str:
        """How a machine file writes it."""
        return f"--{self.name} {self.syntax}".rstrip()

    def takes(self) -> str:
        """Its arguments in words, for an error."""
        return f"it is written {self.usage()}" if self.syntax else "it takes no argument"


Section = tuple[str, tuple[Row, ...]]
"""A topic and its rows."""


def _argument(token: str) -> Argument:
    optional = token.startswith("[")
    bare = token[1:-1] if optional else token
    many = bare.endswith("…")
    bare = bare.removesuffix("…")
    convert = KINDS[bare] if bare in KINDS else values.choice(*bare.split("|"))
    return Argument(bare, convert, not optional, many)


def works(
    name: str,
    syntax: str = "",
    about: str = "",
    *,
    connection: bool = False,
    inline: bool = False,
    secret: bool = False,
) -> Row:
    """A row of an option that does here what it does in OpenVPN."""
    return Row(name, syntax, about, "works", None, None, connection, inline, secret)


def ignored(
    name: str,
    syntax: str,
    about: str,
    *,
    connection: bool = False,
    inline: bool = False,
    secret: bool = False,
) -> Row:
    """A row of an option that is accepted without effect; the log says so once."""
    return Row(name, syntax, about, "ignored", connection=connection, inline=inline, secret=secret)


def refused(
    name: str,
    syntax: str,
    about: str,
    instead: str | None = None,
    *,
    connection: bool = False,
    inline: bool = False,
    secret: bool = False,
) -> Row:
    """A row of an option that a link cannot honour, and must not pass over in silence."""
    return Row(name, syntax, about, "refused", instead, None, connection, inline, secret)


def renamed(name: str, row: Row) -> Row:
    """A row of another name for the option of `row`."""
    return Row(
        name,
        row.syntax,
        row.about,
        row.status,
        row.instead,
        row.name,
        row.connection,
        row.inline,
        row.secret,
    )
