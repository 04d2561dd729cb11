"""A timer as exact as the kernel's clock: `PreciseTimer`.

asyncio waits in whole milliseconds, rounded up, which is a fifth of a delay of 5 ms. Linux's timerfd(2) wakes
the loop within some 50 microseconds. Elsewhere asyncio's own timer stands in.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class PreciseTimer:
    """Calls `callback` at a time of the loop's clock; one time at once, in the running loop."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._descriptor = _timer_descriptor()
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._expired)

    def set(self, when: float) -> None:
        """Wake at `when`, in seconds of `loop.time()`, in place of an earlier time."""
        if self._descriptor is not None:
            seconds, fraction = divmod(max(when, 1e-9), 1)
            spec = _TimerSpec(value=_TimeSpec(int(seconds), max(int(fraction * 1e9), 1)))
            _libc().timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(when, self._callback)

    def close(self) -> None:
        """Never wake again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _expired(self) -> None:
        assert self._descriptor is not None, "the reader goes with the descriptor"
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return  # Set anew after it had expired.
        self._callback()


def _timer_descriptor() -> int | None:
    if sys.platform != "linux":
        return None
    descriptor = _libc().timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
    if descriptor < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
