"""A pair of session IDs, and the control packets between them.

A `ControlSession` holds the wrapping of one pair of ends and their negotiations: the current one, and the
one before it while its keys still count. It turns packets into progress and progress into packets; what the
keys are used for it does not know.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Hashable

from tmelink.errors import ProtocolError
from tmelink.openvpn.data import packet
from tmelink.openvpn.data.packet import HEADER, MAX_ACKS, RESETS, SESSION_ID, WITH_WRAPPED_KEY, Body, Opcode
from tmelink.openvpn.tls.engine import TlsContext
from tmelink.openvpn.tls.key_method import EXPORTER_DYNAMIC_TLS_CRYPT, KEY2, Message
from tmelink.openvpn.tls.negotiated import NegotiatedOptions
from tmelink.openvpn.tls.negotiation import Negotiation
from tmelink.openvpn.tls.reliable import PIGGYBACK_ACKS, Reliable
from tmelink.openvpn.tls.wrap import Wrapping, dynamic, split_wrapped_key

IP_UDP = 48
"""Bytes of IPv6 and UDP headers, which `--max-packet-size` counts."""

AMPLIFICATION = 3
"""How many times what has come from an address may go there before it is proven (RFC 9000, section 8.1)."""

BODY = 1 + SESSION_ID + 4 * PIGGYBACK_ACKS + 4
"""Bytes of a body before its payload, with as many acks as there may be."""


class ControlSession:
    """This end's and the peer's session id (None until it is heard) and all their negotiations.

    `identity` is the peer's common name and fingerprint, which renewals must not change. `first` is the
    packet number that both directions begin with: 1 where resets were exchanged without state. `material` is
    the key that a dynamic tls-crypt key is mixed with. `address` is where the peer is, None for wherever the
    link's peer is. `complete` says that its first negotiation has come to its end.
    """

    def __init__(
        self,
        context: TlsContext,
        wrapping: Wrapping,
        material: bytes,
        wall: Callable[[float], float],
        *,
        server: bool,
        tls_timeout: float,
        max_packet_size: int,
        drops: Counter[str],
        local: bytes | None = None,
        remote: bytes | None = None,
        first: int = 0,
    ) -> None:
        self.local = local or secrets.token_bytes(SESSION_ID)
        self.remote = remote
        self.address: Hashable = None
        self.complete = False
        self.negotiated: NegotiatedOptions | None = None
        self.identity: tuple[str, str] | None = None
        self.current: Negotiation | None = None
        self.previous: Negotiation | None = None
        self._context = context
        self._wrapping = wrapping
        self._later: Wrapping | None = None
        self._material = material
        self._wall = wall
        self._server = server
        self._tls_timeout = tls_timeout
        self._max_packet_size = max_packet_size
        self._drops = drops
        self._first = first
        self._allowance: int | None = None
        """Bytes that may still be sent to an address that is not proven."""

    def limit(self) -> None:
        """Send little until the peer acknowledges something: its address may be forged."""
        self._allowance = 0

    def start(self, local: Message, now: float, reset: Opcode | None) -> Negotiation:
        """A new negotiation, which begins with `reset`; the one before stays until it is dropped."""
        key_id = self.next_key_id()
        first = self._first if self.current is None else 0
        reliable = Reliable(self._tls_timeout, first_sent=first, first_received=first)
        engine = self._context.engine(self._wall(now))
        self.previous = self.current
        self.current = Negotiation(key_id, engine, reliable, local, server=self._server, now=now)
        if reset is not None:
            reliable.queue(reset, b"", now)
        return self.current

    @property
    def wrapped(self) -> bool:
        """Whether whoever sends its packets has shown a key."""
        return self._wrapping.codec.counted

    def next_key_id(self) -> int:
        """The key id of the next negotiation: 0, then 1 to 7 over and over."""
        return 0 if self.current is None else self.current.key_id % 7 + 1

    def negotiations(self) -> list[Negotiation]:
        """Those that are not dropped, the current one first."""
        return [n for n in (self.current, self.previous) if n is not None]

    def find(self, key_id: int) -> Negotiation | None:
        """The negotiation of a key id."""
        return next((n for n in self.negotiations() if n.key_id == key_id), None)

    def open(self, datagram: bytes, opcode: Opcode, key_id: int) -> Body:
        """The body of an authentic packet of this control session; `ProtocolError` for any other."""
        if opcode in WITH_WRAPPED_KEY:
            datagram, _ = split_wrapped_key(datagram)
        body = packet.parse_body(opcode, self._wrapping_of(key_id).open(datagram))
        if body.acked is not None and body.acked != self.local:
            raise ProtocolError("acknowledges another session")
        if self._allowance is not None:
            self._allowance = None if body.acks else self._allowance + AMPLIFICATION * len(datagram)
        return body

    def receive(self, negotiation: Negotiation, opcode: Opcode, body: Body, now: float) -> None:
        """Give a packet's acknowledgements and payload to its negotiation."""
        negotiation.reliable.acknowledged(body.acks, now)
        if body.number is not None:
            reason = negotiation.receive(body.number, opcode, body.payload)
            if reason is not None:
                self._drops[reason] += 1

    def advance(self, negotiation: Negotiation, now: float) -> None:
        """Let a negotiation go on; `ProtocolError` if it has failed, its last words queued."""
        wrapping = self._wrapping_of(negotiation.key_id)
        room = self._max_packet_size - IP_UDP - HEADER - BODY - wrapping.codec.overhead
        try:
            negotiation.advance(room, len(wrapping.wrapped), now)
        except ProtocolError:
            negotiation.last_words(max(room, 1), now)
            raise

    def wrap_dynamically(self, negotiation: Negotiation) -> None:
        """From the next negotiation on, wrap in a key that this one's TLS session gives."""
        exported = negotiation.engine.export(EXPORTER_DYNAMIC_TLS_CRYPT, KEY2)
        codec = dynamic(exported, self._material, server=self._server)
        self._later = Wrapping(codec, self._wall)

    def transmit(self, now: float) -> list[bytes]:
        """The packets to send now: what is due, with acknowledgements, then those that had no room."""
        packets: list[bytes] = []
        for negotiation in self.negotiations():
            reliable = negotiation.reliable
            for number, opcode, payload in reliable.due(now):
                packets.append(self._seal(negotiation, opcode, PIGGYBACK_ACKS, number, payload, now))
            while reliable.owes_acks() and self.remote is not None:
                packets.append(self._seal(negotiation, Opcode.ACK_V1, MAX_ACKS, None, b"", now))
        return packets if self._allowance is None else self._allowed(packets)

    def _allowed(self, packets: list[bytes]) -> list[bytes]:
        """What of it may go to an address that is not proven; the rest counts as lost, and comes again."""
        allowed: list[bytes] = []
        for sealed in packets:
            if self._allowance is not None and len(sealed) <= self._allowance:
                self._allowance -= len(sealed)
                allowed.append(sealed)
        return allowed

    def deadline(self) -> float | None:
        """When `transmit` has something again."""
        times = (negotiation.reliable.deadline() for negotiation in self.negotiations())
        return min((time for time in times if time is not None), default=None)

    def _seal(
        self,
        negotiation: Negotiation,
        opcode: Opcode,
        acks: int,
        number: int | None,
        payload: bytes,
        now: float,
    ) -> bytes:
        remote = self.remote
        acked = negotiation.reliable.acks(acks) if remote is not None else ()
        body = packet.build_body(Body(acked, remote, number, payload))
        head = packet.header(opcode, negotiation.key_id, self.local)
        return self._wrapping_of(negotiation.key_id).seal(opcode, head, body, now)

    def _wrapping_of(self, key_id: int) -> Wrapping:
        return self._later if key_id and self._later is not None else self._wrapping


def may_begin(opcode: Opcode, key_id: int, *, server: bool) -> bool:
    """Whether a packet is what the peer of a TLS server (or client) begins with."""
    return opcode in RESETS and key_id == 0 and (opcode is not Opcode.CONTROL_HARD_RESET_SERVER_V2) == server
