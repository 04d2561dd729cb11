"""A cache of neighbours' MAC addresses: it asks for them, queues packets meanwhile, and forgets.

The same for ARP (RFC 826, RFC 1122 section 2.3.2) and for IPv6 neighbour discovery (RFC 4861 section 7.3).
It knows no message format: it calls `ask` to send a request, and `learn` gives it what was heard.
An entry that has not been confirmed for a while is still used, and asked for again once it is; what does
not answer is forgotten. Pure: the time is passed in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

CACHE = 1024
"""The most known addresses; the one heard of longest ago is dropped. Linux keeps as many (gc_thresh3)."""

UNRESOLVED = 64
"""The most addresses asked for at once, so that a network scan costs neither memory nor many requests."""

WAITING = 64
"""The most packets that wait for one address; the oldest is dropped. The largest datagram has 53 fragments of
1280 bytes, and all of them are needed."""

TRIES = 3
"""Requests before an address counts as unreachable (RFC 4861's MAX_MULTICAST_SOLICIT)."""

RETRY = 1.0
"""Seconds between two requests: RETRANS_TIMER of RFC 4861, and the shortest that RFC 1122 allows."""

REACHABLE = 30.0
"""Seconds for which an entry is trusted (RFC 4861's REACHABLE_TIME)."""

DELAY = 5.0
"""Seconds that a used but old entry has to be confirmed by itself before it is asked for
(RFC 4861's DELAY_FIRST_PROBE_TIME)."""

FORGET = 1200.0
"""Seconds after which an unconfirmed entry is dropped: BSD's 20 minutes."""


@dataclass(slots=True)
class _Known:
    mac: bytes
    heard: float
    confirmed: float


@dataclass(slots=True)
class _Asked:
    due: float
    tries: int
    mac: bytes | None = None
    waiting: deque[bytes] = field(default_factory=deque)


class Neighbours:
    """The cache of one interface and address family.

    `ask(address, mac)` sends a request, to all hosts where `mac` is None; `failed(address, packets)` takes
    what waited for an address that does not answer. Drops are counted in `drops`.
    """

    def __init__(
        self,
        ask: Callable[[bytes, bytes | None], None],
        failed: Callable[[bytes, Sequence[bytes], float], None],
        drops: Counter[str],
    ) -> None:
        self._ask = ask
        self._failed = failed
        self._drops = drops
        self._known: dict[bytes, _Known] = {}
        self._asked: dict[bytes, _Asked] = {}

    def lookup(self, address: bytes, now: float) -> bytes | None:
        """The MAC address of `address`, or None if a packet must `wait` for it."""
        entry = self._known.get(address)
        if entry is None:
            return None
        if now > entry.confirmed + REACHABLE and address not in self._asked:
            if now > entry.heard + FORGET:
                del self._known[address]
                return None
            if len(self._asked) < UNRESOLVED:
                self._asked[address] = _Asked(now + DELAY, 0, entry.mac)
        return entry.mac

    def wait(self, address: bytes, packet: bytes, now: float) -> None:
        """Queue `packet` until `address` is known, and ask for it if that has not been done."""
        asked = self._asked.get(address)
        if asked is None:
            if len(self._asked) >= UNRESOLVED:
                self._drops["neighbour: too many unresolved"] += 1
                return
            asked = self._asked[address] = _Asked(now + RETRY, 1)
            self._ask(address, None)
        if len(asked.waiting) >= WAITING:
            asked.waiting.popleft()
            self._drops["neighbour: queue full"] += 1
        asked.waiting.append(packet)

    def seek(self, address: bytes, now: float) -> None:
        """Ask for `address` where it is neither known nor asked for, although no packet waits for it."""
        if address not in self._known and address not in self._asked and len(self._asked) < UNRESOLVED:
            self._asked[address] = _Asked(now + RETRY, 1)
            self._ask(address, None)

    def learn(
        self, address: bytes, mac: bytes, now: float, *, create: bool, confirmed: bool = True
    ) -> Sequence[bytes]:
        """`address` has been heard to be at `mac`; returns the packets that waited for it.

        An address that is neither known nor asked for is only taken in with `create`. With `confirmed`
        False it is used, but asked for when it is (RFC 4861's state STALE).
        """
        entry = self._known.pop(address, None)
        asked = self._asked.get(address)
        if entry is None and asked is None and not create:
            return ()
        if entry is not None and entry.mac == mac and not confirmed:
            entry.heard = now
            self._known[address] = entry
            return ()
        if entry is None and len(self._known) >= CACHE:
            del self._known[next(iter(self._known))]
        # Inserted at the end, so that the first entry is always the one heard of longest ago.
        self._known[address] = _Known(mac, now, now if confirmed else now - REACHABLE)
        if asked is None:
            return ()
        del self._asked[address]
        return asked.waiting

    def known(self, address: bytes) -> bytes | None:
        """The MAC address on record, without using it."""
        entry = self._known.get(address)
        return entry.mac if entry else None

    def awaited(self, address: bytes) -> bool:
        """Whether `address` is being asked for."""
        return address in self._asked

    def stale(self, address: bytes, now: float) -> None:
        """Another host claims a known address: ask for it when it is next used."""
        entry = self._known.get(address)
        if entry is not None:
            entry.confirmed = min(entry.confirmed, now - REACHABLE - 1)

    def tick(self, now: float) -> None:
        """Ask again where an answer is overdue; give up after enough requests."""
        for address, asked in [item for item in self._asked.items() if item[1].due <= now]:
            if asked.tries < TRIES:
                asked.tries += 1
                asked.due = now + RETRY
                self._ask(address, asked.mac)
                continue
            del self._asked[address]
            self._known.pop(address, None)
            self._drops["neighbour: no answer"] += len(asked.waiting)
            self._failed(address, tuple(asked.waiting), now)

    def deadline(self) -> float | None:
        """The time at which `tick` is due, or None."""
        return min((asked.due for asked in self._asked.values()), default=None)

    def table(self, now: float) -> Iterator[tuple[bytes, bytes | None, str, float]]:
        """Each address, its MAC or None, its state in a word, and seconds since it was heard of."""
        for address, entry in self._known.items():
            state = "reachable" if now <= entry.confirmed + REACHABLE else "stale"
            yield address, entry.mac, state, now - entry.heard
        for address, asked in self._asked.items():
            if asked.mac is None:
                yield address, None, "asking", 0.0
