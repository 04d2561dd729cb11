"""A packet's path as plain values: its hops, the underlay packets at each, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tmelink.proof.hosts import HostModel
from tmelink.proof.paths import MeasuredPath
from tmelink.routing.facts import IPAddress
from tmelink.sizes import HeaderSize, PingSize
from tmelink.source import Place

Verdict = Literal["arrives", "leaves", "dropped"]


class Journey(NamedTuple):
    """From one host to another or to an address; `sender` is a source address other than the host's first."""

    source: HostModel
    target: HostModel | IPAddress
    sender: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class UnderlayPackets:
    """What a link sends on the underlay network for the packets that it got.

    `sizes` are IP packets. Over TCP (`stream`) they are bytes of the stream, which TCP segments as it likes;
    then no packet has to fit a `path`.
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
    """One hop: what happens there and why. `packets` are the sizes of the inner IP packets afterwards.

    `headers` are those that the first packet gets here. `room` is the largest IP packet that goes on
    unfragmented.
    """

    name: str
    place: Place
    does: str
    packets: tuple[int, ...]
    headers: tuple[HeaderSize, ...] = ()
    room: int | None = None
    underlay: UnderlayPackets | None = None
    remark: str = ""


@dataclass(slots=True)
class Proof:
    """The whole path. `reason` says how it ended, `back` which path the answer takes where that differs.

    `sender` is the packet's source address, None if the source has none.
    """

    source: HostModel
    destination: str
    ping: PingSize
    sender: IPAddress | None = None
    hops: list[Hop] = field(default_factory=list)
    verdict: Verdict = "dropped"
    reason: str = ""
    back: str = ""
