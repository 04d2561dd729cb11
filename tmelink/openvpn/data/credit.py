"""How many datagrams may be under way to a peer with a small receive buffer, as a value.

OpenVPN reads one datagram at a time out of a buffer that by Linux's default holds 92 of 1500 bytes, and what
finds it full is lost. Nothing in the protocol tells how full it is. But OpenVPN answers a request for a load
message (OCC, `tmelink.openvpn.occ`) in its turn among the datagrams, and as long as it was asked: so each
answer says, by its length, up to which question everything has left the buffer. Knows no session.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final, NamedTuple

ROOM: Final = 72
"""Datagrams that may be under way on a short path: of 1500 bytes, Linux's default holds 92."""

STEP: Final = 36
"""Datagrams from one question to the next, at the least; whoever sends does so in portions of that size."""

LEAST: Final = 8
"""Datagrams of a burst that make it worth asking whom they go to."""

NUMBERS: Final = 64
"""Questions that can be told apart by the length of the answer."""

QUESTION: Final = 256
"""Bytes that the first of them asks for: more than any session adds to a message."""

TRIES: Final = 8
"""Questions in a row that hold everything up and are not answered, after which nothing is limited any more.
A peer that has answered before and is silent has no time to read either, or is gone."""

PATIENCE: Final = 0.05
"""Seconds until a question that holds everything up is asked again, or thrice the round trip if that is
longer; and while nothing is limited, until somebody is asked again. Each time it is twice as long."""

LONGEST_WAIT: Final = 1.0
"""Seconds to which the first grows."""

LONGEST_PATIENCE: Final = 60.0
"""Seconds to which the second grows: a peer that never answers costs nothing."""

LONG: Final = 0.003
"""Seconds of a round trip from which on nothing is limited. So small a window would limit the transfer, and a
long path spreads bursts anyhow."""

SURE: Final = 32
"""Answers of which none was quicker, before a path is taken for a long one: the peer may have been busy."""

LOOK_AGAIN: Final = 1.0
"""Seconds until it is found out whether a long path has become a short one."""


class _Question(NamedTuple):
    """A question: the datagrams that went before it, and when it went."""

    number: int
    sent: int
    at: float


class Credit:
    """One session's; it `limits` only while the peer answers."""

    def __init__(self) -> None:
        self.limits = False
        self._sent = 0
        self._taken = 0
        self._asked: deque[_Question] = deque()
        self._number = 0
        self._tries = 0
        """Questions since the last answer for which everything waited."""
        self._patience = PATIENCE
        self._ask_after = -inf
        """When it is worth asking, while nothing is limited."""
        self._shorter: int | None = None
        """Bytes by which an answer is shorter than what was asked for."""
        self._answers = 0
        self._trip = inf
        """The shortest round trip so far, in seconds: a longer one was spent in the buffer."""

    @property
    def room(self) -> int:
        """Datagrams that may go now."""
        return ROOM - (self._sent - self._taken)

    def sent(self, count: int, now: float) -> bool:
        """So many datagrams go now; returns whether a question is to follow them."""
        self._sent += count
        if not self.limits:
            return count >= LEAST and now >= self._ask_after
        last = self._asked[-1].sent if self._asked else self._taken
        return self._sent - last >= STEP

    def ask(self, now: float) -> int:
        """The bytes that the question which goes now asks for."""
        if self.limits:
            self._number = (self._number + 1) % NUMBERS
        else:
            # All are the same until one is answered, since nobody would know which one that was.
            self._asked.clear()
            self._number = 0
            self._ask_after = now + self._patience
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._asked.append(_Question(self._number, self._sent, now))
        if len(self._asked) >= NUMBERS:
            self._asked.popleft()
        return QUESTION + self._number

    def answered(self, length: int, now: float) -> None:
        """An answer of so many bytes has come."""
        if not self._asked:
            return
        if self._shorter is None:
            if not 0 <= QUESTION - length < QUESTION:
                return
            self._shorter = QUESTION - length
        number = length + self._shorter - QUESTION
        if all(asked.number != number for asked in self._asked):
            return
        while (asked := self._asked.popleft()).number != number:
            pass
        self.limits, self._tries, self._patience = True, 0, PATIENCE
        self._answers += 1
        self._taken = asked.sent
        self._trip = min(self._trip, now - asked.at)
        if self._trip >= LONG and self._answers >= SURE:
            self.limits, self._ask_after = False, now + LOOK_AGAIN

    def deadline(self) -> float | None:
        """When `late` is to be called while datagrams wait; None if nothing was asked."""
        if not self._asked:
            return None
        trip = 0.0 if self._trip == inf else 3 * self._trip
        wait: float = min(PATIENCE * 2**self._tries, LONGEST_WAIT)
        return self._asked[-1].at + max(wait, trip)

    def late(self) -> bool:
        """An answer is overdue for which everything waits; returns whether to ask again."""
        self._tries += 1
        if self._tries < TRIES:
            return True
        self.limits, self._shorter, self._taken = False, None, self._sent
        self._asked.clear()
        return False
