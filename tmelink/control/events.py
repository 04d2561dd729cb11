"""What happened in a lab: the last events, and whoever follows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tmelink.state import Event

KEPT = 10_000
"""Events remembered: a day of a lab whose links break now and then, in a few megabytes."""


class EventLog:
    """Remembers the last `KEPT` events and tells followers each new one."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._followers: list[Callable[[Event], None]] = []

    def add(self, event: Event) -> None:
        """Note an event."""
        self._events.append(event)
        for follower in list(self._followers):
            follower(event)

    def since(self, time: float | None) -> list[Event]:
        """Events since `time`, in seconds since the epoch; None for all."""
        return [event for event in self._events if time is None or event.time >= time]

    def follow(self, follower: Callable[[Event], None]) -> Callable[[], None]:
        """Call `follower` with each new event; call the returned function to stop."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)
