"""Links between two hosts whose network, interfaces and processes fail, in a seeded order. Needs root.

    python -m tests.chaos.host_storm [--seconds 600] [--within 3] [--seed 1]

Each link joins the TAPs of two network namespaces. Every few seconds something happens at its client's host:
the program is killed and starts again; the outer interface goes down, or gets another address; the TAP goes
down, or is removed; the route is taken away. After each it is measured how long pings through the link take
to come back.

Held to: every link is back within three seconds, and the hosts are at the end as they were before.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.attacks.places import LINK, SERVER, Place
from tests.chaos.recovery import LONGEST, PROMISED
from tests.e2e.host_state import state
from tests.support.netns import Namespace, Net, Process

PINGED = "10.8.0.1"
"""The server's host, through the link."""

REST = 0.5
"""Seconds in which nothing happens to a link that is back."""

KINDS: dict[str, tuple[str, str]] = {
    "UDP TLS, two ends": (
        f"{LINK} --dev tap --tls-server --float --keepalive 2 30",
        f"{LINK} --dev tap --tls-client --nobind --remote 10.1.0.1 --keepalive 2 30",
    ),
    "UDP TLS, server": (
        f"{SERVER} --dev tap --server 10.8.0.0 255.255.255.0 --keepalive 2 30",
        f"{LINK} --dev tap --client --nobind --remote 10.1.0.1",
    ),
    "TCP TLS, server": (
        f"{SERVER} --dev tap --proto tcp-server --server 10.8.0.0 255.255.255.0 --keepalive 2 30",
        f"{LINK} --dev tap --client --proto tcp-client --connect-retry 1 1 --nobind --remote 10.1.0.1",
    ),
}
"""By name, what stands at the server's end and at the client's; certificates come after it."""


def own_state(host: Namespace) -> dict[str, list[str]]:
    """The host's state without its outer interface, which the storm itself changes."""
    return {what: [line for line in lines if "eth0" not in line] for what, lines in state(host).items()}


class Site:
    """Two hosts, a link, and what can happen at the client's host."""

    def __init__(self, net: Net, kind: str, promised: float, chance: Random) -> None:
        place = Place(Path(tempfile.mkdtemp(dir=net.directory)))
        ours, theirs = place.identity("server", "server"), place.identity("client", "client")
        self.kind = kind
        self.recoveries: dict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []
        self._promised = promised
        self._chance = chance
        self._server, self._client = net.pair()
        self._before = [own_state(host) for host in (self._server, self._client)]
        self._addresses = ["10.1.0.2", "10.1.0.3"]
        first, second = KINDS[kind]
        self._serving = self._server.tmelink(
            f"tap0: tme/host/tun/tap interface tap0 inet {PINGED}/24\nlink0 at tap0: {first} {ours}\n"
        )
        self._file = (
            f"tap0: tme/host/tun/tap interface tap0 inet 10.8.0.2/24\nlink0 at tap0: {second} {theirs} "
            "--remote-cert-tls server\n"
        )
        self._calling = self._start()

    def endure(self, seconds: float) -> None:
        """Let things happen for so long, then stop both ends and look at what is left."""
        until = time.monotonic() + seconds
        self._back("start")
        while time.monotonic() < until and not self.wrong:
            event = self._chance.choice(self._events())
            event()
            self._back(event.__name__.strip("_"))
            time.sleep(REST)
        for process in (self._calling, self._serving):
            if (status := process.stop()) != 0:
                self.wrong.append(f"{self.kind}: exit status {status}: {process.output[-500:]}")
        for host, before in zip((self._server, self._client), self._before, strict=True):
            after = own_state(host)
            for what in before:
                if after[what] != before[what]:
                    self.wrong.append(f"{self.kind}: {what}: {sorted(set(after[what]) ^ set(before[what]))}")

    def _start(self) -> Process:
        return self._client.tmelink(self._file)

    def _back(self, event: str) -> None:
        """Wait for the first answer."""
        over = time.monotonic()
        while not re.search(r" 0% packet loss", self._ping()):
            if time.monotonic() > over + LONGEST:
                break
        took = time.monotonic() - over
        self.recoveries[event].append(took)
        if took > self._promised and event != "start":
            self.wrong.append(f"{self.kind}: back {took:.1f} s after '{event}'")

    def _ping(self) -> str:
        return self._client.run("ping", "-c", "1", "-W", "0.2", PINGED, check=False)

    def _events(self) -> list[Callable[[], None]]:
        return [self._kill, self._flap, self._address, self._tap_down, self._tap_removed, self._no_route]

    def _while(self) -> None:
        time.sleep(self._chance.uniform(0.3, 2))

    def _ip(self, command: str) -> None:
        self._client.run("ip", *command.split())

    def _kill(self) -> None:
        """SIGKILL, and another start."""
        self._calling.kill()
        self._calling = self._start()

    def _flap(self) -> None:
        """The outer interface goes down and up."""
        self._ip("link set eth0 down")
        self._while()
        self._ip("link set eth0 up")

    def _address(self) -> None:
        """The outer interface has another address."""
        old, new = self._addresses
        self._addresses.reverse()
        self._ip(f"addr del {old}/24 dev eth0")
        self._ip(f"addr add {new}/24 dev eth0")

    def _tap_down(self) -> None:
        """The TAP goes down and up."""
        self._ip("link set tap0 down")
        self._while()
        self._ip("link set tap0 up")

    def _tap_removed(self) -> None:
        """Somebody removes the TAP."""
        self._ip("link del tap0")

    def _no_route(self) -> None:
        """Nothing leads to the server."""
        self._ip("route del 10.1.0.0/24 dev eth0")
        self._while()
        self._ip("route add 10.1.0.0/24 dev eth0")


def table(sites: list[Site]) -> str:
    """A row for each event with all links together, and one for each link."""
    lines = ["| event | times | back after, median | worst |", "|---|---|---|---|"]
    events = defaultdict[str, list[float]](list)
    for site in sites:
        for event, times in site.recoveries.items():
            events[event] += times
    for site in sites:
        events[site.kind] = [took for event, times in site.recoveries.items() for took in times]
    for name, times in events.items():
        lines.append(f"| {name} | {len(times)} | {statistics.median(times):.2f} | {max(times):.2f} |")
    return "\n".join(lines)


def run(seconds: float, promised: float, seed: int, net: Net) -> list[Site]:
    """All kinds at once, each in a thread."""
    sites = [Site(net, kind, promised, Random(seed * 1000 + number)) for number, kind in enumerate(KINDS)]
    threads = [threading.Thread(target=site.endure, args=(seconds,)) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sites


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.host_storm")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--within", type=float, default=PROMISED, help="seconds, for links to be back")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tm-chaos-") as folder:
        net = Net(Path(folder))
        try:
            sites = run(options.seconds, options.within, options.seed, net)
        finally:
            net.close()
    wrong = [text for site in sites for text in site.wrong]
    print(table(sites))
    print()
    print("\n".join(wrong) or "every link was back in time, and the hosts are as they were")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
