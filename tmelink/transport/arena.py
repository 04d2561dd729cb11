"""Memory that sockets read into: one stretch a thread, for all of them.

What is read is handed on at once by synchronous calls and is valid only until they return, so that no two
sockets of a thread need it at the same time; a thousand idle links need none of their own.
"""

from __future__ import annotations

import mmap
import threading

SIZE = 1 << 20
"""Bytes that one wakeup may read before others get their turn: sixteen full runs of datagrams."""

_thread = threading.local()


def arena() -> memoryview:
    """The calling thread's stretch of SIZE bytes; pages that nobody writes to take no memory."""
    found: memoryview | None = getattr(_thread, "arena", None)
    if found is None:
        found = _thread.arena = memoryview(mmap.mmap(-1, SIZE))
    return found
