"""Settings of a session from one flat list of names, each put into its group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.settings import SharedSettings, SharedTlsSettings
from tmelink.openvpn.tls.settings import TlsSettings

T = TypeVar("T")


def _groups() -> dict[str, type[Any]]:
    """The groups that settings hold, by the name of their field."""
    return {
        field.name: type(field.default)
        for holder in (SharedSettings, SharedTlsSettings)
        for field in dataclasses.fields(holder)
        if dataclasses.is_dataclass(field.default)
    }


GROUPS = _groups()


def grouped(make: Callable[..., T], **flat: Any) -> T:
    """What `make` makes of names that are its own or those of a field of its groups."""
    given: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        holders = [group for group, kind in GROUPS.items() if name in kind.__dataclass_fields__]
        if holders:
            parts.setdefault(holders[0], {})[name] = value
        else:
            given[name] = value
    return make(**given, **{group: GROUPS[group](**fields) for group, fields in parts.items()})


def plain(**flat: Any) -> Settings:
    """Settings of a session without TLS."""
    return grouped(Settings, **flat)


def tls(**flat: Any) -> TlsSettings:
    """Settings of a session with TLS."""
    return grouped(TlsSettings, **flat)
