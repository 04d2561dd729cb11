"""How long records over UDP are: each end tells the other what is lost, and the sender chooses by that.

A lost datagram costs the whole record, so records are as long as leaves few of them incomplete, and where
that is not worth it frames go in packets of their own. The receiver counts packet ids and sends its counts in
a message that has the form of an OCC message, of a kind that OpenVPN does not know::

    OCC's magic (16) | KIND (1) | 0 (1) | datagrams (4) | packet ids missing (4) | gaps in the ids (4)

each modulo 2^32 since the session began. Knows no key; time is passed in.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from tmelink.openvpn.data.slices import MOST
from tmelink.openvpn.data.window import Arrivals
from tmelink.openvpn.occ import message

KIND: Final = 0x81
"""Where an OCC message has its opcode."""

FEWEST: Final = 6
"""Slices of the shortest record: fewer packets cost no more one by one."""

INCOMPLETE: Final = 1 / 200
"""The part of all records that may be lost."""

DOUBT: Final = 0.5
"""Losses taken for granted: a path has to have carried some thousand datagrams before it is believed."""

HORIZON: Final = 20_000
"""Datagrams that an estimate rests on: a second of 250 Mbit/s."""

PART: Final = HORIZON // 16
"""Of these, what is forgotten together."""

MUCH: Final = 2
"""How many times worse than before a path is where what was before is forgotten at once."""

REPORT_SECONDS: Final = 0.1
"""Between two reports."""

REPORT_DATAGRAMS: Final = 32
"""Datagrams from which on a report is worth one: so reports alone are never answered by reports."""

_COUNTS: Final = struct.Struct(">BIII")
_MODULO: Final = 1 << 32


class Reports:
    """When to tell the peer what has arrived, and how."""

    __slots__ = ("_due_at", "_told", "arrivals")

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self._told = 0
        self._due_at = 0.0

    def due(self, now: float) -> bool:
        """Whether enough has come since the last one, and time has passed."""
        return now >= self._due_at and self.arrivals.datagrams >= self._told + REPORT_DATAGRAMS

    def message(self, now: float) -> bytes:
        """The one that is due."""
        arrivals = self.arrivals
        self._due_at, self._told = now + REPORT_SECONDS, arrivals.datagrams
        counts = (arrivals.datagrams, max(arrivals.missing, 0), arrivals.gaps)
        return message(KIND, _COUNTS.pack(0, *(count % _MODULO for count in counts)))


class RecordLength:
    """Chooses by the peer's reports; `most` is how many slices a record may have, 0 for no records."""

    __slots__ = ("_counts", "_datagrams", "_events", "_parts", "most")

    def __init__(self) -> None:
        self.most = 0
        self._counts = (0, 0, 0)
        self._parts: deque[tuple[int, int]] = deque()
        """Datagrams and losses of the latest reports, about HORIZON of the former; and their sums."""
        self._datagrams = self._events = 0

    def reported(self, body: bytes) -> None:
        """A message of the peer's, `body` being what follows the magic and the kind."""
        if len(body) != _COUNTS.size:
            return
        counts: tuple[int, int, int] = _COUNTS.unpack(body)[1:]
        arrived, missing, gaps = (
            (new - old + _MODULO // 2) % _MODULO - _MODULO // 2
            for new, old in zip(counts, self._counts, strict=True)
        )
        if arrived <= 0:
            return  # overtaken by a later one
        self._counts = counts
        # Datagrams lost together, such as a run that found a buffer full, are one event; ids that were only
        # overtaken are none.
        events = min(max(missing, 0), max(gaps, 0))
        sent = arrived + events
        if events >= MUCH and events * self._datagrams > MUCH * sent * (DOUBT + self._events):
            self._parts.clear()  # the path is much worse now: what it was tells nothing
            self._datagrams = self._events = 0
        self._add(sent, events)
        most = int(INCOMPLETE * self._datagrams / (DOUBT + self._events))
        self.most = 0 if most < FEWEST else min(most, MOST)

    def _add(self, sent: int, events: int) -> None:
        parts = self._parts
        self._datagrams += sent
        self._events += events
        if parts and parts[-1][0] < PART:
            last = parts.pop()
            sent, events = sent + last[0], events + last[1]
        parts.append((sent, events))
        while self._datagrams - parts[0][0] >= HORIZON:
            sent, events = parts.popleft()
            self._datagrams -= sent
            self._events -= events
