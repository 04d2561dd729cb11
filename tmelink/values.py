"""Converts the words of arguments to values.

Each function takes the text of one word and returns a value, or raises `ValueError` whose message says
what was expected. They know no element and no option.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final

_MAC = re.compile(r"[0-9A-Fa-f]{1,2}([:-])[0-9A-Fa-f]{1,2}(\1[0-9A-Fa-f]{1,2}){4}")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!\d+$){_LABEL}")
_INTERFACE = re.compile(r"[^\s/:%]{1,15}")


def text(word: str) -> str:
    """Any text, unchanged."""
    return word


def mac(word: str) -> bytes:
    """Six bytes from `00:01:02:03:04:05` or `0-1-2-3-4-5`."""
    if not _MAC.fullmatch(word):
        raise ValueError(f"'{word}' is not a valid MAC address, such as 02:00:00:00:00:01")
    return bytes(int(part, 16) for part in re.split("[:-]", word))


def unicast_mac(word: str) -> bytes:
    """A unicast MAC address: not all zero, no group bit (IEEE 802)."""
    address = mac(word)
    if address[0] & 1:
        raise ValueError(f"'{word}' is a group address; a station's first byte is even")
    if not any(address):
        raise ValueError("a station cannot have the address 00:00:00:00:00:00")
    return address


def interface_name(word: str) -> str:
    """A network interface's name: 1 to 15 characters without blanks, `/`, `:` and `%`.

    Linux takes `%d` for a number of its choice, and has settings for `all` interfaces and by `default`.
    """
    if word in ("all", "default"):
        raise ValueError(f"'{word}' is not a valid interface name: Linux keeps it for settings")
    if not _INTERFACE.fullmatch(word) or word in (".", ".."):
        raise ValueError(
            f"'{word}' is not a valid interface name: 1 to 15 characters, no blank, '/', ':' or '%'"
        )
    return word


def ipv4(word: str) -> IPv4Address:
    """A dotted IPv4 address."""
    try:
        return IPv4Address(word)
    except ValueError:
        raise ValueError(f"'{word}' is not a valid IPv4 address") from None


def ipv6(word: str) -> IPv6Address:
    """An IPv6 address."""
    try:
        return IPv6Address(word)
    except ValueError:
        raise ValueError(f"'{word}' is not a valid IPv6 address") from None


def address(word: str) -> IPv4Address | IPv6Address:
    """An IPv4 or IPv6 address."""
    try:
        return ipaddress.ip_address(word)
    except ValueError:
        raise ValueError(f"'{word}' is not a valid IP address") from None


def host(word: str) -> str:
    """An IP address, or the name of a host (RFC 1123, section 2.1)."""
    try:
        ipaddress.ip_address(word)
    except ValueError:
        # A last label of digits alone would be a mistaken IPv4 address.
        if not _HOST_NAME.fullmatch(word):
            raise ValueError(f"'{word}' is not a valid IP address or host name") from None
    return word


def ipv4_interface(word: str) -> IPv4Interface:
    """An IPv4 address with its prefix length, `10.0.0.1/24`."""
    try:
        if "/" not in word:
            raise ValueError
        return IPv4Interface(word)
    except ValueError:
        raise ValueError(f"'{word}' is not a valid IPv4 address with a prefix, such as 10.0.0.1/24") from None


def ipv4_interface_or_address(word: str) -> IPv4Interface | IPv4Address:
    """An IPv4 address with a prefix length, or alone."""
    return ipv4_interface(word) if "/" in word else ipv4(word)


def ipv6_interface(word: str) -> IPv6Interface:
    """An IPv6 address with its prefix length, `fd00::1/64`."""
    try:
        if "/" not in word:
            raise ValueError
        return IPv6Interface(word)
    except ValueError:
        raise ValueError(f"'{word}' is not a valid IPv6 address with a prefix, such as fd00::1/64") from None


def netmask(word: str) -> int:
    """The prefix length of a dotted IPv4 netmask."""
    try:
        return ipaddress.IPv4Network(f"0.0.0.0/{IPv4Address(word)}").prefixlen
    except ValueError:
        raise ValueError(f"'{word}' is not a valid netmask, such as 255.255.255.0") from None


def integer(low: int, high: int, what: str = "number") -> Callable[[str], int]:
    """A converter for whole numbers from `low` to `high`; `what` names the thing in its error."""

    def convert(word: str) -> int:
        try:
            number = int(word, 10)
        except ValueError:
            raise ValueError(f"'{word}' is not a valid {what}; expected a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"{what} {number} is out of range: {low} to {high}")
        return number

    return convert


port = integer(1, 65535, "port")
mtu = integer(68, 65521, "mtu")


def choice(*names: str) -> Callable[[str], str]:
    """A converter that takes one of `names`."""

    def convert(word: str) -> str:
        if word not in names:
            raise ValueError(f"'{word}' is not one of {', '.join(names)}")
        return word

    return convert


def seconds(low: float, high: float, what: str = "time") -> Callable[[str], float]:
    """A converter for (fractions of) seconds from `low` to `high`; `what` names the thing in its error."""

    def convert(word: str) -> float:
        try:
            number = float(word)
        except ValueError:
            raise ValueError(f"'{word}' is not a valid {what}; expected seconds, such as 0.5") from None
        if not low <= number <= high:
            raise ValueError(f"{what} {word} is out of range: {low:g} to {high:g} seconds")
        return number

    return convert


_LOG_LEVELS = {"off": 0, "trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40}


def log_level(word: str) -> int:
    """A level of tmesh's `log` as a number of `logging`: 0 for the common level, 10 for details.

    TME's numbers are 0 or `off` for the common level, and higher for more; a name is the lowest level shown.
    """
    if word in _LOG_LEVELS:
        return _LOG_LEVELS[word]
    if re.fullmatch(r"0[xX][0-9A-Fa-f]+|[0-9]+", word, re.ASCII):
        return _LOG_LEVELS["debug"] if int(word, 16) else 0
    raise ValueError(
        f"'{word}' is not a valid log level: a number from 0, off, trace, debug, info, warning or error"
    )


def switch(word: str) -> bool:
    """True for `on`, False for `off`."""
    return choice("on", "off")(word) == "on"


def mode(word: str) -> int:
    """A file's rights, in octal."""
    try:
        value = int(word, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise ValueError(f"'{word}' is not a valid octal mode, such as 0770")
    return value


HIGHEST_VLAN: Final = 4094
"""VLAN 0 means none, and 4095 is reserved (IEEE 802.1Q, table 9-2)."""

vlan = integer(1, HIGHEST_VLAN, "VLAN")


def vlan_list(word: str) -> frozenset[int]:
    """VLANs as `1,10-20`; raises `ValueError`."""
    found: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        low = vlan(first)
        high = vlan(last) if dash else low
        if high < low:
            raise ValueError(f"'{part}' is not a range: its end is before its start")
        found.update(range(low, high + 1))
    return frozenset(found)
