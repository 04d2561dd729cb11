"""One negotiation of keys: a TLS handshake and two key-method messages over a reliable stream.

A `Negotiation` turns the control packets of one key id into what both ends said, and into text messages
afterwards. It knows neither wire nor wrapping, and leaves to the session what is made of the keys.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto

from tmelink.errors import ProtocolError
from tmelink.openvpn.data.keys import DataKeys
from tmelink.openvpn.data.packet import RESETS, Opcode
from tmelink.openvpn.tls import key_method, push_messages
from tmelink.openvpn.tls.engine import TlsEngine
from tmelink.openvpn.tls.key_method import Message
from tmelink.openvpn.tls.reliable import Reliable

RESEND_WRAPPED_KEY = (1, 1)
"""Type and flag of the one early-negotiation record that there is (doc/tls-crypt-v2.txt)."""

LEAST_PAYLOAD = 16
"""Bytes of TLS that a packet carries at least, however little room its wrapping leaves."""


class Phase(IntEnum):
    """How far the exchange of one negotiation has come; it only goes forward, and in this order."""

    RESET = auto()
    """The peer's first packet has not come."""
    HANDSHAKE = auto()
    """TLS is under way."""
    KEY_SENT = auto()
    """This end's key-method message is on its way."""
    ESTABLISHED = auto()
    """Both ends have both messages, and the peer has acknowledged everything."""


class Admission(Enum):
    """What the session has decided of the peer, which may be before the exchange is established or after."""

    UNKNOWN = auto()
    """The peer has not said who it is."""
    ASKED = auto()
    """It has, and is neither taken nor refused."""
    ADMITTED = auto()


class Negotiation:
    """The exchange under one key id, from the first packet to working keys.

    `local` is this end's key-method message; `remote` the peer's as soon as it has come. `messages` collects
    the text that came over the control channel since. The rest is the session's: the data `keys`, what they
    carried, whether the peer seals with them, and when they are dropped (`expires`).
    """

    def __init__(
        self, key_id: int, engine: TlsEngine, reliable: Reliable, local: Message, *, server: bool, now: float
    ) -> None:
        self.key_id = key_id
        self.engine = engine
        self.reliable = reliable
        self.local = local
        self.remote: Message | None = None
        self.started = now
        self.established: float | None = None
        self.phase = Phase.HANDSHAKE if reliable.next_number > 0 else Phase.RESET
        self.admission = Admission.UNKNOWN
        self.used_by_peer = False
        self.expires: float | None = None
        self.keys: DataKeys | None = None
        self.messages: list[str] = []
        self.bytes = 0
        self.packets = 0
        self.resend_wrapped_key = False
        self._server = server
        self._incoming = bytearray()
        self._plaintext = b""
        self._unsent = b""

    @property
    def ready(self) -> bool:
        """Whether both ends have said everything that keys are made of."""
        return self.phase is Phase.ESTABLISHED

    def progress(self, now: float) -> str:
        """How far it has come, for a person to read."""
        what = f"handshake (key {self.key_id})" if self.key_id else "handshake"
        if self.phase is Phase.HANDSHAKE:
            return f"{what}: the peer is heard, TLS begins"
        if self.phase is Phase.KEY_SENT:
            return f"{what}: {self.engine.describe()} established, key material sent"
        return f"{what}: both ends have the key material, {now - self.started:.3f} s after it began"

    def introduce(self) -> Message | None:
        """The peer's message, to be asked about who it is; None before it has come and once it was given."""
        if self.remote is None or self.admission is not Admission.UNKNOWN:
            return None
        self.admission = Admission.ASKED
        return self.remote

    def admit(self) -> None:
        """The session takes the peer."""
        assert self.admission is Admission.ASKED, "nobody is admitted unasked or twice"
        self.admission = Admission.ADMITTED

    def receive(self, number: int, opcode: Opcode, payload: bytes) -> str | None:
        """Take a packet; the reason where it is not kept."""
        if opcode in RESETS and number != 0:
            return "reset that is not the first packet"
        return self.reliable.receive(number, opcode, payload)

    def advance(self, payload_room: int, wrapped_key: int, now: float) -> None:
        """Go on as far as what has arrived leads.

        `payload_room` is how many bytes of TLS a packet takes, `wrapped_key` how many less the one that
        repeats a client's key. Raises `ProtocolError`: the negotiation has failed.
        """
        reliable = self.reliable
        while (packet := reliable.take()) is not None:
            number, _, payload = packet
            if number == 0:
                self.phase = max(self.phase, Phase.HANDSHAKE)
                self._early_negotiation(payload)
            else:
                self._incoming += payload
        started, key_sent = self.phase >= Phase.HANDSHAKE, self.phase >= Phase.KEY_SENT
        if started and (key_sent or self._incoming or reliable.idle()):
            self._step()
        self._queue(payload_room, wrapped_key, now)
        acknowledged = reliable.idle() and not self._unsent
        if self.phase is Phase.KEY_SENT and self.remote is not None and acknowledged:
            self.phase = Phase.ESTABLISHED
            self.established = now

    def send(self, message: str) -> None:
        """Send a text message to the peer; goes out with the next `advance`."""
        self.engine.write(message.encode("utf-8", "replace") + b"\0")

    def last_words(self, payload_room: int, now: float) -> None:
        """After a failure: queue the alert that tells the peer, if there is one and room for it."""
        alert = self.engine.outgoing()
        if alert and self.reliable.room() > 0:
            self.reliable.queue(Opcode.CONTROL_V1, alert[:payload_room], now)

    def _early_negotiation(self, payload: bytes) -> None:
        while payload:
            if len(payload) < 4:
                raise ProtocolError("early negotiation cut short")
            kind, length = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
            value, payload = payload[4 : 4 + length], payload[4 + length :]
            if len(value) < length:
                raise ProtocolError("early negotiation cut short")
            if kind == RESEND_WRAPPED_KEY[0] and length == 2:
                self.resend_wrapped_key = bool(value[1] & RESEND_WRAPPED_KEY[1])

    def _step(self) -> None:
        incoming, self._incoming = bytes(self._incoming), bytearray()
        plaintext = self._plaintext + self.engine.step(incoming)
        if self.remote is None and plaintext:
            parsed = key_method.parse(plaintext, from_client=self._server)
            if parsed is not None:
                self.remote, plaintext = parsed
        if len(plaintext) > push_messages.MAX_PENDING:
            raise ProtocolError("endless message on the control channel")
        if self.remote is not None:
            messages, plaintext = push_messages.split_messages(plaintext)
            self.messages += messages
        self._plaintext = plaintext
        may_send = self.engine.established and (not self._server or self.remote is not None)
        if may_send and self.phase < Phase.KEY_SENT:
            self.engine.write(key_method.build(self.local))
            self.phase = Phase.KEY_SENT

    def _queue(self, payload_room: int, wrapped_key: int, now: float) -> None:
        self._unsent += self.engine.outgoing()
        while self._unsent and self.reliable.room() > 0:
            room, opcode = payload_room, Opcode.CONTROL_V1
            if self.resend_wrapped_key and self.reliable.next_number == 1:
                room, opcode = room - wrapped_key, Opcode.CONTROL_WKC_V1
            room = max(room, LEAST_PAYLOAD)
            self.reliable.queue(opcode, self._unsent[:room], now)
            self._unsent = self._unsent[room:]
