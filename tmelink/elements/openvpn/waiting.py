"""What a link logs about a peer that is not heard, and about packets that it refuses.

`WaitingLog` says at once what the link waits for, after a while why it still does, again with growing pauses,
and when it is over. `RefusalLog` puts the reasons of drops into words, each at most once in a minute. Both
look at counters now and then: nothing of this is on the data path.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from tmelink.frame import Counters
from tmelink.logs import TRACE
from tmelink.reasons import REASONS, explained

FIRST_SECONDS = 10.5
"""From the beginning to the first explanation: a handshake over a slow path has come to its end by then, and
the first question about options (`tmelink.openvpn.occ`) has had its answer, if only an ICMP error."""

LONGEST_SECONDS = 3600.0
"""The longest pause between two explanations; each is twice as long as the one before."""

LOOK_SECONDS = 5.0
"""Between two looks at the drops."""

AGAIN_SECONDS = 60.0
"""Seconds before the same reason is logged again."""

MOST_REASONS = 3
"""Reasons in one line; the others are in `tmelink status`."""

TOLD_BY_THE_SESSION = frozenset(("bad hmac", "bad packet", "old sequence"))
"""What `tmelink.openvpn.plain` logs as soon as it happens."""

TRACE_SECONDS = 0.5
"""Between two looks where the log shows each refused packet (-vv): then every reason is logged each time."""


HEARD = "something answers, but has not proved that it is the peer"
NOTHING_HEARD = "nothing is heard from there: the other end is not running, or a firewall drops one direction"


class Watched(Protocol):
    """The link or server whose counters are looked at."""

    log: logging.Logger

    def counters(self) -> Mapping[str, Counters]:
        """As for every element."""


WRAPPED = "or its --tls-crypt or --tls-auth key differs: then it does not answer, and its own log says so"


def why(
    sent: Mapping[str, int],
    received: Mapping[str, int],
    heard: int,
    stranger: str | None,
    silence: str = NOTHING_HEARD,
) -> str:
    """Why a peer is not heard, by what has been dropped since, and how many datagrams came.

    `silence` is what to say where none came.
    """
    refused = [(count, reason) for reason, count in received.items() if count > 0 and _is_telling(reason)]
    if refused:
        reason = max(refused)[1]
        if reason == "not the remote" and stranger is not None:
            return f"datagrams come from {stranger}, which is not the remote: {REASONS[reason].remedy}"
        return f"what arrives is refused ({reason}): {explained(reason)}"
    lost = [(count, reason) for reason, count in sent.items() if count > 0 and _is_telling(reason)]
    if lost:
        return explained(max(lost)[1])
    return HEARD if heard else silence


def _is_telling(reason: str) -> bool:
    found = REASONS.get(reason)
    return found is not None and bool(found.remedy)


class WaitingLog:
    """One link's waiting. `stranger` is where datagrams come from that are not the peer's, if any do.

    With `wrapped` control packets are protected by a key, and an end with another one says nothing.
    """

    def __init__(self, owner: Watched, *, wrapped: bool = False) -> None:
        self._silence = f"{NOTHING_HEARD}, {WRAPPED}" if wrapped else NOTHING_HEARD
        self.stranger: str | None = None
        self._owner = owner
        self._where = ""
        self._since = 0.0
        self._pause = FIRST_SECONDS
        self._told = False
        self._reason = ""
        self._before: dict[str, Counters] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def where(self) -> str:
        """What is waited for; empty while nothing is."""
        return self._where

    def begin(self, where: str) -> None:
        """An attempt begins; harmless where the link waits already, unless for somebody else."""
        if where == self._where:
            return
        self._owner.log.info("waiting for %s", where)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._since, self._pause, self._told, self._reason = loop.time(), FIRST_SECONDS, False, ""
            self._before = _copied(self._owner.counters())
            self._timer = loop.call_later(self._pause, self._log_reasons)
        self._where = where

    def over(self) -> None:
        """The peer has been heard."""
        if self._told:
            self._owner.log.info("heard from %s after %.0f s", self._where, self._waited())
        self.close()

    def close(self) -> None:
        """Stop."""
        self._where = ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reason(self) -> str:
        """Why the peer is not heard, by what has happened since that was last told, or the waiting began."""
        now, before = self._owner.counters(), self._before
        grown = {name: now[name].drops - _drops(before, name) for name in now}
        heard = sum(now[name].frames - _frames(before, name) for name in now if "received" in name)
        sent = sum((grown[name] for name in grown if "sent" in name), Counter[str]())
        received = sum((grown[name] for name in grown if "received" in name), Counter[str]())
        found = why(sent, received, heard, self.stranger, self._silence)
        if found != self._silence or not self._reason:
            self._reason = found
        return self._reason

    def _log_reasons(self) -> None:
        self._told = True
        self._owner.log.warning(
            "still waiting for %s after %.0f s: %s", self._where, self._waited(), self.reason()
        )
        self._before = _copied(self._owner.counters())
        self._pause = min(2 * self._pause, LONGEST_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._log_reasons)

    def _waited(self) -> float:
        return asyncio.get_running_loop().time() - self._since


class RefusalLog:
    """Reasons of incoming drops, in words, as their counters grow."""

    def __init__(self, owner: Watched, muted: frozenset[str] = frozenset()) -> None:
        """`muted` are reasons that nobody wants to read."""
        self._owner = owner
        self._muted = muted | TOLD_BY_THE_SESSION
        self._before: dict[str, Counter[str]] = {}
        self._untold = Counter[str]()
        self._told: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to look."""
        seconds = TRACE_SECONDS if self._owner.log.isEnabledFor(TRACE) else LOOK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def close(self) -> None:
        """Stop, after a last look."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._log_reasons()

    def _look(self) -> None:
        self._log_reasons()
        self.open()

    def _log_reasons(self) -> None:
        grown = Counter[str]()
        for name, counters in self._owner.counters().items():
            if "received" in name:
                grown += counters.drops - self._before.get(name, Counter())
                self._before[name] = Counter(counters.drops)
        if not grown:
            return
        self._owner.log.debug(
            "refused: %s", ", ".join(f"{reason}: {count}" for reason, count in grown.items())
        )
        self._untold += grown
        now = asyncio.get_running_loop().time()
        due = [
            reason
            for reason in self._untold
            if reason not in self._muted
            and _is_telling(reason)
            and now >= self._told.get(reason, -AGAIN_SECONDS) + AGAIN_SECONDS
        ]
        for reason in sorted(due, key=lambda each: -self._untold[each])[:MOST_REASONS]:
            self._told[reason] = now
            self._owner.log.warning("%d dropped, %s: %s", self._untold.pop(reason), reason, explained(reason))


def _copied(totals: Mapping[str, Counters]) -> dict[str, Counters]:
    return {name: Counters(each.frames, each.bytes, Counter(each.drops)) for name, each in totals.items()}


def _drops(totals: Mapping[str, Counters], name: str) -> Counter[str]:
    return totals[name].drops if name in totals else Counter()


def _frames(totals: Mapping[str, Counters], name: str) -> int:
    return totals[name].frames if name in totals else 0
