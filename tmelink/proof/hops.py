"""A packet's way as plain values: its hops, what was sent outside at each, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tmelink.proof.sizes import Header, Ping
from tmelink.proof.stations import Station
from tmelink.source import Place

Verdict = Literal["arrives", "leaves", "dropped"]


@dataclass(frozen=True, slots=True)
class Outside:
    """What a link sends outside for the packets that it got.

    `sizes` are IP packets over UDP; over TCP, `stream`, bytes of the stream, which TCP cuts as it likes.
    """

    source: str | None
    destination: str | None
    carrier: str
    port: int | None
    sizes: tuple[int, ...]
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Hop:
    """One place on the way: what happens there and why; `packets` are the IP packets inside afterwards.

    `headers` are what the first of them gets here, `room` is the largest IP packet that goes on whole.
    """

    name: str
    place: Place
    does: str
    packets: tuple[int, ...]
    headers: tuple[Header, ...] = ()
    room: int | None = None
    outside: Outside | None = None
    remark: str = ""


@dataclass(slots=True)
class Proof:
    """The whole way; `reason` says how it ended, `back` the way of the answer where it is another one."""

    source: Station
    destination: str
    ping: Ping
    hops: list[Hop] = field(default_factory=list)
    verdict: Verdict = "dropped"
    reason: str = ""
    back: str = ""
