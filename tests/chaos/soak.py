"""Whether anything grows with the number of sessions that came and went.

    python -m tests.chaos.soak [--sessions 100000] [--joins 3000] [--only KIND]

In the protocol core, without sockets, a server takes clients one after the other, each of which shakes
hands, sends a frame and is replaced; two ends of a link do so too, and a switch learns a new station each
time. Through the program, a server on the loopback interface takes links that are opened and closed.
Printed is the slope of this process's memory (bytes a session, by least squares after the first third), and
how many descriptors, tasks and objects of Python there are more at the end than after the first third.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import tmelink
from tests.attacks.places import Place, free_port, link, server, until
from tests.support.grouped import tls
from tests.support.hub import CLIENTS, FRAME, SERVER, Hub
from tests.support.machines import Machine
from tests.support.wire import Wire, wall
from tmelink.element import connect
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.openvpn.server import Server
from tmelink.frame import Burst
from tmelink.openvpn.session import Up
from tmelink.openvpn.tls.session import TlsSession

POINTS = 60
"""How often memory is measured."""

SLOPE = 64.0
"""Bytes a session that are taken for none: an allocator's pages come and go."""

SLACK = 4 << 20
"""Bytes by which a short run may grow all the same."""


class Soak:
    """The measurements of one kind of session."""

    def __init__(self, name: str, sessions: int) -> None:
        self.name = name
        self.sessions = sessions
        self._every = max(1, sessions // POINTS)
        self._memory: list[tuple[int, int]] = []
        self._counts: list[tuple[int, int, int]] = []

    def done(self, number: int) -> None:
        """One session more is over."""
        if number % self._every == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self._memory.append((number, pages * os.sysconf("SC_PAGE_SIZE")))
            try:
                tasks = len(asyncio.all_tasks())
            except RuntimeError:
                tasks = 0
            self._counts.append((len(os.listdir("/proc/self/fd")), tasks, len(gc.get_objects())))

    @property
    def slope(self) -> float:
        """Bytes a session, by least squares."""
        points = self._memory[len(self._memory) // 3 :]
        x0 = sum(x for x, _ in points) / len(points)
        y0 = sum(y for _, y in points) / len(points)
        return sum((x - x0) * (y - y0) for x, y in points) / max(1, sum((x - x0) ** 2 for x, _ in points))

    @property
    def growth(self) -> tuple[int, ...]:
        """Descriptors, tasks and objects more than after the first third."""
        before = self._counts[len(self._counts) // 3]
        return tuple(b - a for a, b in zip(before, self._counts[-1], strict=True))

    @property
    def flat(self) -> bool:
        """Whether nothing grows with sessions."""
        descriptors, tasks, objects = self.growth
        grown = self.slope * self.sessions * 2 / 3
        return (
            (self.slope < SLOPE or grown < SLACK)
            and descriptors <= 0
            and tasks <= 0
            and objects < self.sessions / 4 + 1000
        )

    def row(self) -> str:
        """For the table."""
        descriptors, tasks, objects = self.growth
        memory = self._memory[-1][1] / (1 << 20)
        return (
            f"| {self.name} | {self.sessions:,} | {memory:.0f} | {self.slope:+.1f} "
            f"| {descriptors:+d} | {tasks:+d} | {objects:+d} |"
        )


def servers_clients(count: int) -> Soak:
    """Clients of one server in memory, each of which takes the place of the one before."""
    soak = Soak("a server's clients, in memory", count)
    hub = Hub()
    for number in range(count):
        address = ("192.0.2.1", 1024 + number % 60000)
        end = hub.client(address, number % len(CLIENTS))
        hub.run(hub.now + 0.5)
        assert end.of(Up), end.events
        hub.send(address, FRAME)
        hub.run(hub.now + 0.1)
        assert len(hub.frames) == 1
        hub.frames.clear()
        hub.gone.clear()
        hub.ends = {address: end}
        soak.done(number)
    return soak


def links_sessions(count: int) -> Soak:
    """A pair of ends that restarts each time."""
    soak = Soak("a link's sessions, in memory", count)
    for number in range(count):
        wire = Wire(
            TlsSession(tls(server=False), CLIENTS[0], wall), TlsSession(tls(server=True), SERVER, wall)
        )
        wire.begin()
        wire.run(1)
        wire.send(wire.client, FRAME)
        wire.run(2)
        assert wire.server.frames == [FRAME]
        soak.done(number)
    return soak


async def stations(count: int) -> Soak:
    """Stations that a switch learns."""
    soak = Soak("a switch's stations", count)
    switch = Switch("switch", Switch.Arguments())
    ends = [Machine(), Machine()]
    ports = [end.port() for end in ends]
    for port in ports:
        connect(port, switch.port())
    await switch.open()
    for number in range(count):
        source = b"\x02\0" + number.to_bytes(4, "big")
        ports[0].send(Burst([FRAME[:6] + source + FRAME[12:]]))
        for end in ends:
            end.got.clear()
            end.bursts.clear()
        soak.done(number)
    await switch.close()
    return soak


def _is_up(lab: tmelink.Lab) -> bool:
    return bool(lab["/link"].up)


async def joins(count: int, folder: Path) -> Soak:
    """Links that are opened and closed beside a running server."""
    soak = Soak("joins through the program", count)
    place, port = Place(folder), free_port()
    here = server(f"--local 127.0.0.1 --port {port} {place.identity('server', 'server')} --keepalive 5 30")
    there = link(
        "b",
        f"--client --nobind --remote 127.0.0.1 {port} --remote-cert-tls server --explicit-exit-notify "
        + place.identity("client", "client"),
        "10.8.0.2",
    )
    machine = tmelink.load(there)
    async with tmelink.load(here).run() as lab:
        own = next(element for element in lab.values() if isinstance(element, Server))
        for number in range(count):
            async with machine.run() as joined:
                await until(partial(_is_up, joined))
            await until(lambda: not own.details().clients)
            soak.done(number)
    return soak


def _joins(count: int) -> Soak:
    with tempfile.TemporaryDirectory(prefix="tm-") as folder:
        return asyncio.run(joins(count, Path(folder)))


def run(sessions: int, count: int, only: str) -> Iterator[Soak]:
    """One kind after the other: those whose name has a word in it."""
    kinds: dict[str, Callable[[], Soak]] = {
        "server": lambda: servers_clients(sessions),
        "link": lambda: links_sessions(sessions),
        "switch": lambda: asyncio.run(stations(sessions)),
        "joins": lambda: _joins(count),
    }
    for name, kind in kinds.items():
        if only in name:
            yield kind()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak")
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--joins", type=int, default=3000)
    parser.add_argument("--only", default="", metavar="server|link|switch|joins")
    options = parser.parse_args()
    print("| sessions | number | MiB | bytes a session | descriptors | tasks | objects |")
    print("|---|---|---|---|---|---|---|")
    growing = []
    for soak in run(options.sessions, options.joins, options.only):
        print(soak.row(), flush=True)
        if not soak.flat:
            growing.append(soak.name)
    print(f"\ngrows: {', '.join(growing) or 'nothing'}")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
