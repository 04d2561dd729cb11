"""`tmelink demo`: two built-in machines ping each other over a real link, with live counters.

Runs the sample `hello.conf`, or any file whose built-in hosts can reach each other, without any privilege.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import socket
import sys
from itertools import permutations

from tmelink.cli.examples import epilog
from tmelink.elements.builtin.host import Host, PingResult
from tmelink.errors import TmelinkError
from tmelink.machine import CheckedMachine, load
from tmelink.resources import folder
from tmelink.runtime import Lab
from tmelink.summary import table

NAME = "demo"
HELP = "run a small lab whose machines ping each other, and show the result"
EPILOG = epilog(
    ("tmelink demo", "two machines and a UDP link between them; it ends by itself"),
    ("tmelink demo lab.conf --count 100", "a file of your own, with more pings"),
)

SHOW_SECONDS = 0.5
"""How often the live counters are refreshed."""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="a machine file with two or more tmelink/host"
    )
    parser.add_argument("--count", type=int, default=20, metavar="N", help="pings in each direction (20)")
    parser.add_argument(
        "--interval", type=float, default=0.2, metavar="S", help="seconds between pings (0.2)"
    )


def main(options: argparse.Namespace) -> int:
    if options.file is not None:
        return asyncio.run(_demo(options.file, load(options.file), options))
    sample = folder("machines") / "hello.conf"
    # Ports of its own, so that two demos may run at once.
    return asyncio.run(_demo(str(sample), load(_on_free_ports(sample.read_text())), options))


def _on_free_ports(text: str) -> str:
    """The sample's text with free UDP ports of the loopback interface."""
    ports = sorted(set(re.findall(r"\b1194[0-9]\b", text)))
    with contextlib.ExitStack() as stack:
        for port in ports:
            free = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            free.bind(("127.0.0.1", 0))
            text = re.sub(rf"\b{port}\b", str(free.getsockname()[1]), text)
    return text


async def _demo(path: str, machine: CheckedMachine, options: argparse.Namespace) -> int:
    hosts = {
        element: element.arguments.inet.ip
        for element in machine.elements.values()
        if isinstance(element, Host) and element.arguments.inet is not None
    }
    if len(hosts) < 2:
        raise TmelinkError(f"{path}: the demo needs two tmelink/host elements with inet addresses")
    print(f"{path}: {len(hosts)} machines, {options.count} pings in each direction")
    async with Lab(machine) as lab:
        results = {(a, b): PingResult(hosts[b]) for a, b in permutations(hosts, 2)}
        pings = [
            a.ping(hosts[b], count=options.count, interval=options.interval, result=result)
            for (a, b), result in results.items()
        ]
        show = asyncio.create_task(_show(lab))
        interrupted = False
        try:
            await asyncio.gather(*pings)
        except asyncio.CancelledError:
            interrupted = True
        finally:
            show.cancel()
            if sys.stdout.isatty():
                print()
    print(table(lab.traffic()))
    print()
    print(_results(results))
    if interrupted:
        raise asyncio.CancelledError
    return 0 if all(result.received == result.sent > 0 for result in results.values()) else 1


async def _show(lab: Lab) -> None:
    while True:
        line = "   ".join(f"{name} {c.frames}" for name, c in lab.traffic() if "wire" not in name)
        print(line, end="\r" if sys.stdout.isatty() else "\n", flush=True)
        await asyncio.sleep(SHOW_SECONDS)


def _results(results: dict[tuple[Host, Host], PingResult]) -> str:
    lines = [f"{'ping':<24}{'sent':>6}{'received':>10}{'loss':>7}{'RTT min/avg/max ms':>24}"]
    for (a, b), r in results.items():
        rtt = f"{r.minimum * 1e3:.2f}/{r.average * 1e3:.2f}/{r.maximum * 1e3:.2f}" if r.received else "-"
        lines.append(f"{f'{a.name} -> {b.name}':<24}{r.sent:>6}{r.received:>10}{r.loss:>7.0%}{rtt:>24}")
    return "\n".join(lines)
