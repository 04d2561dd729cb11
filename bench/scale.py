"""Many links in one process: `python -m bench.scale` prints what N of them cost; needs no privilege.

Each link and its built-in host stand alone but for the next pair, whose link is its peer over the loopback.
Every count is measured in a process of its own, so that memory and processor time are nobody else's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tmelink
from bench.chart import Line, lines
from bench.processes import TICKS
from bench.report import aligned
from tmelink.control import connect
from tmelink.control.all_methods import METHODS
from tmelink.control.control import Control
from tmelink.control.lab_names import NameLock
from tmelink.element import Element, Port
from tmelink.frame import Burst

COUNTS = (2, 10, 100, 300, 1000)

STATEMENTS = 10_000

ADDRESS = "127.77.0.1"
FIRST_PORT = 20_000
"""A corner of the loopback where nobody else's ports are, whatever runs beside this."""

SETTLE_SECONDS = 12
"""From start to the measurement of idleness: hosts have announced themselves, links have compared options."""

STATUS_TIMES = 7
"""Times that a lab's status is asked for; the median counts."""

BURST = 32
"""Frames that are under way together when the cost of one is measured."""

COLUMNS = (
    ("links", "links", 0),
    ("load", "load, s", 2),
    ("open", "open, s", 2),
    ("memory", "KiB a link and host", 0),
    ("idle", "idle, % of a core", 2),
    ("frame", "a frame, us", 2),
    ("status", "status, s", 3),
)


def lab(count: int) -> str:
    """A machine file of `count` hosts, each on a link to its neighbour."""
    parts = []
    for number in range(count):
        own, peer = FIRST_PORT + number, FIRST_PORT + (number ^ 1)
        third, fourth = divmod(number, 250)
        parts.append(
            f"host{number}: tmelink/host inet 10.9.{third}.{fourth + 1}/16\n"
            f"link{number} at host{number}: tme/host/openvpn/socket/link --dev tap --local {ADDRESS} "
            f"--lport {own} --remote {ADDRESS} {peer} --ping 10 --ping-restart 60\n"
        )
    return "".join(parts)


def resident() -> int:
    """Bytes of memory that are this process's own."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def processor_seconds() -> float:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Counting(Element):
    """Takes frames and counts them."""

    arrived = 0

    def __init__(self) -> None:
        super().__init__("counting", None)
        self.enough = asyncio.Event()
        self.wanted = 0

    def receive(self, port: Port, burst: Burst) -> None:
        self.arrived += len(burst.frames)
        if self.arrived >= self.wanted:
            self.enough.set()


async def frame_cost(lab: tmelink.Lab, seconds: float) -> float:
    """Processor microseconds that a small frame costs from one link's machine to the other's."""
    first, second = lab["link0"].ports[0], lab["link1"].ports[0]
    sink = Counting()
    standing = second.peer
    second.peer = Port(sink)
    frames = [bytes.fromhex("02000000000a02000000000b88b5") + bytes(46)] * BURST
    begun, used, sent = time.perf_counter(), processor_seconds(), 0
    while time.perf_counter() - begun < seconds:
        sink.enough.clear()
        sink.wanted = sink.arrived + BURST
        first.peer.send(Burst(list(frames)))  # type: ignore[union-attr]
        await asyncio.wait_for(sink.enough.wait(), 5)
        sent += BURST
    cost = (processor_seconds() - used) / sent * 1e6
    second.peer = standing
    return cost


async def status_seconds(lab: tmelink.Lab) -> float:
    """How long `tmelink status` waits for the answer, by the control socket."""
    name = f"scale{os.getpid()}"
    control = Control(lab, name, "lab.conf", None, lambda: lab.machine)

    def ask() -> float:
        with connect(name) as client:
            begun = time.perf_counter()
            client.call("status")
            return time.perf_counter() - begun

    with tempfile.TemporaryDirectory(prefix="tm-") as folder:
        os.environ["TMELINK_RUNTIME_DIR"] = folder
        lock = NameLock.take(name, "lab.conf", None)
        async with control.serving(lock, METHODS):
            taken = [await asyncio.to_thread(ask) for _ in range(STATUS_TIMES)]
        lock.leave()
    return statistics.median(taken)


async def measured(count: int, idle_seconds: float) -> dict[str, float]:
    bare = resident()
    at = time.perf_counter()
    machine = tmelink.load(lab(count))
    loaded = time.perf_counter()
    async with machine.run() as running:
        opened = time.perf_counter()
        await asyncio.sleep(SETTLE_SECONDS)
        used = processor_seconds()
        await asyncio.sleep(idle_seconds)
        idle = (processor_seconds() - used) / idle_seconds
        memory = resident() - bare
        return {
            "links": count,
            "load": loaded - at,
            "open": opened - loaded,
            "memory": memory / count / 1024,
            "idle": idle * 100,
            "frame": await frame_cost(running, 2),
            "status": await status_seconds(running),
        }


def parse_seconds() -> float:
    """How long a file of STATEMENTS statements takes to read and check."""
    text = lab(STATEMENTS // 2)
    at = time.perf_counter()
    tmelink.load(text)
    return time.perf_counter() - at


def apart(*arguments: str) -> Any:
    """What a process of its own found."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", *arguments], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def scale_picture(points: Sequence[tuple[float, float]]) -> str:
    """Microseconds of a frame by number of links, as SVG."""
    title, note = (
        "A frame costs the same among a thousand links",
        "processor microseconds, by links in the process",
    )
    return lines(title, note, [Line("frame", points)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument(
        "--idle", type=float, default=20, metavar="SECONDS", help="how long to watch idleness"
    )
    parser.add_argument("--svg", type=Path, metavar="PATH", help="draw what a frame costs by number of links")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parse", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        print(json.dumps(asyncio.run(measured(options.count, options.idle))))
        return
    if options.parse:
        print(json.dumps(parse_seconds()))
        return
    found = [apart("--count", str(count), "--idle", str(options.idle)) for count in COUNTS]
    seconds = apart("--parse")
    rows = [[title for _what, title, _places in COLUMNS]]
    rows += [[f"{one[what]:,.{places}f}" for what, _title, places in COLUMNS] for one in found]
    print(aligned(rows))
    print(f"\na file of {STATEMENTS:,} statements: read and checked in {seconds:.2f} s")
    if options.json:
        options.json.write_text(
            json.dumps({"counts": found, "statements": {str(STATEMENTS): seconds}}, indent=1)
        )
    if options.svg:
        points = [(one["links"], one["frame"]) for one in found]
        options.svg.write_text(scale_picture(points))


if __name__ == "__main__":
    main()
