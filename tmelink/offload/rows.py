"""Equal pieces that lie end to end in one buffer, seen as the rows of a matrix: columns, sums, counts.

What segmentation and its inverse have in common. Each numpy call costs as much as a kilobyte's work, so all
rows are done in one. Knows offsets only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmelink.frame import Frame
from tmelink.ip import MAX_PACKET

MOST_LAYOUTS = 64
"""Places of headers whose indices are kept: IPv4 and IPv6, with and without tags, a few extension headers."""

MOST_STEPS = 64
"""Segment sizes whose multiples are kept: one or two a path in use, a few KiB each."""

MOST_BYTES = 2 * MAX_PACKET
"""Payload bytes of what is cut or joined at once, with room to spare."""


def column(buffer: Frame, kind: str, at: int, stride: int, count: int) -> NDArray[Any]:
    """What stands at `at` in the first of `count` rows and in every next one, as numpy's `kind`; a view."""
    return np.ndarray((count,), kind, buffer, at, (stride,))


def columns(buffer: Frame, first: int, second: int, stride: int, count: int) -> NDArray[np.uint16]:
    """The little-endian words at two offsets of every row, as a view of shape (count, 2)."""
    return np.ndarray((count, 2), "<u2", buffer, first, (stride, second - first))


def rows(buffer: Frame, begin: int, stride: int, count: int) -> NDArray[np.uint8]:
    """`count` rows of `stride` bytes from `begin` on, as a view."""
    return np.ndarray((count, stride), np.uint8, buffer, begin)


def row_sums(buffer: Frame, begin: int, stride: int, count: int, *starts: int) -> NDArray[np.uint32]:
    """Ones' complement sums over rows, not reduced modulo 65535, of shape (count, len(starts)).

    From each start, an even offset in the row, to the next or to the row's end. Words are little-endian, so
    these sums are those of big-endian words with their bytes swapped; no byte order gives other checksums.
    """
    words = np.ndarray((count, stride // 2), "<u2", buffer, begin, (stride, 2))
    sums: NDArray[np.uint32] = np.add.reduceat(words, _indices(*starts), axis=1, dtype=np.uint32)
    if stride & 1:
        sums[:, -1] += column(buffer, "u1", begin + stride - 1, stride, count)
    return sums


@lru_cache(MOST_LAYOUTS)
def _indices(*starts: int) -> NDArray[np.intp]:
    return np.array(starts, dtype=np.intp) // 2


@lru_cache(MOST_STEPS)
def multiples(step: int) -> NDArray[np.uint32]:
    """0, `step`, twice `step` … as far as MOST_BYTES; shared, so not to be changed."""
    return np.arange(0, MOST_BYTES + step, step, dtype=np.uint32)
