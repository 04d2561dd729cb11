"""A read buffer that all sockets of a thread share.

Data is handed on at once by synchronous calls and is valid only until they return, so two sockets of a thread
never need the buffer at the same time, and a thousand idle links need no buffers of their own.
"""

from __future__ import annotations

import mmap
import threading

SIZE = 1 << 20
"""The most bytes that one wakeup reads before others get their turn: sixteen full runs of datagrams."""

_thread = threading.local()


def arena() -> memoryview:
    """The calling thread's buffer of SIZE bytes; pages that are never written take no memory."""
    found: memoryview | None = getattr(_thread, "arena", None)
    if found is None:
        found = _thread.arena = memoryview(mmap.mmap(-1, SIZE))
    return found
