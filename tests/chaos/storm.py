"""Links of every kind under what goes wrong in life, in a seeded order.

    python -m tests.chaos.storm [--seconds 3600] [--within 3] [--seed 1]

Each link has one end here and one in a process of its own; over UDP a relay between them plays the network.
Every few seconds something happens to each: the process is killed and starts again, or is stopped for a
while; the network is cut, loses, damages or repeats packets, or gives the client another address; strangers
send resets, junk and copies, or connect; no name server answers; no file can be written; the clock jumps.
After each it is measured how long the link takes to be back.

Held to: every link is back within three seconds, no frame arrives that the other end has not sent, none
twice, memory stays flat, and nothing is left on the host. Needs no privilege.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from random import Random

import tmelink
from tests.attacks import strangers
from tests.attacks.places import Place, free_port, link, server
from tests.chaos import faults
from tests.chaos.faults import Clock, Disk, Names
from tests.chaos.killed import Killed
from tests.chaos.record import Record, main
from tests.chaos.recovery import answered
from tests.chaos.relay import Relay
from tmelink.element import Port
from tmelink.elements.builtin.host import Host
from tmelink.frame import Burst
from tmelink.openvpn.tls import wrap

ANSWER = 0.5
"""Seconds that a ping is waited for while nothing happens."""

REST = 0.5
"""Seconds in which nothing happens to a link that is back."""

GROWTH = 16 << 20
"""Bytes by which this process may grow after the first third, with Python's own fluctuations."""

JUMP = 600.0
"""Seconds by which the clock jumps."""


@dataclass
class Link:
    """One link: what runs here and there, how it is hurt, and how long it took to be back."""

    name: str
    here: str
    there: str
    pinged: str
    port: int
    stream: bool
    sealed: bool
    moves: bool
    relay: Relay | None


class Watch:
    """Every frame that comes to a host is one that the other end has sent: once, and from its address."""

    def __init__(self, host: Host, *, once: bool) -> None:
        self.wrong: list[str] = []
        self._once = once
        self._mac: bytes | None = None
        self._answers: set[bytes] = set()
        self._take = host.receive
        host.receive = self._receive  # type: ignore[method-assign]

    def _receive(self, port: Port, burst: Burst) -> None:
        for frame in burst.frames:
            self._look(bytes(frame))
        self._take(port, burst)

    def _look(self, frame: bytes) -> None:
        self._mac = self._mac or frame[6:12]
        if frame[6:12] != self._mac:
            self.wrong.append(f"a frame from a stranger: {frame[:60].hex()}")
        if frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[34] == 0:
            answer = frame[38:42]  # identifier and sequence number
            if self._once and answer in self._answers:
                self.wrong.append(f"an answer came twice: {answer.hex()}")
            self._answers.add(answer)
            if len(self._answers) > 1000:
                self._answers.clear()


def links(place: Place, chance: Random) -> list[Link]:
    """A link of each kind, with the killed end on either side."""
    key = f"--secret {place.static_key()} --cipher AES-256-CBC"
    crypt = f"--tls-crypt {place.directory}/static.key"
    ours, theirs = place.identity("server", "server"), place.identity("client", "client")
    theirs += " --remote-cert-tls server"
    found = []

    def add(name: str, ends: tuple[str, str], port: int, relay: Relay | None, killed: str) -> None:
        first, second = ends
        here, there = (second, first) if killed == "server" else (first, second)
        sealed = "bare" not in name
        moves = sealed and relay is not None and "static" not in name
        pinged = "10.8.0.1" if killed == "server" else "10.8.0.2"
        found.append(
            Link(f"{name}, {killed} killed", here, there, pinged, port, relay is None, sealed, moves, relay)
        )

    for name, more, killed in (("UDP bare", "", "server"), ("UDP static key", key, "client")):
        one, other = free_port(), free_port()
        relay = Relay(one, chance, client=other)
        # A static key tells what was recorded before a kill only by the file.
        kept = [f" --replay-persist {place.directory}/{end}.replay" if more else "" for end in "ab"]
        here = f"--local 127.0.0.1 --lport {one} --remote 127.0.0.1 {relay.far} {more}{kept[0]}"
        there = f"--local 127.0.0.1 --lport {other} --remote 127.0.0.1 {relay.near} {more}{kept[1]}"
        ends = link("a", here, "10.8.0.1"), link("b", there, "10.8.0.2")
        add(name, ends, one, relay, killed)
    for killed in ("server", "client"):
        port = free_port()
        relay = Relay(port, chance)
        ends = (
            link(
                "a",
                f"--tls-server --float --local 127.0.0.1 --lport {port} {ours} --keepalive 2 30",
                "10.8.0.1",
            ),
            link(
                "b",
                f"--tls-client --nobind --remote 127.0.0.1 {relay.near} {theirs} --keepalive 2 30",
                "10.8.0.2",
            ),
        )
        add("UDP TLS, two ends", ends, port, relay, killed)
        port = free_port()
        relay = Relay(port, chance)
        ends = (
            server(f"--local 127.0.0.1 --port {port} {ours} {crypt} --keepalive 2 30"),
            link(
                "b",
                f"--client --proto udp4 --nobind --remote localhost {relay.near} {theirs} {crypt}",
                "10.8.0.2",
            ),
        )
        add("UDP TLS, server, tls-crypt", ends, port, relay, killed)
        port = free_port(socket.SOCK_STREAM)
        ends = (
            server(f"--proto tcp-server --local 127.0.0.1 --port {port} {ours} --keepalive 2 30"),
            link(
                "b",
                f"--client --proto tcp4-client --nobind --remote localhost {port} {theirs}",
                "10.8.0.2",
            ),
        )
        add("TCP TLS, server", ends, port, None, killed)
    port = free_port()
    relay = Relay(port, chance)
    v2 = wrap.generate_server_key()
    place.file("v2-server.key", v2)
    place.file("v2-client.key", wrap.generate_client_key(v2, time.time()))
    ours += f" --tls-crypt-v2 {place.directory}/v2-server.key"
    theirs += f" --tls-crypt-v2 {place.directory}/v2-client.key"
    ends = (
        server(f"--local 127.0.0.1 --port {port} {ours} --keepalive 2 30"),
        link("b", f"--client --nobind --remote 127.0.0.1 {relay.near} {theirs}", "10.8.0.2"),
    )
    add("UDP TLS, server, tls-crypt-v2", ends, port, relay, "server")
    port = free_port(socket.SOCK_STREAM)
    ends = (
        link("a", f"--proto tcp-server --local 127.0.0.1 --lport {port} {key}", "10.8.0.1"),
        link("b", f"--proto tcp-client --nobind --remote 127.0.0.1 {port} {key}", "10.8.0.2"),
    )
    add("TCP static key", ends, port, None, "client")
    return found


class Storm:
    """What happens to one link; each method is an event, which is over when it returns."""

    def __init__(self, link: Link, process: Killed, chance: Random) -> None:
        self._link = link
        self._process = process
        self._chance = chance

    def events(self) -> list[Callable[[], Awaitable[None]]]:
        """Those that this kind of link is to stand."""
        found: list[Callable[[], Awaitable[None]]] = [
            self.kill,
            self.stop,
            self.strangers,
            self.disk,
            self.clock,
        ]
        if "localhost" in self._link.here:
            found.append(self.names)
        if self._link.relay is not None:
            found += [self.cut, self.loss]
            if self._link.sealed:
                found += [self.damage, self.repeat]
            if self._link.moves:
                found.append(self.move)
        return found

    def _while(self) -> float:
        return self._chance.uniform(0.3, 2)

    @property
    def _relay(self) -> Relay:
        assert self._link.relay is not None
        return self._link.relay

    async def kill(self) -> None:
        """SIGKILL, and another start in another second, which tells packets under a static key apart."""
        await asyncio.sleep(1.1)
        await self._process.kill()
        await self._process.start()

    async def stop(self) -> None:
        """SIGSTOP, and SIGCONT."""
        self._process.stop()
        await asyncio.sleep(self._while())
        self._process.go_on()

    async def cut(self) -> None:
        """Nothing passes."""
        self._relay.cut = True
        await asyncio.sleep(self._while())
        self._relay.cut = False

    async def loss(self) -> None:
        """A third is lost."""
        self._relay.loss = 0.3
        await asyncio.sleep(self._while())
        self._relay.loss = 0

    async def damage(self) -> None:
        """A third is changed in one bit."""
        self._relay.damage = 0.3
        await asyncio.sleep(self._while())
        self._relay.damage = 0

    async def move(self) -> None:
        """The client comes from another port."""
        self._relay.move()

    async def repeat(self) -> None:
        """What was seen comes again."""
        self._relay.repeat()

    async def strangers(self) -> None:
        """Resets, junk and copies from elsewhere, or connections that say them."""
        said = [
            strangers.reset(self._chance.randbytes(8)),
            strangers.server_reset(self._chance.randbytes(8)),
            strangers.control(self._chance.randbytes(8), 1, strangers.client_hello()),
            strangers.data(self._chance.randrange(3), self._chance.randbytes(80)),
            self._chance.randbytes(self._chance.randrange(1, 200)),
        ]
        if self._link.stream:
            with strangers.Callers(self._link.port) as callers:
                try:
                    for data in said:
                        await callers.call(3, strangers.framed(data))
                except OSError:
                    pass  # the server is being started
            return
        if self._link.relay is not None:
            said += list(self._link.relay.seen["to server"])[-20:]
        with strangers.caller() as sock:
            for data in said * 5:
                sock.sendto(data, ("127.0.0.1", self._link.port))

    async def names(self) -> None:
        """The other end starts again while no name server answers, or says at once that it cannot."""
        with Names.broken(hang=self._chance.random() < 0.5):
            await self.kill()
            await asyncio.sleep(self._while())

    async def disk(self) -> None:
        """No file can be written."""
        Disk.fill(1)
        await asyncio.sleep(1.2)
        Disk.fill(-1)

    async def clock(self) -> None:
        """The time of day jumps forth, and back."""
        Clock.offset = JUMP
        await asyncio.sleep(self._while())
        Clock.offset = 0.0


async def endure(
    link: Link,
    seconds: float,
    promised: float,
    chance: Random,
    record: Record,
    status: Path,
    all_up: asyncio.Barrier,
) -> None:
    """Hurt one link for so long, once all are up; it is to be back within `promised` seconds each time."""
    process = Killed(link.there)
    await process.start()
    options = f" --status {status} 1\n"
    try:
        async with tmelink.load(link.here.rstrip("\n") + options).run() as lab:
            host = next(element for element in lab.values() if isinstance(element, Host))
            watch = Watch(host, once=link.sealed)
            storm = Storm(link, process, chance)
            await answered(host, link.pinged)
            await all_up.wait()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                event = chance.choice(storm.events())
                await event()
                over = time.monotonic()
                back = await answered(host, link.pinged)
                record.back(link.name, event.__name__, back - over, promised)
                await host.ping(ip_address(link.pinged), count=5, interval=REST / 5, timeout=ANSWER)
            record.wrong += [f"{link.name}: {text}" for text in watch.wrong]
    finally:
        await process.kill()


def resident() -> int:
    """Bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def journals() -> set[Path]:
    """The journals of what is to be undone, of every process."""
    return {*Path("/run/tmelink").glob("*-*.undo"), *Path("/run").glob("tmelink-*/*-*.undo")}


def left(before: set[Path]) -> list[str]:
    """What these processes have left: temporary files, and journals that were not there before."""
    pids = {os.getpid(), *Killed.pids}
    notes = [path for path in journals() - before if int(path.name.split("-")[0]) in pids]
    return [str(path) for path in (*Path(tempfile.gettempdir()).iterdir(), *notes)]


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def run(seconds: float, promised: float, seed: int, temporary: str) -> Record:
    """The storm; what came of it."""
    record = Record()
    await _warm()
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    before = descriptors()
    with tempfile.TemporaryDirectory(prefix="tm-") as folder:
        place = Place(Path(folder))
        chance = Random(seed)
        found = links(place, chance)
        all_up = asyncio.Barrier(len(found) + 1)
        tasks = [
            asyncio.create_task(
                endure(
                    link,
                    seconds,
                    promised,
                    Random(seed * 1000 + number),
                    record,
                    Path(folder) / f"{number}.status",
                    all_up,
                )
            )
            for number, link in enumerate(found)
        ]
        await all_up.wait()
        await asyncio.sleep(seconds / 3)
        first, at = resident(), time.monotonic()
        await asyncio.gather(*tasks)
        grown, minutes = resident() - first, (time.monotonic() - at) / 60
        for link in found:
            if link.relay is not None:
                link.relay.close()
    if (more := descriptors() - before) > 0:
        record.wrong.append(f"{more} descriptors are still open")
    if grown > GROWTH:
        record.wrong.append(f"grew by {grown / (1 << 20):.1f} MiB in {minutes:.1f} minutes")
    print(f"memory: {grown / (1 << 20) / minutes:+.2f} MiB a minute after the first third")
    return record


async def _warm() -> None:
    """Start the process that others are forked from, which keeps descriptors of its own."""
    first = Killed("host: tmelink/host inet 192.0.2.1/24\n")
    await first.start()
    await first.kill()


def storm(seconds: float, promised: float, seed: int) -> Record:
    """The storm, and what it has left."""
    faults.install()
    with tempfile.TemporaryDirectory(prefix="tm-chaos-") as folder:
        before = journals()
        record = asyncio.run(run(seconds, promised, seed, folder))
        record.wrong += [f"left behind: {path}" for path in left(before)]
        tempfile.tempdir = None
    return record


if __name__ == "__main__":
    sys.exit(main("storm", storm, "every link was back in time, every frame was sent once, nothing is left"))
