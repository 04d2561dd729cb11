"""How long a link stays down after one of its ends was killed and started again.

    python -m tests.chaos.recovery [--rounds 5] [--only WORD]

One end is a process of its own, which SIGKILL ends and which starts again at once; the other one runs here
and pings it ten times a second. Two times are printed for each kind of link, in seconds, each as the median
and the worst of the rounds: from the kill to the first answer ("out"), which contains the start of the
process, and from the moment in which that says that it runs ("recovery"). Needs no privilege.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import tmelink
from tests.attacks.places import Place, free_port, link, server
from tests.chaos.killed import Killed
from tmelink.elements.builtin.host import Host
from tmelink.openvpn.tls import wrap

ANSWER = 0.1
"""Seconds that a ping is waited for, after which the next one goes."""

LONGEST = 75.0
"""Seconds after which a link counts as one that does not come back."""

PROMISED = 3.0
"""Seconds within which every kind of link is to be back."""


@dataclass
class Case:
    """A kind of link: the machine files of both ends, of which `killed` starts anew."""

    transport: str
    mode: str
    killed: str
    here: str
    there: str
    pinged: str
    outages: list[float] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.transport} {self.mode}, {self.killed} killed"


def cases(place: Place) -> Iterator[Case]:
    """Every transport and mode, with either end killed."""
    static = place.static_key()
    v2_server = wrap.generate_server_key()
    place.file("v2-server.key", v2_server)
    place.file("v2-client.key", wrap.generate_client_key(v2_server, time.time()))
    here, there = place.identity("server", "server"), place.identity("client", "client")
    crypt, auth = f" --tls-crypt {static}", f" --tls-auth {static}"
    v2 = (
        f" --tls-crypt-v2 {place.directory}/v2-server.key",
        f" --tls-crypt-v2 {place.directory}/v2-client.key",
    )
    for transport in ("UDP", "TCP"):
        for mode, key in (("bare", ""), ("static key", f" --secret {static} --cipher AES-256-CBC")):
            yield from _both(transport, mode, partial(_pair, transport, key, key, known=True))
        for mode, more in (("TLS, two ends", ("", "")), ("TLS, two ends, tls-crypt", (crypt, crypt))):
            ends = f" --tls-server {here}{more[0]}", f" --tls-client {there}{more[1]}"
            yield from _both(transport, mode, partial(_pair, transport, *ends, known=False))
        for mode, more in (
            ("TLS, server", ("", "")),
            ("TLS, server, tls-auth", (auth, auth)),
            ("TLS, server, tls-crypt", (crypt, crypt)),
            ("TLS, server, tls-crypt-v2", v2),
        ):
            ends = f" {here}{more[0]}", f" {there}{more[1]}"
            yield from _both(transport, mode, partial(_served, transport, *ends))


def _both(transport: str, mode: str, ends: Callable[[], tuple[str, str]]) -> Iterator[Case]:
    """One case for each end, with ports of its own."""
    server_side = "server" if "TLS" in mode or transport == "TCP" else "one end"
    client_side = "client" if "TLS" in mode or transport == "TCP" else "the other"
    first, second = ends()
    yield Case(transport, mode, server_side, second, first, "10.8.0.1")
    first, second = ends()
    yield Case(transport, mode, client_side, first, second, "10.8.0.2")


def _pair(transport: str, first: str, second: str, *, known: bool) -> tuple[str, str]:
    """The files of two links."""
    if transport == "TCP":
        port = free_port(socket.SOCK_STREAM)
        ends = (
            f"--proto tcp-server --local 127.0.0.1 --lport {port}",
            f"--proto tcp-client --nobind --remote 127.0.0.1 {port}",
        )
    elif known:
        one, other = free_port(), free_port()
        ends = (
            f"--local 127.0.0.1 --lport {one} --remote 127.0.0.1 {other}",
            f"--local 127.0.0.1 --lport {other} --remote 127.0.0.1 {one}",
        )
    else:
        port = free_port()
        ends = f"--local 127.0.0.1 --lport {port}", f"--nobind --remote 127.0.0.1 {port}"
    return (
        link("a", f"{ends[0]} --keepalive 10 60{first}", "10.8.0.1"),
        link("b", f"{ends[1]} --keepalive 10 60{second}", "10.8.0.2"),
    )


def _served(transport: str, first: str, second: str) -> tuple[str, str]:
    """The files of a server and a client that pulls its options."""
    kind = socket.SOCK_STREAM if transport == "TCP" else socket.SOCK_DGRAM
    port, (ours, theirs) = (
        free_port(kind),
        (("tcp-server", "tcp-client") if transport == "TCP" else ("udp", "udp")),
    )
    return (
        server(f"--proto {ours} --local 127.0.0.1 --port {port} --keepalive 10 60{first}"),
        link("b", f"--client --proto {theirs} --nobind --remote 127.0.0.1 {port}{second}", "10.8.0.2"),
    )


async def answered(host: Host, address: str) -> float:
    """When the first answer came; infinity where none comes."""
    try:
        async with asyncio.timeout(LONGEST):
            while not (await host.ping(ip_address(address), count=1, timeout=ANSWER)).received:
                pass
    except TimeoutError:
        return float("inf")
    return time.monotonic()


async def measure(case: Case, rounds: int) -> None:
    """Kill and start one end so many times."""
    killed = Killed(case.there)
    await killed.start()
    try:
        async with tmelink.load(case.here).run() as lab:
            host = next(element for element in lab.values() if isinstance(element, Host))
            await answered(host, case.pinged)
            for _ in range(rounds):
                await asyncio.sleep(1.2)  # a static key's packet ids begin with the second
                before = time.monotonic()
                await killed.kill()
                back = asyncio.create_task(answered(host, case.pinged))
                began = await killed.start()
                at = await back
                case.outages.append(at - before)
                case.recoveries.append(max(0.0, at - began))
    finally:
        await killed.kill()


def table(found: list[Case]) -> str:
    """The figures, as a table of Markdown."""
    lines = [
        "| transport | mode | killed | out, median | worst | recovery, median | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in found:
        figures = [
            f"{number:.2f}"
            for times in (case.outages, case.recoveries)
            for number in (statistics.median(times), max(times))
        ]
        lines.append(f"| {case.transport} | {case.mode} | {case.killed} | {' | '.join(figures)} |")
    return "\n".join(lines)


async def run(rounds: int, only: list[str], at_once: int) -> list[Case]:
    """Measure the cases whose names have all the words; so many at the same time."""
    with tempfile.TemporaryDirectory(prefix="tm-") as folder:
        place = Place(Path(folder))
        found = [case for case in cases(place) if all(word in case.name for word in only)]
        free = asyncio.Semaphore(at_once)

        async def one(case: Case) -> None:
            async with free:
                await measure(case, rounds)
                print(f"{case.name}: {case.recoveries}", file=sys.stderr, flush=True)

        await asyncio.gather(*(one(case) for case in found))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--at-once", type=int, default=2, metavar="N")
    options = parser.parse_args()
    found = asyncio.run(run(options.rounds, options.only, options.at_once))
    print(table(found))
    late = [case.name for case in found if max(case.recoveries) > PROMISED]
    print(f"\nslower than {PROMISED:g} s: {', '.join(late) or 'none'}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
