"""What `tmelink explain` and `tmelink check` have to know of a mirror."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tmelink.element import Port
from tmelink.proof.forwarding import Forwarding, ForwardingContext
from tmelink.proof.kinds import ElementKind

from . import Mirror


def _back(mirror: Mirror, port: Port | None, around: ForwardingContext) -> Forwarding:
    return Forwarding("sends it back", () if port is None else (port,))


KINDS: Mapping[type[Any], ElementKind] = {Mirror: ElementKind(forward=_back, has_host=False)}
