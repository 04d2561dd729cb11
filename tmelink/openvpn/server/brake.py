"""How soon a password may be tried again: later with each wrong one, from a source and for a name.

Slows guessing down to a try a minute from each source. A name alone is slowed down by little, or whoever
knows it could keep its owner out; a source that was right about it is not held back for what others say. The
sources and names that are kept are those of the last failures, and bounded. Pure: the time is passed in.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

FREE: Final = 3
"""Wrong passwords that cost nothing: people mistype."""

FIRST: Final = 1.0
"""Seconds after the first that does; each further one doubles them."""

LONGEST_SOURCE: Final = 60.0
LONGEST_NAME: Final = 5.0

FORGOTTEN: Final = 900.0
"""Seconds without a try after which all is forgiven."""

REMEMBERED: Final = 4096
"""Sources and names at a time, some 200 bytes each."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    ready: float = 0.0
    last: float = 0.0


class Brake:
    """The failures of one server's clients."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._right: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures) + len(self._right)

    def wait(self, source: str, name: str, now: float) -> float:
        """Seconds until a try is to be judged."""
        keys = [("source", source)]
        if (source, name) not in self._right:
            keys.append(("name", name))
        known = [self._failures[key] for key in keys if key in self._failures]
        return max([0.0, *(failures.ready - now for failures in known if now - failures.last < FORGOTTEN)])

    def begin(self, source: str, name: str, now: float) -> None:
        """A try is to be judged: it counts as wrong until it is right, so that many at once gain nothing."""
        for key, longest in ((("source", source), LONGEST_SOURCE), (("name", name), LONGEST_NAME)):
            failures = self._failures.pop(key, None)
            if failures is None or now - failures.last >= FORGOTTEN:
                failures = _Failures()
            failures.count += 1
            failures.last = now
            if failures.count > FREE:
                doublings = min(failures.count - FREE - 1, 16)
                failures.ready = max(failures.ready, now) + min(FIRST * 2.0**doublings, longest)
            self._failures[key] = failures
            if len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)

    def right(self, source: str, name: str) -> None:
        """The last try was right."""
        self._failures.pop(("source", source), None)
        self._failures.pop(("name", name), None)
        self._right.pop((source, name), None)
        self._right[source, name] = None
        if len(self._right) > REMEMBERED:
            self._right.popitem(last=False)
