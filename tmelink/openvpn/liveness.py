"""When a session says that it is alive, and when it takes the peer for gone.

Knows the timers of --ping, --ping-restart, --ping-exit, --ping-timer-rem, --inactive and --session-timeout as
the OpenVPN 2.6 manual describes them. Does not know what a ping looks like under keys or in fragments:
whoever sends and receives says when something went or came.
"""

from __future__ import annotations

from math import inf
from typing import Final

from tmelink.openvpn.session import Exit, Restart, SessionEvent
from tmelink.openvpn.settings import Liveness

PING: Final = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
"""OpenVPN's keep-alive payload; it means nothing to the machine and is never handed on."""


class LivenessTimers:
    """The timers of one session.

    `last_sent` and `last_received` are written by the session, on the data path, for every datagram that went
    out and every authentic one that came in.
    """

    __slots__ = (
        "_active_bytes",
        "last_active",
        "last_received",
        "last_sent",
        "ping",
        "ping_exit",
        "ping_restart",
        "quiet_bytes",
        "quiet_seconds",
        "session_timeout",
        "started",
        "unheard",
        "waits_for_peer",
    )

    def __init__(self, settings: Liveness, *, waits_for_peer: bool = False) -> None:
        """Of --ping-exit and --ping-restart only one counts, as in OpenVPN: here the former.

        `waits_for_peer` (--ping-timer-rem without --remote) keeps it still until a peer is known.
        """
        self.ping = settings.ping
        self.ping_restart = settings.ping_restart
        self.ping_exit = settings.ping_exit
        self.quiet_seconds = settings.inactive
        self.quiet_bytes = settings.inactive_bytes
        self.session_timeout = settings.session_timeout
        self.waits_for_peer = waits_for_peer
        self.unheard = True
        self.started: float | None = None
        self.last_sent = 0.0
        self.last_received = 0.0
        self.last_active = 0.0
        self._active_bytes = 0

    def start(self, now: float) -> None:
        """Begin counting; the first ping is due at once."""
        self.started = now
        self.last_sent = now - self.ping
        self.last_received = self.last_active = now

    def stop(self) -> None:
        """No timer runs any more."""
        self.started = None

    def active(self, size: int, now: float) -> None:
        """`size` bytes of frames moved, in either direction; pings do not count as activity."""
        self._active_bytes += size
        if self._active_bytes >= self.quiet_bytes:
            self._active_bytes = 0
            self.last_active = now

    def ping_due(self, now: float) -> bool:
        """Nothing has been sent for --ping seconds."""
        return self.ping > 0 and self.started is not None and now >= self.last_sent + self.ping

    def silent(self, now: float) -> bool:
        """Whether the peer has been silent for as long as it may be."""
        limit = self.ping_exit or self.ping_restart
        waits = self.waits_for_peer and self.unheard
        return bool(limit) and not waits and self.started is not None and now >= self.last_received + limit

    def ended(self, now: float) -> SessionEvent | None:
        """The event that ends the session, or None while it lives."""
        if self.started is None:
            return None
        if self.silent(now):
            if self.ping_exit:
                return Exit(f"nothing from the peer for {self.ping_exit:g} s (--ping-exit)")
            return Restart(f"nothing from the peer for {self.ping_restart:g} s (--ping-restart)")
        if self.quiet_seconds and now >= self.last_active + self.quiet_seconds:
            return Exit(f"no traffic for {self.quiet_seconds:g} s (--inactive)")
        if self.session_timeout and now >= self.started + self.session_timeout:
            return Exit(f"the session is {self.session_timeout:g} s old (--session-timeout)")
        return None

    def deadline(self) -> float | None:
        """When `ping_due` or `ended` has something to say, unless traffic comes first."""
        if self.started is None:
            return None
        soonest = self.last_sent + self.ping if self.ping else inf
        wait = self.ping_exit or self.ping_restart
        if wait and not (self.waits_for_peer and self.unheard):
            soonest = min(soonest, self.last_received + wait)
        if self.quiet_seconds:
            soonest = min(soonest, self.last_active + self.quiet_seconds)
        if self.session_timeout:
            soonest = min(soonest, self.started + self.session_timeout)
        return soonest if soonest < inf else None
