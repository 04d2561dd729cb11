"""Whether packets of an old sequence come from a peer that lives, or from somebody who has recorded them.

Under a static key, packets count up under the time at which their sender started. One that starts again after
its clock was set back is refused, since recorded packets look the same (OpenVPN 2.6 refuses it for as long as
the receiver runs). So it is asked something that no recording answers: to send a load message (OCC, as in
--mtu-test) of a size drawn at random, several times in turn. Any OpenVPN answers that. Only authentic answers
in that very sequence count, each later than the one before.

Guessing all sizes succeeds once in 2**`PROOF_BITS` times. Somebody who has recorded answers to earlier
questions needs all sizes among them, of that very sequence and in the right order. To collect them is slow:
a run that fails ends at its first question, the pauses between such runs double up to a day, and a sequence
that this receiver has taken before is not asked about at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import ceil, log2
from typing import Final

from tmelink.frame import Frame
from tmelink.openvpn.data.replay import ReplayWindow
from tmelink.openvpn.occ import MAGIC, MTU_LOAD, MTU_LOAD_REQUEST, message
from tmelink.openvpn.plain.envelope import Envelope
from tmelink.openvpn.plain.mtu import fragment_size, message_overhead, tun_mtu
from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.session import Notice

PROOF_BITS: Final = 128
"""What guessing all sizes takes."""

MOST_SIZES: Final = 1024
"""Different sizes of an answer; the largest still passes a path of 1280 bytes whole."""

TRY_SECONDS: Final = 1.0
"""Seconds before an unanswered question is repeated."""
TRIES: Final = 5
"""Times that one question is asked before the run is over."""

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 86_400.0
"""Seconds between a run that failed and the next one; each pause is twice as long as the one before."""

ASKED: Final = (
    "packets arrive that were sealed under an earlier clock: either the peer restarted with its clock set "
    "back, or somebody replays packets. tmelink asks the peer for proof, and drops them until it answers"
)
PROVEN: Final = (
    "the peer has proved that it is there: its packets are accepted again, under its earlier clock"
)

_LOAD: Final = MAGIC + bytes((MTU_LOAD,))


class SequenceProof:
    """The questions to whoever sends packets of an old sequence, and what comes back.

    `outdated` takes the packets; then `messages` are to be sent, and `notices` are to be told. `random(n)`
    gives n unpredictable bytes.
    """

    def __init__(self, settings: Settings, window: ReplayWindow, random: Callable[[int], bytes]) -> None:
        self._window = window
        self._random = random
        self._overhead = message_overhead(settings)
        self._sizes = min(MOST_SIZES, (fragment_size(settings) or tun_mtu(settings)) - len(_LOAD))
        self._rounds = ceil(PROOF_BITS / log2(self._sizes))
        self._opener = Envelope(replace(settings, key=None), tun_mtu(settings), Counter(), random, 0)
        self._muted = settings.replay.mute_warnings
        self._messages: list[bytes] = []
        self._notices: list[Notice] = []
        self._time: int | None = None
        self._last = 0
        self._answered = 0
        self._size = 0
        self._tries = 0
        self._next_try = 0.0
        self._pause = FIRST_PAUSE
        self._rests_until = 0.0

    def outdated(self, packet_id: int, time: int, payload: Frame, now: float) -> None:
        """An authentic packet of an old sequence."""
        if self._time is None:
            if now >= self._rests_until and not self._window.was_taken(time):
                self._warn(ASKED)
                self._time, self._last, self._answered = time, packet_id, 0
                self._ask(now)
        elif time == self._time and packet_id > self._last and self._is_answer(payload, now):
            self._last = packet_id
            self._answered += 1
            if self._answered < self._rounds:
                self._ask(now)
            else:
                self._window.adopt(time, packet_id)
                self._notices.append(Notice("info", PROVEN))
                self._time, self._pause = None, FIRST_PAUSE

    def take(self, now: float) -> tuple[list[bytes], list[Notice]]:
        """The messages to send now, and what there is to tell."""
        if self._time is not None and now >= self._next_try:
            self._try_again(now)
        messages, notices = self._messages, self._notices
        self._messages, self._notices = [], []
        return messages, notices

    def deadline(self) -> float | None:
        """When `take` has something to send."""
        return None if self._time is None else self._next_try

    def _is_answer(self, payload: Frame, now: float) -> bool:
        opened, _ = self._opener.open([payload], now)
        return bool(opened) and len(opened[0]) == self._size and bytes(opened[0][: len(_LOAD)]) == _LOAD

    def _ask(self, now: float) -> None:
        self._size = len(_LOAD) + int.from_bytes(self._random(8)) % self._sizes
        self._tries = 0
        self._try_again(now)

    def _try_again(self, now: float) -> None:
        if self._tries == TRIES:
            self._warn(
                f"nobody has answered: packets under the earlier clock remain refused for {self._pause:g} s"
            )
            self._time = None
            self._rests_until = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return
        self._tries += 1
        self._next_try = now + TRY_SECONDS
        self._messages.append(message(MTU_LOAD_REQUEST, (self._size + self._overhead).to_bytes(2)))

    def _warn(self, text: str) -> None:
        if not self._muted:
            self._notices.append(Notice("warning", text))
