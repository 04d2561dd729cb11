"""How a session begins: the first packets of either side, and the message in which an end introduces itself.

Makes control sessions of settings. What becomes of them is the session's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tmelink.errors import ProtocolError
from tmelink.openvpn.data.packet import Opcode
from tmelink.openvpn.tls import negotiated, peer_info
from tmelink.openvpn.tls.control_session import ControlSession
from tmelink.openvpn.tls.engine import TlsContext
from tmelink.openvpn.tls.key_method import KeySource, Message
from tmelink.openvpn.tls.settings import Credentials, TlsSettings
from tmelink.openvpn.tls.wrap import (
    EARLY_NEGOTIATION,
    ClientKey,
    Crypt,
    ServerKey,
    Wrapping,
    codec,
    fresh_enough,
    key_material,
    split_wrapped_key,
    unwrap_client_key,
)


class HandshakeFactory:
    """What every control session of one session is made of."""

    def __init__(
        self,
        settings: TlsSettings,
        context: TlsContext,
        wall: Callable[[float], float],
        drops: Counter[str],
    ) -> None:
        self._settings = settings
        self._context = context
        self._wall = wall
        self._drops = drops

    def control_session(
        self,
        wrapping: Wrapping,
        material: bytes,
        local: bytes | None = None,
        remote: bytes | None = None,
        first: int = 0,
    ) -> ControlSession:
        """A control session in which nothing was sent."""
        settings = self._settings
        return ControlSession(
            self._context,
            wrapping,
            material,
            self._wall,
            server=settings.server,
            tls_timeout=settings.control.tls_timeout,
            max_packet_size=settings.control.max_packet_size,
            drops=self._drops,
            local=local,
            remote=remote,
            first=first,
        )

    def ask(self, credentials: Credentials | None, now: float) -> ControlSession:
        """A control session of a client, its reset on the way."""
        wrap = self._settings.wrap
        first, wrapped, reset = 0, b"", Opcode.CONTROL_HARD_RESET_CLIENT_V2
        if isinstance(wrap, ClientKey):
            first, wrapped, reset = EARLY_NEGOTIATION, wrap.wrapped, Opcode.CONTROL_HARD_RESET_CLIENT_V3
        wrapping = Wrapping(codec(wrap, server=False), self._wall, first=first, wrapped=wrapped)
        control_session = self.control_session(wrapping, key_material(wrap))
        control_session.start(self.introduction(credentials), now, reset)
        return control_session

    def answer(self, datagram: bytes, opcode: Opcode, now: float) -> ControlSession:
        """A control session of a server for a client that begins, not started yet; `ProtocolError`."""
        wrap = self._settings.wrap
        if not isinstance(wrap, ServerKey):
            return self.control_session(Wrapping(codec(wrap, server=True), self._wall), key_material(wrap))
        if opcode is not Opcode.CONTROL_HARD_RESET_CLIENT_V3:
            raise ProtocolError("reset without a client key")
        key, metadata = unwrap_client_key(wrap.key, split_wrapped_key(datagram)[1])
        if not fresh_enough(metadata, wrap.max_age, self._wall(now)):
            raise ProtocolError("client key too old")
        return self.control_session(Wrapping(Crypt(key, server=True), self._wall), key)

    def introduction(self, credentials: Credentials | None) -> Message:
        """This end's key-method message."""
        settings = self._settings
        info = ""
        if settings.mode != "push":
            info = peer_info.build(
                pull=settings.mode == "pull",
                ciphers=settings.ciphers.accepted,
                version=settings.version,
                mtu=settings.sizes.longest_mtu,
                extra=settings.peer_info,
            )
        return Message(
            KeySource.random(server=settings.server),
            negotiated.options_string(settings, remote=False),
            credentials.username if credentials else "",
            credentials.password if credentials else "",
            info,
        )
