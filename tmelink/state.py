"""The state and details of elements and labs, as values: State, Details, Description, Event. No behaviour.

`status`, `events`, metrics and any other reader use these same values; `tmelink.control.data` writes them as
JSON. Times are seconds since the epoch, as `time.time()` gives them, since a reader may be another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Condition = Literal["new", "opening", "up", "down", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class State:
    """How an element is, since when, and why, in words; the reason may be empty."""

    condition: Condition
    since: float
    reason: str = ""

    @property
    def up(self) -> bool:
        """Whether what the element leads to can be reached."""
        return self.condition == "up"


@dataclass(frozen=True, slots=True)
class Details:
    """The details of one kind of element; each kind has a subclass next to its element.

    Fields hold plain values: numbers, texts, `ipaddress` addresses, MAC addresses as 6 bytes, tuples and
    further dataclasses of these. A value that is not known is None.
    """

    @property
    def summary(self) -> str:
        """The essential details in a few words, for a table of many elements."""
        return ""


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that an element reports; `details` is None if it has only its state."""

    state: State
    details: Details | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an element, or to the lab where `element` is empty.

    `kind` is a short fixed word, such as "up", "down", "failed", "client in" or "applied"; `detail` is for a
    person to read, and `data` holds the same as values.
    """

    time: float
    kind: str
    element: str = ""
    detail: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
