"""Values of `tmelink.state` as JSON: dataclasses to objects, addresses to text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from typing import Any

from tmelink import ethernet

MAC_BYTES = 6

_PLAIN = frozenset((type(None), str, bool, int, float))

_TEXTS = (IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network, PurePath)


def as_data(value: Any) -> Any:
    """`value` as JSON types; raises `TypeError` for any other kind of value."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    if names := _fields(kind):
        return {name: as_data(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_data(item) for item in value]
    if isinstance(value, bytes) and len(value) == MAC_BYTES:
        return ethernet.text(value)
    if isinstance(value, _TEXTS):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no place in a description")


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    """The names of a dataclass's fields; none for any other class."""
    return tuple(each.name for each in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()
