"""Datagrams as they arrive, put together by how they begin, so that many are opened in one call.

Knows what a data packet begins with, and nothing else of a session.
"""

from __future__ import annotations

from collections.abc import Sequence

from tmelink.frame import Frame, Run
from tmelink.openvpn.data.packet import DATA_V1, DATA_V2, RECORD
from tmelink.openvpn.session import Item


def is_data(first: int) -> bool:
    """Whether a packet that begins with this byte is a data packet."""
    return first >> 3 in (DATA_V1, DATA_V2, RECORD)


def grouped(datagrams: Sequence[Item]) -> list[tuple[int, Run | list[Frame]]]:
    """Datagrams in their order, those in a row that begin with the same byte together, with that byte."""
    groups: list[tuple[int, Run | list[Frame]]] = []
    last: list[Frame] = []
    kind = -1
    for item in datagrams:
        if isinstance(item, Run):
            if _alike(item):
                groups.append((item.data[0], item))
                kind = -1
                continue
            pieces: Sequence[Frame] = item.pieces()
        else:
            pieces = (item,)
        for piece in pieces:
            first = piece[0] if len(piece) else 0
            if first != kind:
                kind, last = first, []
                groups.append((first, last))
            last.append(piece)
    return groups


def _alike(run: Run) -> bool:
    """Whether all packets of a run are data packets of one key."""
    data, size = run
    if not size or not is_data(data[0]):
        return False
    heads = bytes(data[::size])
    return heads == heads[:1] * len(heads)
