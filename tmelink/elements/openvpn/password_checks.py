"""Passwords judged one after another, beside the traffic, and never on more than half a core.

A hash that is slow for whoever guesses is slow here too: without a bound, guesses alone would keep a server
busy. Which password is right is `tmelink.elements.openvpn.authentication`'s to know.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from tmelink.elements.openvpn.authentication import Refused
from tmelink.openvpn.server.brake import Brake

HELD_SECONDS = 5.0
"""How long a client waits for its answer; one that would have to wait longer must try again."""

WAITING = 64
"""Passwords that may wait to be judged: a few seconds' worth."""

WAITING_EACH = 4
"""Of them from one source, so that it does not take all places."""


class PasswordChecks:
    """The passwords of one server's clients."""

    def __init__(self) -> None:
        self._brake = Brake()
        self._turn = asyncio.Lock()
        self._waiting: Counter[str] = Counter()

    async def judge(self, source: str, name: str, fits: Callable[[], bool]) -> bool:
        """Whether a password fits, as `fits` finds out in a thread; raises `Refused` for one too many."""
        loop = asyncio.get_running_loop()
        wait = self._brake.wait(source, name, loop.time())
        if wait > HELD_SECONDS or self._waiting[source] >= WAITING_EACH or self._waiting.total() >= WAITING:
            raise Refused(f"TEMP[backoff {max(1, round(wait))}]:too many tries to log in")
        self._brake.begin(source, name, loop.time())
        self._waiting[source] += 1
        try:
            await asyncio.sleep(wait)
            right = await self._in_turn(fits)
        finally:
            self._waiting[source] -= 1
            if not self._waiting[source]:
                del self._waiting[source]
        if right:
            self._brake.right(source, name)
        return right

    async def _in_turn(self, fits: Callable[[], bool]) -> bool:
        loop = asyncio.get_running_loop()
        await self._turn.acquire()
        begun = loop.time()
        try:
            return await asyncio.to_thread(fits)
        finally:
            # As long a rest as the work took; nobody waits for it but the next one.
            loop.call_later(loop.time() - begun, self._turn.release)
