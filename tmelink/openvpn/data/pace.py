"""How fast datagrams go to a peer that loses those that come too fast, as a value.

A peer with a small receive buffer, as OpenVPN has by default, drops most of a burst that comes faster than it
decrypts. Nothing in the protocol says so. TCP in the tunnel does: what it sends again, its peer has asked for
by selective acknowledgements (RFC 2018). From the first loss on, the rate stays a little below that at which
datagrams were lost, and comes back to it and beyond as CUBIC's window does (RFC 9438): quickly at first, then
flat for a while, then faster. Knows neither frames nor sockets.
"""

from __future__ import annotations

from math import inf
from typing import Final

LEAST: Final = 5_000.0
"""Datagrams a second below which nothing is paced: so few overrun nobody, and loss is TCP's own concern."""

CUT: Final = 0.2
"""The part of a rate that is taken away where datagrams were lost at it."""

SOON_SECONDS: Final = 0.3
"""A loss so soon after another one shows that the rate is still much too high: it is halved."""

BACK_SECONDS: Final = 2.0
"""Until the rate is back where datagrams were lost."""

EVENT_SECONDS: Final = 0.02
"""Losses within so long are one: they are told again and again until TCP has repaired them."""

SAMPLE_SECONDS: Final = 0.005
"""Over which the speed is measured: a burst, and not the pauses between bursts."""

BURST: Final = 32
"""Datagrams that may go at once after a pause: a third of what Linux's usual buffer of 208 KiB holds."""


class Pace:
    """The rate towards one peer, in datagrams a second; infinite until something has been lost."""

    def __init__(self) -> None:
        self._peak = inf
        self._used = 0.0
        """Seconds for which the rate was what limited the traffic, since the last loss."""
        self._lost_at = -inf
        self._free = 0.0
        self._speed = 0.0
        self._sampled = 0.0
        self._count = 0

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._peak < inf

    @property
    def rate(self) -> float:
        """Datagrams a second that may be sent."""
        back = self._used / BACK_SECONDS - 1.0
        return self._peak * (1.0 + CUT * back * back * back)

    def sample(self, count: int, now: float) -> None:
        """`count` datagrams have been sent in all by now; to be told every few milliseconds."""
        seconds = now - self._sampled
        if seconds < SAMPLE_SECONDS:
            return
        self._speed = max((count - self._count) / seconds, self._speed / 2)
        self._sampled, self._count = now, count

    def lost(self, now: float) -> None:
        """Datagrams have been lost."""
        if now < self._lost_at + EVENT_SECONDS:
            return
        speed = min(self._speed, self.rate)
        if speed < LEAST or (self.limited and speed < (1.0 - CUT) * self.rate):
            return
        if now < self._lost_at + SOON_SECONDS:
            speed /= 2
        self._lost_at, self._peak, self._used = now, max(speed, LEAST / (1.0 - CUT)), 0.0

    def sent(self, count: int, now: float) -> None:
        """So many are sent now, under the limit."""
        rate = self.rate
        earliest = now - BURST / rate
        if self._free > earliest:
            # It waited for the rate: that counts as the time in which the rate grows.
            self._used += count / rate
        self._free = max(self._free, earliest) + count / rate

    def wait(self, now: float) -> float:
        """Seconds until more may be sent, 0 for at once."""
        return max(0.0, self._free - now)
