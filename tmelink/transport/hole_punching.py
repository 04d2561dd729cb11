"""An end's side of a rendezvous: registers, looks for a direct path, and says where datagrams go; no I/O.

The direct path is found by UDP hole punching (RFC 5128, section 3.3): both ends send STUN requests under
their link's key to the address that the rendezvous has seen the other at, which opens both NATs. Only the
answer to a request proves a path. Requests may come from another address than the one that was told, where
the other end's NAT gives each destination a port of its own; they are answered, and that address is tried
too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from tmelink.frame import Frame
from tmelink.transport.rendezvous import RendezvousRole, StunDatagram, key_name
from tmelink.transport.stun import (
    TRANSACTION,
    InetAddress,
    StunAttribute,
    StunKind,
    StunMessage,
    address_value,
    decode,
    show,
)

REGISTER_SECONDS = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Between attempts to register; the last one goes on."""

REFRESH_SECONDS = 15.0
"""Between registrations while the path is direct, as ICE keeps NATs' mappings (RFC 8445, section 11)."""

RELAYED_REFRESH_SECONDS = 5.0
"""The same while the rendezvous carries the link, which is interrupted until then if it starts anew."""

HUB_SILENT_SECONDS = 40.0
"""After so long without an answer the rendezvous counts as gone."""

CHECK_SECONDS = 0.5
LOOK_SECONDS = 5.0
"""How often the direct path is tried at first, and for how long that is."""

LATER_SECONDS = 5.0
"""How often it is tried afterwards: a NAT may have started anew."""

KEEP_SECONDS = 1.0
SILENT_SECONDS = 3.5
"""How often a direct path in use is tried, and without an answer for how long it counts as dead."""

CANDIDATES = 4
"""Addresses of the other end that are tried: what was told, and where requests came from."""


@dataclass(slots=True)
class _Request:
    to: InetAddress
    at: float


class HolePunch:
    """The paths to the other end: `route` is where datagrams go now, at first the rendezvous.

    `usable` says of an address whether datagrams may be sent there. `token` makes random bytes, so that a
    test can have its own.
    """

    def __init__(
        self,
        key: bytes,
        role: RendezvousRole,
        hub: InetAddress,
        now: float,
        usable: Callable[[InetAddress], bool] = lambda _where: True,
        token: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.route: InetAddress = hub
        self.peer: InetAddress | None = None
        """The address at which the rendezvous has seen the other end; None before it has."""
        self._role = role
        self._take(key)
        self._hub = hub
        self._usable = usable
        self._token = token
        self._nonce: bytes | None = None
        self._asked: dict[bytes, _Request] = {}
        self._tries = 0
        self._hub_heard: float | None = None
        self._next_register = now
        self._candidates: dict[InetAddress, None] = {}
        self._trusted: set[InetAddress] = {hub}
        self._look_until = 0.0
        self._next_check = now
        self._proved = 0.0

    def _take(self, key: bytes) -> None:
        self._key = key
        self._name = f"{key_name(key)}:{self._role}"
        self._other = f"{key_name(key)}:{'server' if self._role == 'client' else 'client'}"

    def renew(self, key: bytes, now: float) -> None:
        """From now on the link has another key here. The path stays while the other end gets it too."""
        self._take(key)
        self._tries, self._next_register = 0, now
        self._proved = now

    @property
    def direct(self) -> bool:
        """Whether datagrams go to the other end itself."""
        return self.route != self._hub

    def hears(self, where: InetAddress) -> bool:
        """Whether what comes from there may be the other end's: the rendezvous, or who has shown the key."""
        return where in self._trusted

    def why(self, now: float) -> str:
        """Which path datagrams take and why, in words."""
        hub = show(self._hub)
        if self.direct:
            return f"direct to {show(self.route)}: it answers there"
        if self._hub_heard is None or now > self._hub_heard + HUB_SILENT_SECONDS:
            return f"through {hub}, which does not answer"
        if self.peer is None:
            return f"through {hub}: the other end is not there yet"
        if not self._usable(self.peer):
            return f"through {hub}: packets to {show(self.peer)} would enter the link itself"
        if now < self._look_until:
            return f"through {hub}, while a direct path to {show(self.peer)} is tried"
        return (
            f"through {hub}: nothing comes back from {show(self.peer)} directly, a NAT or firewall blocks it"
        )

    def receive(self, data: Frame, where: InetAddress, now: float) -> list[StunDatagram]:
        """Take a message that is STUN by its first byte; returns what to send."""
        message = decode(data)
        if message is None or not message.is_authentic(self._key):
            return []
        if where == self._hub:
            return self._from_hub(message, now)
        if message.kind == StunKind.REQUEST and message.text(StunAttribute.USERNAME) == self._other:
            return self._asked_by(message, where, now)
        request = self._asked.get(message.transaction)
        if message.kind == StunKind.SUCCESS and request is not None and request.to == where:
            del self._asked[message.transaction]
            self._trusted.add(where)
            if not self.direct and self._usable(where):
                self.route = where
            if where == self.route:
                self._proved = now
        return []

    def tick(self, now: float) -> list[StunDatagram]:
        """Time has passed; returns what to send."""
        sent: list[StunDatagram] = []
        self._asked = {key: each for key, each in self._asked.items() if now < each.at + SILENT_SECONDS}
        if self.direct and now >= self._proved + SILENT_SECONDS:
            self.route = self._hub
            self._look_until = now + LOOK_SECONDS
        if now >= self._next_register:
            pause = REGISTER_SECONDS[min(self._tries, len(REGISTER_SECONDS) - 1)]
            self._tries += 1
            self._next_register = now + pause
            sent.append(self._register(now))
        if now >= self._next_check:
            quick = self.direct or now < self._look_until
            self._next_check = now + (
                KEEP_SECONDS if self.direct else CHECK_SECONDS if quick else LATER_SECONDS
            )
            sent += [self._check(where, now) for where in self._candidates if self._usable(where)]
        return sent

    def deadline(self) -> float:
        """When `tick` must be called next."""
        return min(self._next_register, self._next_check) if self._candidates else self._next_register

    def _from_hub(self, message: StunMessage, now: float) -> list[StunDatagram]:
        if message.kind == StunKind.INDICATION:
            return self._told(message, now)
        if self._asked.pop(message.transaction, None) is None:
            return []
        self._hub_heard = now
        if message.kind == StunKind.ERROR:
            self._nonce = message.attributes.get(StunAttribute.NONCE)
            return [self._register(now)]
        self._tries = 0
        self._next_register = now + (REFRESH_SECONDS if self.direct else RELAYED_REFRESH_SECONDS)
        return self._told(message, now)

    def _told(self, message: StunMessage, now: float) -> list[StunDatagram]:
        """The rendezvous says where the other end is."""
        peer = message.address(StunAttribute.XOR_PEER_ADDRESS)
        if peer is None or peer == self.peer:
            return []
        # It has moved, or started anew: what was found before leads nowhere.
        self.peer = peer
        self.route = self._hub
        self._candidates = {peer: None}
        self._trusted = {self._hub}
        self._look_until = now + LOOK_SECONDS
        self._next_check = now
        return self.tick(now)

    def _asked_by(self, message: StunMessage, where: InetAddress, now: float) -> list[StunDatagram]:
        """The other end tries the direct path from there."""
        mapped = {StunAttribute.XOR_MAPPED_ADDRESS: address_value(where, message.transaction)}
        sent = [(StunMessage(StunKind.SUCCESS, message.transaction, mapped).encode(self._key), where)]
        self._trusted.add(where)
        if where not in self._candidates:
            self._make_room()
            self._candidates[where] = None
            sent += [self._check(where, now)] if self._usable(where) else []
        return sent

    def _make_room(self) -> None:
        """Forget the oldest address that came by itself, where there are too many."""
        if len(self._candidates) >= CANDIDATES:
            oldest = next(each for each in self._candidates if each not in (self.peer, self.route))
            del self._candidates[oldest]
            self._trusted.discard(oldest)

    def _register(self, now: float) -> StunDatagram:
        attributes = {StunAttribute.USERNAME: self._name.encode()}
        if self._nonce is not None:
            attributes[StunAttribute.NONCE] = self._nonce
        return self._request(self._hub, attributes, now)

    def _check(self, where: InetAddress, now: float) -> StunDatagram:
        return self._request(where, {StunAttribute.USERNAME: self._name.encode()}, now)

    def _request(
        self, where: InetAddress, attributes: dict[StunAttribute, bytes], now: float
    ) -> StunDatagram:
        transaction = self._token(TRANSACTION)
        self._asked[transaction] = _Request(where, now)
        return StunMessage(StunKind.REQUEST, transaction, attributes).encode(self._key), where
