"""What each thing that looks at the traffic, or changes it, costs while it is on: `python -m bench --costs`.

One plain UDP link between two hosts, as in the other tables; at the sending host the thing is on, and nothing
at the other. The first row has everything built in and off, as `python -m bench --quick` measures it.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import loads, network
from bench.network import TAP, Host, Pair
from bench.processes import Failed, Process
from bench.report import aligned

ROUNDS, SECONDS = 3, 2.0
SCRAPES = 5
"""Looks a second of a collector of metrics, which usually looks every 15 seconds."""

TMELINK = (sys.executable, "-m", "tmelink")

OFF = "everything off"


@dataclass(frozen=True)
class Cost:
    """Something that is on: words for `tmelink run`, lines of the file, and what runs meanwhile.

    `joined` connects the TAP and the link, at `both` hosts or at the first alone. The rate is compared with
    that of `than`.
    """

    name: str
    run: Sequence[str] = ()
    lines: str = ""
    beside: Callable[[Host], contextlib.AbstractContextManager[None]] | None = None
    joined: str = "link0 at tap0\n"
    both: bool = False
    than: str = OFF


@contextlib.contextmanager
def _program(host: Host, *words: str, says: str) -> Iterator[None]:
    process = host.start(*TMELINK, *words)
    process.expect(says)
    try:
        yield
    finally:
        process.stop()


def _capture(*words: str) -> Callable[[Host], contextlib.AbstractContextManager[None]]:
    return lambda host: _program(
        host, "capture", host.name, "tap0", "-w", "/dev/null", *words, says="capturing"
    )


@contextlib.contextmanager
def _scraped(host: Host) -> Iterator[None]:
    """Somebody reads the metrics again and again."""
    process = host.start(sys.executable, "-m", "bench.costs", "http://127.0.0.1:9273/metrics")
    process.expect("scraped")
    try:
        yield
    finally:
        process.stop()


def _asked(host: Host) -> contextlib.AbstractContextManager[None]:
    """A client of the control socket asks for everything."""
    return _program(host, "status", host.name, "--watch", says="link0")


@contextlib.contextmanager
def _followed(host: Host) -> Iterator[None]:
    """A browser shows the page."""
    with _program(host, "web", host.name, "--listen", "127.0.0.1:8080", says="http://"):
        reader = host.start(sys.executable, "-m", "bench.costs", "http://127.0.0.1:8080/api/live")
        reader.expect("scraped")
        try:
            yield
        finally:
            reader.stop()


def _impaired(words: str) -> str:
    return f"impair tap0 at link0 {words}\n"


SWITCH = "a switch between them"
RULED = "the same, with a filter and VLANs"
"""Of this the rate is to stay above 0.8 of the one before."""


def _switched(tap: str, link: str) -> str:
    return f"sw0: tmelink/switch\ntap0 at sw0 {tap}\nlink0 at sw0 {link}\n"


COSTS = (
    Cost(OFF),
    Cost("filter … no-dhcp no-ra", lines="filter tap0 at link0 no-dhcp no-ra\n"),
    Cost(SWITCH, joined=_switched("", ""), both=True),
    Cost(
        RULED,
        lines="filter link0 at sw0 no-dhcp no-ra\n",
        joined=_switched("vlan access 10", "vlan trunk 1,10-20 native 10"),
        both=True,
        than=SWITCH,
    ),
    Cost(
        "the same, with tags on the link",
        lines="filter link0 at sw0 no-dhcp no-ra\n",
        joined=_switched("vlan access 10", "vlan trunk 1,10-20 native 1"),
        both=True,
        than=SWITCH,
    ),
    Cost("capture of everything", beside=_capture()),
    Cost("capture, 100 bytes of each super-frame", beside=_capture("-s", "100", "--super-frames")),
    Cost("capture, filter 'udp port 53'", beside=_capture("-f", "udp port 53")),
    Cost("impair … delay 0.2ms", lines=_impaired("delay 0.2ms limit 100000")),
    Cost("impair … loss 0.001%", lines=_impaired("loss 0.001% limit 100000")),
    Cost("impair … match 'udp port 53' loss 1%", lines=_impaired('match "udp port 53" loss 1%')),
    Cost(f"metrics, read {SCRAPES} times a second", run=("--metrics", "127.0.0.1:9273"), beside=_scraped),
    Cost("status, asked for every 2 s", beside=_asked),
    Cost("web page, open in a browser", beside=_followed),
)
"""Filters are the rows with an expression: libpcap looks at each frame."""


def measure(cost: Cost, seconds: float) -> dict[str, float]:
    """One round: Gbit/s of one TCP stream, processor seconds a GB of the sending end, and a round trip."""
    with network.pair() as pair:
        processes = [
            _start(pair, host, cost if cost.both or host.number == 0 else COSTS[0]) for host in pair.hosts
        ]
        pair.until_joined()
        with contextlib.ExitStack() as stack:
            if cost.beside is not None:
                stack.enter_context(cost.beside(pair.hosts[0]))
            trips = loads.round_trips(pair.hosts[0], loads.PINGS)
            before = processes[0].cpu_seconds()
            sent = loads.goodput(pair, seconds, 1)
            spent = processes[0].cpu_seconds() - before
    return {"tcp": sent["bits"] / 1e9, "cpu": spent / (sent["bytes"] / 1e9), "rtt": statistics.median(trips)}


def _start(pair: Pair, host: Host, cost: Cost) -> Process:
    other = pair.hosts[1 - host.number]
    machine = host.file(
        f"{host.name}.conf",
        f"tap0: tme/host/tun/tap interface {TAP} inet {host.inner}/24\n"
        f"link0: tme/host/openvpn/socket/link --dev tap --local {host.outer} --remote {other.outer}\n"
        f"{cost.joined}{cost.lines}",
    )
    process = host.start(*TMELINK, "run", machine, "--name", host.name, *cost.run)
    process.expect("running:")
    return process


COLUMNS = (("tcp", "TCP, Gbit/s", 2), ("cpu", "CPU, s/GB", 2), ("rtt", "RTT, ms", 3))


def main(count: int | None, seconds: float | None) -> int:
    """Measure in turn, every second round backwards, and print medians."""
    found: dict[str, dict[str, list[float]]] = {}
    failures: dict[str, str] = {}
    for number in range(count or ROUNDS):
        for cost in COSTS if number % 2 == 0 else reversed(COSTS):
            if cost.name in failures:
                continue
            try:
                figures = measure(cost, seconds or SECONDS)
            except Failed as error:
                failures[cost.name] = str(error)
                print(f"{cost.name}: {error}", file=sys.stderr)
                continue
            for what, value in figures.items():
                found.setdefault(cost.name, {}).setdefault(what, []).append(value)
    rows = [["", *(title for _what, title, _places in COLUMNS), "of the rate", "of"]]
    medians = {
        name: {what: statistics.median(all_) for what, all_ in each.items()} for name, each in found.items()
    }
    for name, than in ((cost.name, cost.than) for cost in COSTS if cost.name in medians):
        cells = [f"{medians[name][what]:.{places}f}" for what, _title, places in COLUMNS]
        share = f"{medians[name]['tcp'] / medians[than]['tcp']:.0%}" if than in medians else ""
        rows.append([name, *cells, share, than])
    print(aligned(rows))
    return 1 if failures else 0


def read(url: str) -> None:
    """Read an address again and again, or what goes on there, and say so the first time."""
    said = False
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            for _line in answer:
                if not said:
                    print("scraped", flush=True)
                    said = True
        time.sleep(1 / SCRAPES)


if __name__ == "__main__":
    read(sys.argv[1])
