"""What a link measures over itself: its round trip, and the longest payload that arrives at the peer.

Asks by OCC messages (`tmelink.openvpn.occ`), which OpenVPN's ends answer too, and only where somebody wants
to know: a link that nobody asks sends nothing of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tmelink.openvpn.session import Measured

ANSWER_SECONDS = 1.1
"""For an answer: an end without a key gives one a second at most."""

TRIES = 3
"""Questions before an answer, or a payload that does not arrive, is taken for lost for good."""

RUNGS = 16
"""Lengths that are tried together: of these the longest that arrives is known by one answer."""

EXACT = 8
"""Bytes within which the longest payload is found."""

SHORTEST = 500
"""Bytes of the shortest payload that is tried: what IPv4 guarantees to pass (RFC 791), less headers."""


class PathProbe:
    """The questions of one link; `send` asks the peer what arrives of payloads of some lengths.

    `round_trip` is the last that was measured, in seconds.
    """

    def __init__(self, send: Callable[[Sequence[int]], None]) -> None:
        self.round_trip: float | None = None
        self._send = send
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Future[Measured] | None = None

    async def ask(self, payloads: Sequence[int] = ()) -> Measured | None:
        """The peer's answer; None if none comes."""
        async with self._turn:
            self._waiting = asyncio.get_running_loop().create_future()
            self._send(payloads)
            try:
                return await asyncio.wait_for(self._waiting, ANSWER_SECONDS)
            except TimeoutError:
                return None
            finally:
                self._waiting = None

    def answered(self, answer: Measured) -> None:
        """The peer has answered."""
        if answer.round_trip is not None:
            self.round_trip = answer.round_trip
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def forget(self) -> None:
        """The path is another one from now on."""
        self.round_trip = None

    async def longest(self, whole: int) -> int | None:
        """Bytes of the longest payload up to `whole` that arrives; None if the peer does not answer."""
        arrived = None
        for _ in range(TRIES):
            answer = await self.ask([whole])
            if answer is not None:
                arrived = answer.arrived
                if arrived >= whole:
                    return whole
        if arrived is None:
            return None
        fits, beyond = 0, whole
        while beyond - fits > EXACT:
            least = max(fits, min(SHORTEST, whole // 2))
            step = max(1, (beyond - least) // RUNGS)
            rungs = range(least + step, beyond, step) if fits else range(least, beyond, step)
            for _ in range(TRIES):
                answer = await self.ask(rungs)
                arrived = arrived if answer is None else max(arrived, answer.arrived)
            passed = [rung for rung in rungs if rung <= arrived]
            if not passed:
                return fits
            fits = passed[-1]
            beyond = min((rung for rung in rungs if rung > fits), default=beyond)
        return fits
