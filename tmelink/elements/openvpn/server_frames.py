"""A client's frames as a burst: joined into super-frames if an element takes them, else one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tmelink.element import Port
from tmelink.frame import Burst, pieces
from tmelink.offload import coalesce
from tmelink.openvpn.session import Item


def frames_of(items: Sequence[Item], ports: Iterable[Port], *, ip: bool) -> Burst:
    """The burst for the elements connected to `ports`."""
    if any(port.peer is not None and port.peer.offload for port in ports):
        return coalesce(items, ip=ip)
    return Burst(pieces(items))
