"""A server's side of pushed options: what one client gets, when it is told, and how it is refused.

Keeps whether the client was admitted and answered; what is agreed with it is reckoned here and told in return
values. Knows no keys and no time but the moment at which a refused client is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tmelink.openvpn.session import Restart
from tmelink.openvpn.tls import negotiated, peer_info, push_messages
from tmelink.openvpn.tls.key_method import Message
from tmelink.openvpn.tls.negotiated import NegotiatedOptions
from tmelink.openvpn.tls.peer_info import Proto
from tmelink.openvpn.tls.settings import TlsSettings

LINGER_SECONDS: Final = 5.0
"""How long a refused client's session goes on, so that its last message arrives (as OpenVPN)."""

NO_CIPHER: Final = "Data channel cipher negotiation failed (no shared cipher)"
"""The message for a client without a common cipher, in OpenVPN's words."""


class PushServer:
    """The state of one client at its server."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._options: tuple[str, ...] | None = None
        self._asked = False
        self._refused: Restart | None = None
        self.forget_at: float | None = None

    @property
    def admitted(self) -> bool:
        """Whether the client has its options."""
        return self._options is not None

    def admit(self, options: Sequence[str], remote: Message) -> NegotiatedOptions | None:
        """Settle what the client gets; None if there is no cipher in common."""
        agreed = negotiated.as_server(self._settings, remote)
        if agreed is not None:
            own = negotiated.options_to_push(self._settings, remote, agreed)
            self._options = (*options, *own)
            # New clients need not ask; the older ones do, every few seconds.
            self._asked |= bool(peer_info.proto(peer_info.parse(remote.peer_info)) & Proto.REQUEST_PUSH)
        return agreed

    def update(self, options: Sequence[str]) -> None:
        """Tell a client that has its options more of them."""
        self._options = (*(self._options or ()), *options)

    def asked(self) -> None:
        """The client asks for its options."""
        self._asked = True

    def replies(self) -> list[str]:
        """What to tell the client now: its options, once, for the control channel repeats what is lost."""
        if self._options is None or not self._asked:
            return []
        options, self._options = self._options, ()
        if not options:
            return []
        return push_messages.build_replies(options)

    def refuse(self, reason: str, now: float) -> str:
        """What to tell a client that is not taken; it is forgotten a little later."""
        self.forget_at = now + LINGER_SECONDS
        self._refused = Restart(f"the client was refused: {reason or 'no reason'}")
        return push_messages.build_refusal(reason)

    def forgotten(self, now: float) -> Restart | None:
        """The end of a refused client, once its time has come."""
        return self._refused if self.forget_at is not None and now >= self.forget_at else None
