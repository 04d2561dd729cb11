"""What is measured through a tunnel: TCP goodput, small frames, round trips, processor time, memory."""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.network import INNER, Host, Pair
from bench.processes import Failed, Process

PINGS = 200
"""Round trips of one measurement; their 99th percentile leaves two above it."""

CONGESTION = ("-C", "cubic")
"""TCP's congestion control: Debian's default, also on a computer that has another. With BBR's pacing, what a
tunnel in user space carries depends on how the transfer began."""

PING_SECONDS = 0.005
"""Between two pings: 200 a second are no load."""


@dataclass(frozen=True)
class Plan:
    """How long and how often to measure."""

    rounds: int
    seconds: float
    frames_seconds: float
    lossy_seconds: float
    streams: Sequence[int]
    loaded: bool


def whole(seconds: float) -> int:
    """What iperf3 takes: whole seconds, and 0 would be for ever."""
    return max(1, round(seconds))


def goodput(pair: Pair, seconds: float, streams: int) -> dict[str, float]:
    """TCP payload bits a second that arrive, their bytes, and the segments sent again a second."""
    a, b = pair.hosts
    server = b.start("iperf3", "--forceflush", "-s", "-1")
    server.expect("listening")
    words = ["iperf3", "-J", "-c", INNER[1], "-t", str(whole(seconds)), "-P", str(streams), *CONGESTION]
    before = overruns(b)
    said = a.run(*words, seconds=seconds + 30)
    overrun = (overruns(b) - before) / whole(seconds)
    end = json.loads(said)["end"]
    received = end["sum_received"]
    server.stop()
    resent = end["sum_sent"]["retransmits"] / whole(seconds)
    found = {"bits": received["bits_per_second"], "bytes": received["bytes"]}
    return {**found, "resent": resent, "overruns": overrun}


def overruns(host: Host) -> int:
    """Datagrams that found a socket's receive buffer full."""
    names, values = (
        line.split() for line in host.run("cat", "/proc/net/snmp").splitlines() if "Udp:" in line
    )
    return int(values[names.index("RcvbufErrors")])


def round_trips(host: Host, count: int, interval: float = PING_SECONDS) -> list[float]:
    """Milliseconds of each round trip of a ping with 56 bytes."""
    said = host.run("ping", "-n", "-c", str(count), "-i", str(interval), "-W", "1", INNER[1])
    times = [float(found) for found in re.findall(r"time=([\d.]+) ms", said)]
    if not times:
        raise Failed(f"no ping was answered:\n{said}")
    return times


def small_frames(sender: Host, interface: str, receivers: Sequence[Host], seconds: float, kind: str) -> float:
    """Frames, or packets, of 64 bytes a second that arrive at the hosts' interfaces, all together."""
    targets: list[str] = []
    keepers = []
    for host in receivers:
        keeper = host.start("sleep", "infinity")
        keepers.append(keeper)
        destination = host.mac(interface) if kind == "ethernet" else host.inner
        keeper_in_place(keeper)
        targets += [destination, str(keeper.pid), interface]
    said = sender.run(sys.executable, "-m", "bench.flood", interface, str(seconds), *targets)
    for keeper in keepers:
        keeper.stop()
    return float(said)


def keeper_in_place(keeper: Process) -> None:
    """Wait until `ip netns exec` has become the program that it starts, in the namespace."""
    for _ in range(1000):
        with open(f"/proc/{keeper.pid}/comm") as comm:
            if comm.read().strip() != "ip":
                return
    raise Failed("ip netns exec did not start its program")


def percentile(values: Sequence[float], part: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(part * 1000) - 1]


def measure(
    pair: Pair, interface: str, processes: Sequence[Process], plan: Plan, kind: str
) -> dict[str, float]:
    """One round of one tunnel that is up: a number for each thing measured."""
    found: dict[str, float] = {}
    before = sum(process.cpu_seconds() for process in processes)
    idle = round_trips(pair.hosts[0], PINGS)
    if processes:
        found["rtt cpu"] = (sum(process.cpu_seconds() for process in processes) - before) / len(idle) * 1e6
    found["rtt"] = statistics.median(idle)
    found["rtt 99%"] = percentile(idle, 0.99)
    for streams in plan.streams:
        before = sum(process.cpu_seconds() for process in processes)
        sent = goodput(pair, plan.seconds, streams)
        found[f"tcp {streams}"] = sent["bits"] / 1e9
        if streams == 1:
            found["resent"], found["overruns"] = sent["resent"], sent["overruns"]
        if streams == 1 and processes:
            spent = sum(process.cpu_seconds() for process in processes) - before
            found["cpu"] = spent / (sent["bytes"] / 1e9)
    first, second = pair.hosts
    found["frames"] = small_frames(first, interface, [second], plan.frames_seconds, kind)
    if plan.loaded:
        found.update(_loaded(pair, plan.seconds))
    if processes:
        found["memory"] = max(process.megabytes() for process in processes)
    return found


def _loaded(pair: Pair, seconds: float) -> dict[str, float]:
    """Round trips while a TCP stream takes all that there is."""
    a, b = pair.hosts
    server = b.start("iperf3", "--forceflush", "-s", "-1")
    server.expect("listening")
    words = ["-c", INNER[1], "-t", str(whole(seconds) + 1), *CONGESTION]
    client = a.start("iperf3", "--forceflush", *words)
    client.expect("connected to")
    times = round_trips(a, int(seconds / 0.01), 0.01)
    client.stop()
    server.stop()
    return {"rtt loaded": statistics.median(times), "rtt loaded 99%": percentile(times, 0.99)}
