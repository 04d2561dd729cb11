"""The outgoing rate limit (--shaper) as a value: what was sent, and how long to hold the next."""

from __future__ import annotations

from typing import Final

LOWEST: Final = 100
HIGHEST: Final = 100_000_000
"""Bytes a second, as OpenVPN bounds them."""

LONGEST_HOLD: Final = 10.0
"""Seconds; more debt than that is forgiven (as OpenVPN)."""

BURST_SECONDS: Final = 0.01
"""What may be saved up while nothing is sent: enough for a timer to be late, too little to be a burst."""


class Shaper:
    """At most `rate` bytes a second."""

    def __init__(self, rate: int) -> None:
        if not LOWEST <= rate <= HIGHEST:
            raise ValueError(f"--shaper takes {LOWEST} to {HIGHEST} bytes a second")
        self._rate = rate
        self._free = 0.0

    def sent(self, size: int, now: float) -> None:
        """`size` bytes went out, datagram headers included."""
        start = max(self._free, now - BURST_SECONDS)
        self._free = min(start + size / self._rate, now + LONGEST_HOLD)

    def hold(self, now: float) -> float:
        """Seconds until the next may go, 0 for at once."""
        return max(0.0, self._free - now)
