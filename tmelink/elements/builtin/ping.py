"""A ping: echo requests at an interval, the result of each, and the statistics.

It knows no packet format: a function sends request number `sequence`, and the answers are passed in. The
clock is the running event loop's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from tmelink import values
from tmelink.arguments import keyword, parse, positional, usage
from tmelink.errors import ElementError
from tmelink.source import Mistake, Place, Source, Word
from tmelink.stack.node import Answer

MAX_COUNT = 1_000_000
MIN_INTERVAL = 0.001
MAX_TIMEOUT = 60.0
"""With the shortest interval and the longest timeout 60,000 requests are open, fewer than the 65,536
sequence numbers that tell them apart."""
MAX_SIZE = 65507
"""The most data bytes of an IPv4 packet, after its own header and ICMP's."""


class PingReply(NamedTuple):
    """The result of one request: `rtt` in seconds, or None with the `error` in words ("timeout" if lost)."""

    sequence: int
    rtt: float | None
    error: str | None = None
    size: int = 0
    ttl: int = 0


@dataclass(slots=True)
class PingResult:
    """The statistics of a ping; round trip times in seconds, 0 without any reply.

    `received` counts requests that were answered in time; `late` and `duplicates` are replies beside those.
    """

    address: IPv4Address | IPv6Address
    sent: int = 0
    received: int = 0
    duplicates: int = 0
    late: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    minimum: float = 0.0
    maximum: float = 0.0
    total: float = 0.0

    @property
    def lost(self) -> int:
        """Requests without a reply, ICMP errors among them."""
        return self.sent - self.received

    @property
    def loss(self) -> float:
        """The part of the requests that was lost, from 0 to 1."""
        return self.lost / self.sent if self.sent else 0.0

    @property
    def average(self) -> float:
        """The mean round trip time."""
        return self.total / self.received if self.received else 0.0

    def answered(self, rtt: float) -> None:
        """Count a reply that took `rtt` seconds."""
        self.minimum = min(rtt, self.minimum) if self.received else rtt
        self.maximum = max(rtt, self.maximum)
        self.total += rtt
        self.received += 1

    def __str__(self) -> str:
        line = f"{self.address}: {self.sent} sent, {self.received} received, {100 * self.loss:.3g}% loss"
        for count, word in ((self.duplicates, "duplicate"), (self.late, "late")):
            line += f", {count} {word}" if count else ""
        if self.received:
            line += f"\nrtt min/avg/max {_ms(self.minimum)}/{_ms(self.average)}/{_ms(self.maximum)} ms"
        return line + "".join(f"\n{count} x {error}" for error, count in self.errors.most_common())


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3f}"


class Ping:
    """One running ping. `send(sequence, now)` sends a request; `answered` gets its result."""

    def __init__(
        self,
        destination: IPv4Address | IPv6Address,
        send: Callable[[int, float], None],
        *,
        count: int,
        interval: float,
        size: int,
        timeout: float,
        on_reply: Callable[[PingReply], None] | None,
        result: PingResult | None = None,
    ) -> None:
        if not 1 <= count <= MAX_COUNT:
            raise ValueError(f"count {count} is out of range: 1 to {MAX_COUNT}")
        if not interval >= MIN_INTERVAL:
            raise ValueError(f"interval {interval} is too short: at least {MIN_INTERVAL} seconds")
        if not 0 < timeout <= MAX_TIMEOUT:
            raise ValueError(f"timeout {timeout} is out of range: up to {MAX_TIMEOUT} seconds")
        if not 0 <= size <= MAX_SIZE:
            raise ValueError(f"size {size} is out of range: 0 to {MAX_SIZE}")
        self.data = (bytes(range(256)) * (size // 256 + 1))[:size]
        self.result = PingResult(destination) if result is None else result
        self._destination = destination.packed
        self._many = destination.is_multicast
        self._send = send
        self._count = count
        self._interval = interval
        self._timeout = timeout
        self._on_reply = on_reply
        self._pending: dict[int, float] = {}
        self._late: set[int] = set()
        self._wake = asyncio.Event()
        self._failure: Exception | None = None

    async def run(self) -> PingResult:
        """Send all requests and wait for their results.

        Raises `ElementError` after `abort`, and what `on_reply` raised.
        """
        loop = asyncio.get_running_loop()
        next_send = loop.time()
        while self._failure is None:
            now = loop.time()
            self._expire(now)
            if self.result.sent < self._count and now >= next_send:
                next_send = max(next_send + self._interval, now)
                self._request(now)
            if self._failure is not None:
                break
            due = [next_send] if self.result.sent < self._count else []
            if self._pending:
                due.append(next(iter(self._pending.values())) + self._timeout)
            if not due:
                return self.result
            self._wake.clear()
            timer = loop.call_at(min(due), self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
        raise self._failure

    def _request(self, now: float) -> None:
        sequence = (self.result.sent + 1) & 0xFFFF
        self.result.sent += 1
        self._pending[sequence] = now
        self._late.discard(sequence)
        self._send(sequence, now)

    def _expire(self, now: float) -> None:
        # Requests are in the order of their sending, so the first is always the next to be lost.
        while self._pending:
            sequence, sent = next(iter(self._pending.items()))
            if sent + self._timeout > now:
                return
            del self._pending[sequence]
            self._late.add(sequence)
            self._report(PingReply(sequence, None, "timeout"))

    def answered(self, answer: Answer, now: float) -> None:
        """Take a reply or an ICMP error for one of the requests."""
        if answer.destination != self._destination and not (self._many and answer.error is None):
            return
        result, sequence = self.result, answer.sequence
        sent = self._pending.pop(sequence, None)
        if sent is None:
            if answer.error is None and sequence in self._late:
                self._late.remove(sequence)
                result.late += 1
            elif answer.error is None:
                result.duplicates += 1
            return
        if answer.error is not None:
            result.errors[answer.error] += 1
            self._report(PingReply(sequence, None, answer.error))
        else:
            rtt = now - sent
            result.answered(rtt)
            self._report(PingReply(sequence, rtt, None, answer.size, answer.ttl))
        if not self._pending and result.sent == self._count:
            self._wake.set()

    def abort(self, reason: str) -> None:
        """End the ping with `ElementError(reason)`."""
        self._failure = ElementError(reason)
        self._wake.set()

    def _report(self, reply: PingReply) -> None:
        if self._on_reply is None or self._failure is not None:
            return
        try:
            self._on_reply(reply)
        except Exception as error:
            # The element that delivered the reply called this; the error only concerns the ping's caller.
            self._failure = error
            self._wake.set()


@dataclass(frozen=True)
class PingArguments:
    """The arguments of `command HOST ping …`."""

    address: IPv4Address | IPv6Address = positional("ADDR", values.address, help="the address to ping")
    count: int = keyword("N", values.integer(1, MAX_COUNT, "count"), default=4, help="how many requests")
    interval: float = keyword(
        "SECONDS", values.seconds(MIN_INTERVAL, 3600), default=1.0, help="time between two requests"
    )
    size: int = keyword("BYTES", values.integer(0, MAX_SIZE, "size"), default=56, help="data in a request")
    timeout: float = keyword(
        "SECONDS", values.seconds(MIN_INTERVAL, MAX_TIMEOUT), default=1.0, help="when a request is lost"
    )


PING_USAGE = usage(PingArguments, "ping")


def parse_ping(words: Sequence[str]) -> PingArguments:
    """The arguments of a ping command; `ElementError` says what is wrong with them."""
    place = Place(Source("ping", " ".join(words)), 1, 1)
    mistakes: list[Mistake] = []
    parsed = parse(PingArguments, [Word(word, place) for word in words], place, mistakes.append)
    if parsed is None:
        reasons = "; ".join(
            f"{mistake.message} ({mistake.hint})" if mistake.hint else mistake.message for mistake in mistakes
        )
        raise ElementError(f"{reasons}; usage: {PING_USAGE}")
    return parsed
