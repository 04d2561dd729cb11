"""The sessions of one link, of which one counts for each connection that may be the peer's; who watches them.

Knows what drives a session, and not what carries its datagrams.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from tmelink import reasons
from tmelink.elements.openvpn.driver import SessionDriver, WireWatcher
from tmelink.frame import Counters
from tmelink.openvpn.session import Session
from tmelink.openvpn.tls.session import TlsSession

RENEW_SECONDS = 5.0
"""For new keys, which take two round trips."""

RENEW_LOOKS = 100
"""How often it is seen meanwhile whether they are there."""


class LinkSessions:
    """What sessions that have ended dropped is in `sent` and `received`."""

    def __init__(self, sent: Counters, received: Counters) -> None:
        self._sent = sent
        self._received = received
        self._sessions: list[Session] = []
        self._drivers: list[SessionDriver] = []
        self._watchers: list[WireWatcher] = []
        self._handshakes = 0
        """Of sessions that have ended."""

    def add(self, session: Session) -> None:
        """A session begins."""
        self._sessions.append(session)

    def driving(self, driver: SessionDriver) -> None:
        """What drives one of them: those who watch the wire see it too."""
        self._drivers.append(driver)
        for watcher in self._watchers:
            driver.watch(watcher)

    def retire(self, session: Session) -> None:
        """A session has ended: its counters are kept, and it is forgotten."""
        self._handshakes += session.security().handshakes
        self._drivers = [each for each in self._drivers if each.session is not session]
        self._sent.drops.update(reasons.outgoing(session.drops))
        self._received.drops.update(reasons.incoming(session.drops))
        self._sessions.remove(session)

    async def renew(self, session: Session) -> bool:
        """Have one of them agree on new keys now; whether it has, after some seconds at most."""
        before = session.security().handshakes
        for driver in self._drivers:
            if driver.session is session:
                driver.renew()
        for _ in range(RENEW_LOOKS):
            await asyncio.sleep(RENEW_SECONDS / RENEW_LOOKS)
            if session.security().handshakes > before:
                return True
        return False

    @property
    def handshakes(self) -> int:
        """Negotiations of keys that were completed."""
        return self._handshakes + sum(each.security().handshakes for each in self._sessions)

    def drops(self) -> Iterable[Counter[str]]:
        """What those that have not ended have dropped."""
        return [session.drops for session in self._sessions]

    def watch_wire(self, watcher: WireWatcher) -> Callable[[], None]:
        """Show `watcher` all datagrams of these and later sessions until what is returned is called."""
        self._watchers.append(watcher)
        for driver in self._drivers:
            driver.watch(watcher)

        def stop() -> None:
            self._watchers.remove(watcher)
            for driver in self._drivers:
                driver.unwatch(watcher)

        return stop

    def of_tls(self) -> TlsSession | None:
        """The first one with TLS."""
        return next((each for each in self._sessions if isinstance(each, TlsSession)), None)
