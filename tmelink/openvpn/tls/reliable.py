"""The reliability layer: an ordered, acknowledged stream of control packets over a wire that loses some.

One `Reliable` serves one key negotiation, both directions. It numbers and keeps what is sent until it is
acknowledged, says when to send it again, puts what arrives in order and remembers what to acknowledge. It
knows neither wrapping nor TLS; its window and back-off are those of OpenVPN's src/openvpn/reliable.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from tmelink.openvpn.data.packet import MAX_ACKS, Opcode

SEND_WINDOW = 6
"""Packets on the way at once; OpenVPN's send buffer holds as many (TLS_RELIABLE_N_SEND_BUFFERS)."""

RECEIVE_WINDOW = 12
"""Packets ahead of the next expected one that are kept (TLS_RELIABLE_N_REC_BUFFERS)."""

EARLY_RESEND = 3
"""Acknowledgements of later packets after which one is taken for lost (N_ACK_RETRANSMIT)."""

PIGGYBACK_ACKS = 4
"""Acknowledgements on a packet that also carries payload (CONTROL_SEND_ACK_MAX)."""

SLOWEST = 8.0
"""Seconds between two sendings at most: some seven tries in the usual hand-window, however bad the wire."""


@dataclass(slots=True)
class _Sent:
    """A packet that was not acknowledged yet."""

    opcode: Opcode
    payload: bytes
    due: float
    timeout: float
    first_sent: float | None = None
    repeated: bool = False
    passed: int = 0


class Reliable:
    """Both directions of one key negotiation's control packets.

    `timeout` is the seconds before a packet is first sent again (`--tls-timeout`). Packet numbers begin at
    `first_sent` and `first_received`: 0, or 1 where the resets were answered without state.
    """

    def __init__(self, timeout: float, *, first_sent: int = 0, first_received: int = 0) -> None:
        self._timeout = timeout
        self._next = first_sent
        self._sent: dict[int, _Sent] = {}
        self._expected = first_received
        self._received: dict[int, tuple[Opcode, bytes]] = {}
        self._to_ack: list[int] = []
        self._acked: list[int] = []
        self._heard = False
        """Whether the peer has said anything yet; one that is down is asked at even intervals."""
        self.round_trip: float | None = None
        """Seconds to the quickest acknowledgement of a packet that was sent once; None before the first."""

    def room(self) -> int:
        """How many packets may be queued now."""
        oldest = next(iter(self._sent), self._next)
        return SEND_WINDOW - (self._next - oldest)

    def idle(self) -> bool:
        """Whether everything sent was acknowledged."""
        return not self._sent

    def owes_acks(self) -> bool:
        """Whether a received packet still waits for its acknowledgement."""
        return bool(self._to_ack)

    @property
    def next_number(self) -> int:
        """The number of the next packet to be queued."""
        return self._next

    def queue(self, opcode: Opcode, payload: bytes, now: float) -> None:
        """Send a packet, at once and until it is acknowledged; the caller has asked for `room`."""
        self._sent[self._next] = _Sent(opcode, payload, now, self._timeout)
        self._next += 1

    def due(self, now: float) -> list[tuple[int, Opcode, bytes]]:
        """Number, opcode and payload of every packet to send now, the oldest first."""
        packets = []
        for number, sent in self._sent.items():
            if now >= sent.due or sent.passed >= EARLY_RESEND:
                packets.append((number, sent.opcode, sent.payload))
                sent.repeated = sent.first_sent is not None
                sent.first_sent = now
                sent.due = now + sent.timeout
                if self._heard:
                    sent.timeout = min(sent.timeout * 2, SLOWEST)
                sent.passed = 0
        return packets

    def hurry(self, now: float) -> None:
        """The peer has just been heard for the first time: send everything again now."""
        for sent in self._sent.values():
            sent.due = now
            sent.timeout = self._timeout

    def deadline(self) -> float | None:
        """When `due` has something again, or None."""
        return min((sent.due for sent in self._sent.values()), default=None)

    def acknowledged(self, numbers: tuple[int, ...], now: float) -> None:
        """The peer has these packets."""
        self._heard |= bool(numbers)
        for number in numbers:
            done = self._sent.pop(number, None)
            if done is None:
                continue
            # Which sending of several was acknowledged cannot be known (RFC 6298, section 3).
            if done.first_sent is not None and not done.repeated:
                taken = now - done.first_sent
                self.round_trip = taken if self.round_trip is None else min(taken, self.round_trip)
            for earlier, sent in self._sent.items():
                if earlier < number:
                    sent.passed += 1

    def receive(self, number: int, opcode: Opcode, payload: bytes) -> str | None:
        """Take a packet from the peer; the reason where it is not kept.

        A packet that was taken before is acknowledged again: its acknowledgement may have been lost.
        """
        self._heard = True
        if number >= self._expected + RECEIVE_WINDOW:
            return "beyond the control window"
        known = number < self._expected or number in self._received
        if not known:
            self._received[number] = (opcode, payload)
        if number not in self._to_ack and len(self._to_ack) < RECEIVE_WINDOW:
            self._to_ack.append(number)
        return "repeated control packet" if known else None

    def take(self) -> tuple[int, Opcode, bytes] | None:
        """The next packet in order, or None while it has not arrived."""
        number = self._expected
        packet = self._received.pop(number, None)
        if packet is None:
            return None
        self._expected += 1
        return (number, *packet)

    def acks(self, most: int) -> tuple[int, ...]:
        """Up to `most` numbers to acknowledge: those owed, then the latest again while there is room."""
        fresh, self._to_ack = self._to_ack[:most], self._to_ack[most:]
        self._acked = (fresh + [number for number in self._acked if number not in fresh])[:MAX_ACKS]
        return tuple(self._acked[:most])
