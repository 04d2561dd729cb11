"""A program: a TAP and a link like `tmelink run`'s, with everything in between in VLAN 7.

    python -m tests.e2e.tagged NUMBER OPTION…

Stands in for a host's own VLAN interface, which not every kernel has. Super-frames stay super-frames: their
labels move with the tag.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from tests.support.machines import opened
from tmelink.element import Element, Port, connect
from tmelink.elements.host_interfaces.tap import Tap
from tmelink.elements.openvpn.link import Link
from tmelink.frame import Burst, Gso
from tmelink.openvpn.options import parse as openvpn
from tmelink.source import Place, Source, Word

TAG = bytes.fromhex("81000007")
BEFORE = 12
"""The tag stands behind both addresses."""


class Tagger(Element):
    """Puts the tag into what comes from the first connection, takes it out of what comes from the second."""

    capacity = 2

    def __init__(self) -> None:
        super().__init__("tagger", None)
        self.untagged = 0

    def make_port(self) -> Port:
        return Port(self, offload=True)

    def longest(self, port: Port) -> int | None:
        other = self.ports[1].peer
        return None if other is None else other.element.longest(other)

    def receive(self, port: Port, burst: Burst) -> None:
        labels = burst.gso or [None] * len(burst.frames)
        if port is self.ports[0]:
            frames = [b"".join((frame[:BEFORE], TAG, frame[BEFORE:])) for frame in burst.frames]
            self.ports[1].send(Burst(list(frames), [_moved(label, len(TAG)) for label in labels]))
            return
        kept = [at for at, frame in enumerate(burst.frames) if frame[BEFORE : BEFORE + 4] == TAG]
        self.untagged += len(burst.frames) - len(kept)
        stripped = [b"".join((burst.frames[at][:BEFORE], burst.frames[at][BEFORE + 4 :])) for at in kept]
        self.ports[0].send(Burst(list(stripped), [_moved(labels[at], -len(TAG)) for at in kept]))


def _moved(label: Gso | None, by: int) -> Gso | None:
    if label is None:
        return None
    start = label.checksum_start + by if label.checksum_offset else 0
    return label._replace(header=label.header + by if label.header else 0, checksum_start=start)


async def main(number: str, *options: str) -> None:
    place = Place(Source("tagged", ""), 1, 1)
    words = [Word(word, place) for word in options]
    parsed = openvpn.parse(words, place, print, read_file=lambda path: Path(path).read_bytes())
    assert parsed is not None
    tap = Tap(
        "tap0",
        Tap.Arguments(
            interface="tap0",
            inet=IPv4Interface(f"10.7.0.{number}/24"),
            inet6=(IPv6Interface(f"fd07::{number}/64"),),
        ),
    )
    tagger, link = Tagger(), Link("link0", parsed)
    connect(tap.port(), tagger.port())
    connect(link.port(), tagger.port())
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    async with opened(tap, link):
        print("running:", flush=True)
        await ended.wait()
        for way, counters in (
            ("tap0 -> link0", tagger.ports[1].sent),
            ("link0 -> tap0", tagger.ports[0].sent),
        ):
            drops = " ".join(counters.drops)
            print(f"{way} {counters.frames} {counters.bytes} {drops}", flush=True)
        assert not tagger.untagged


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
