"""Makes the C library keep freed memory.

glibc gives the top of its heap back to the kernel as soon as 128 KiB of it are free. Super-frames are half of
that: without more room the data path would return their pages and fault them in again for each one.
"""

from __future__ import annotations

import ctypes
import sys

TRIM = 64 << 20
"""Free bytes kept at the top of the heap: a few hundred super-frames, more than are ever in flight."""

LONGEST = 32 << 20
"""Bytes from which an allocation gets pages of its own, glibc's greatest; setting either limit by hand ends
glibc's own tuning of both."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed() -> bool:
    """Keep freed memory for later allocations; returns whether the C library supports it."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, TRIM)) and bool(mallopt(_M_MMAP_THRESHOLD, LONGEST))
