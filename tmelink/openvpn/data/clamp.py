"""--mssfix on the data path: the frames of a burst that open a TCP connection, and the MSS they may ask for.

Most bursts hold none, and what this costs them is a comparison of lengths an item. How a segment is changed
is `tmelink.offload.mss`'; how large it may be is `tmelink.openvpn.plain.mtu`'s.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TypeVar

from tmelink.frame import Frame, Run, SuperFrame
from tmelink.offload import LONGEST_SYN, clamp_mss
from tmelink.openvpn.session import Carried

T = TypeVar("T", bound=Carried)


def clamped(items: Sequence[T], mss: int, *, ip: bool) -> Sequence[T | Frame]:
    """The items with the MSS of what opens a TCP connection lowered to `mss`, over IPv6 20 bytes less.

    Super-frames open none.
    """
    changed: list[T | Frame] | None = None
    for at, item in enumerate(items):
        lowered: Sequence[Frame] | None
        if isinstance(item, Run):
            lowered = _lowered(item, mss, ip)
        elif isinstance(item, SuperFrame):
            lowered = None
        else:
            frame = item if len(item) > LONGEST_SYN else clamp_mss(item, mss, mss - 20, ip=ip)
            lowered = None if frame is item else [frame]
        if lowered is not None:
            changed = [*items[:at], *lowered] if changed is None else [*changed, *lowered]
        elif changed is not None:
            changed.append(item)
    return items if changed is None else changed


def _lowered(run: Run, mss: int, ip: bool) -> list[Frame] | None:
    data, size = run
    if size > LONGEST_SYN and not 0 < len(data) % size <= LONGEST_SYN:
        return None
    pieces = run.pieces()
    lowered = [clamp_mss(piece, mss, mss - 20, ip=ip) for piece in pieces]
    return None if all(map(operator.is_, pieces, lowered)) else lowered
