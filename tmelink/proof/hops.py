"""A packet's way as plain values: its hops, what was sent outside at each, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tmelink.proof.hosts import HostModel
from tmelink.proof.paths import MeasuredPath
from tmelink.proof.sizes import HeaderSize, PingSize
from tmelink.routing.facts import IPAddress
from tmelink.source import Place

Verdict = Literal["arrives", "leaves", "dropped"]


class Journey(NamedTuple):
    """From a station to another one or to an address; `sender` is the own address, None for the station's."""

    source: HostModel
    target: HostModel | IPAddress
    sender: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """What a link sends outside for the packets that it got.

    `sizes` are IP packets over UDP; over TCP, `stream`, bytes of the stream, which TCP cuts as it likes, and
    there is no `path` that packets have to fit.
    """

    source: str | None
    destination: str | None
    carrier: str
    port: int | None
    sizes: tuple[int, ...]
    stream: bool = False
    path: MeasuredPath | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One place on the way: what happens there and why; `packets` are the IP packets inside afterwards.

    `headers` are what the first of them gets here, `room` is the largest IP packet that goes on whole.
    """

    name: str
    place: Place
    does: str
    packets: tuple[int, ...]
    headers: tuple[HeaderSize, ...] = ()
    room: int | None = None
    outside: Outside | None = None
    remark: str = ""


@dataclass(slots=True)
class Proof:
    """The whole way; `reason` says how it ended, `back` the way of the answer where it is another one.

    `sender` is the address that the packet comes from, None where the source has none.
    """

    source: HostModel
    destination: str
    ping: PingSize
    sender: IPAddress | None = None
    hops: list[Hop] = field(default_factory=list)
    verdict: Verdict = "dropped"
    reason: str = ""
    back: str = ""
