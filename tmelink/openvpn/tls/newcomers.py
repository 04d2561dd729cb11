"""Peers that begin a session with one of two equal ends and have not authenticated yet.

Anybody may be among them, so they cost little: over UDP a server keeps nothing of one until he has shown that
he receives at his address, there are never more than `MOST`, and whoever comes in crowds does not keep others
out. Which of them becomes the peer is the session's to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Final

from tmelink.openvpn.data.packet import Opcode
from tmelink.openvpn.tls.control_session import ControlSession
from tmelink.openvpn.tls.cookie import Cookies
from tmelink.openvpn.tls.handshake_factory import HandshakeFactory
from tmelink.openvpn.tls.key_method import Message
from tmelink.openvpn.tls.restarts import RestartNotices
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.openvpn.tls.wrap import Wrapping

MOST: Final = 16
"""The most at a time. A handshake takes a few round trips, so an attacker must be quick to crowd one out."""


class Newcomers:
    """The newcomers of one session."""

    def __init__(
        self, settings: TlsSettings, factory: HandshakeFactory, wall: Callable[[float], float]
    ) -> None:
        self._factory = factory
        self._wall = wall
        self._cookies = Cookies(settings.wrap, settings.control.hand_window, once=True)
        self._notices = RestartNotices(self._cookies)
        self._sessions: list[ControlSession] = []

    def notice(self, source: Hashable, size: int, now: float) -> bytes:
        """A server's reply over UDP to a packet from a session of an earlier run; empty for none.

        Nothing to one who is already restarting: what came later under a wrapping key would make the
        packets of his new session look old.
        """
        if any(control_session.address == source for control_session in self._sessions):
            return b""
        return self._notices.notice(source, size, now, self._wall(now))

    def __iter__(self) -> Iterator[ControlSession]:
        return iter(self._sessions)

    def __contains__(self, control_session: object) -> bool:
        return control_session in self._sessions

    def knows(self, datagram: bytes, now: float) -> bool:
        """Whether the configured key has wrapped a control packet."""
        return self._cookies.knows(datagram, self._wall(now))

    def greet(
        self, datagram: bytes, opcode: Opcode, source: Hashable, introduction: Message, now: float
    ) -> bytes | ControlSession:
        """What a server answers over UDP, or the newcomer that has shown where he is; `ProtocolError`."""
        greeted = self._cookies.greet(datagram, source, now, self._wall(now))
        if isinstance(greeted, bytes):
            return greeted
        if not greeted.local:
            control_session = self._factory.answer(datagram, opcode, now)
            control_session.limit()
            control_session.start(introduction, now, Opcode.CONTROL_HARD_RESET_SERVER_V2)
            return control_session
        # Both ends' packet ids went on by one with the resets that were not kept.
        wrapping = Wrapping(greeted.codec, self._wall, first=1)
        control_session = self._factory.control_session(
            wrapping, greeted.material, greeted.local, greeted.remote, first=1
        )
        control_session.start(introduction, now, None)
        return control_session

    def admit(self, control_session: ControlSession) -> None:
        """Add a newcomer; if there are too many, the oldest from the host with the most is removed."""
        if len(self._sessions) >= MOST:
            hosts = Counter(map(_host, self._sessions))
            ((crowd, _),) = hosts.most_common(1)
            self._sessions.remove(next(s for s in self._sessions if _host(s) == crowd))
        self._sessions.append(control_session)

    def remove(self, control_session: ControlSession) -> None:
        """One has become the peer, or has failed."""
        self._sessions.remove(control_session)

    def clear(self) -> None:
        """Forget all."""
        self._sessions.clear()


def _host(control_session: ControlSession) -> Hashable:
    address = control_session.address
    return address[0] if isinstance(address, tuple) else address
