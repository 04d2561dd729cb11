"""Two hosts, each a network namespace, the link between them, and what can happen to them."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.attacks import strangers
from tests.attacks.places import Place
from tests.chaos.record import Record
from tests.chaos.recovery import LONGEST
from tests.e2e.host_state import state
from tests.support.netns import Namespace, Net, Process

SERVER_HOST, CLIENT_HOST = "10.8.0.1", "10.8.0.2"
"""The addresses of the TAPs."""

REST = 0.5
"""Seconds in which nothing happens to a link that is back."""

GROWTH = 16 << 20
"""Bytes by which the server's process may grow after the first third."""

PORT = 1194


def own_state(host: Namespace) -> dict[str, list[str]]:
    """The host's state without its outer interface, which the storm itself changes."""
    return {what: [line for line in lines if "eth0" not in line] for what, lines in state(host).items()}


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Site:
    """Two hosts, a link, and what can happen at the client's host."""

    pinged = SERVER_HOST
    """From the client's host."""

    def __init__(
        self, net: Net, kind: str, ends: tuple[str, str], record: Record, promised: float, chance: Random
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=net.directory))
        place = Place(self.directory)
        ours, theirs = place.identity("server", "server"), place.identity("client", "client")
        self.kind = kind
        self.chance = chance
        self._record = record
        self.promised = promised
        self.server, self.client = net.pair()
        self._before = [own_state(host) for host in (self.server, self.client)]
        self._addresses = ["10.1.0.2", "10.1.0.3"]
        first, second = ends
        self._serving = self.server.tmelink(
            f"tap0: tme/host/tun/tap interface tap0 inet {SERVER_HOST}/24\nlink0 at tap0: {first} {ours}\n"
        )
        self.link = f"{second} {theirs} --remote-cert-tls server"
        self.calling: Process

    def endure(self, seconds: float) -> None:
        """Let things happen for so long, then stop both ends and look at what is left."""
        try:
            self._endure(seconds)
        except Exception as error:
            self.wrong(f"{type(error).__name__}: {error}")

    def wrong(self, text: str) -> None:
        """Something is not as it should be."""
        self._record.wrong.append(f"{self.kind}: {text}")

    def _endure(self, seconds: float) -> None:
        self.calling = self.start()
        self.back("start", LONGEST)
        begun = time.monotonic()
        first = None
        while (spent := time.monotonic() - begun) < seconds:
            if first is None and spent > seconds / 3:
                first = resident(self._serving.pid)
            event = self.chance.choice(self.events())
            event()
            self.back(event.__name__.strip("_"), self.promised)
            time.sleep(REST)
        if first is not None and (grown := resident(self._serving.pid) - first) > GROWTH:
            self.wrong(f"the server's process grew by {grown / (1 << 20):.1f} MiB")
        for process in (self.calling, self._serving):
            if (status := process.stop()) != 0:
                self.wrong(f"exit status {status}: {process.output[-500:]}")
        self.ended()
        for host, before in zip((self.server, self.client), self._before, strict=True):
            after = own_state(host)
            for what in before:
                if after[what] != before[what]:
                    self.wrong(f"{what}: {sorted(set(after[what]) ^ set(before[what]))}")

    def close(self) -> None:
        """Remove what the site has made outside its namespaces, however it has ended."""

    def start(self) -> Process:
        """Start the client's end."""
        return self.run(
            f"tap0: tme/host/tun/tap interface tap0 inet {CLIENT_HOST}/24\nlink0 at tap0: {self.link}\n"
        )

    def run(self, text: str, *before: str) -> Process:
        """Run a machine file on the client's host, by a command that `before` begins; waits until it runs."""
        path = self.directory / f"{self.client.name}.conf"  # which names the lab
        path.write_text(text)
        begun = time.monotonic()
        process = self.client.start(*before, sys.executable, "-m", "tmelink", "run", str(path))
        process.expect("running:", timeout=LONGEST)
        self.took("program starts", time.monotonic() - begun, LONGEST)
        return process

    def ended(self) -> None:
        """Both ends have stopped: look at what else is left."""

    def back(self, event: str, promised: float) -> None:
        """Wait for the first answer."""
        over = time.monotonic()
        while not re.search(r" 0% packet loss", said := self.ping()):
            if time.monotonic() > over + LONGEST:
                break
        if "DUP!" in said:
            self.wrong(f"answered twice: {said}")
        self.took(event, time.monotonic() - over, promised)

    def took(self, event: str, seconds: float, promised: float) -> None:
        """Something is back after an event."""
        self._record.back(self.kind, event, seconds, promised)

    def ping(self) -> str:
        """What ping says of one question."""
        return self.client.run("ping", "-c", "1", "-W", "0.2", self.pinged, check=False)

    def events(self) -> list[Callable[[], None]]:
        """What can happen; each is over when it returns."""
        return [
            self._kill,
            self._stop,
            self._flap,
            self._address,
            self._tap_down,
            self._tap_removed,
            self._no_route,
            self._strangers,
        ]

    def wait(self) -> None:
        """For as long as something lasts."""
        time.sleep(self.chance.uniform(0.3, 2))

    def _ip(self, command: str) -> None:
        self.client.run("ip", *command.split())

    def _kill(self) -> None:
        """SIGKILL, and another start."""
        self.calling.kill()
        self.calling = self.start()

    def _stop(self) -> None:
        """SIGSTOP, and SIGCONT."""
        os.kill(self.calling.pid, signal.SIGSTOP)
        self.wait()
        os.kill(self.calling.pid, signal.SIGCONT)

    def _flap(self) -> None:
        """The outer interface goes down and up."""
        self._ip("link set eth0 down")
        self.wait()
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
        self.wait()
        self._ip("link set tap0 up")

    def _tap_removed(self) -> None:
        """Somebody removes the TAP."""
        self._ip("link del tap0")

    def _no_route(self) -> None:
        """Nothing leads to the server."""
        self._ip("route del 10.1.0.0/24 dev eth0")
        self.wait()
        self._ip("route add 10.1.0.0/24 dev eth0")

    def _strangers(self) -> None:
        """Resets and junk from another port of the client's host, over TCP and UDP."""
        said = [
            strangers.reset(self.chance.randbytes(8)),
            strangers.server_reset(self.chance.randbytes(8)),
            strangers.data(self.chance.randrange(3), self.chance.randbytes(80)),
            self.chance.randbytes(self.chance.randrange(1, 200)),
        ]
        words = [data.hex() for data in said]
        self.client.run(sys.executable, "-IS", "-c", _SHOUT, "10.1.0.1", str(PORT), *words, check=False)


_SHOUT = """
import socket, sys
where, said = (sys.argv[1], int(sys.argv[2])), [bytes.fromhex(word) for word in sys.argv[3:]]
udp = socket.socket(type=socket.SOCK_DGRAM)
for data in said * 5:
    udp.sendto(data, where)
for data in said:
    try:
        with socket.create_connection(where, 1) as tcp:
            tcp.sendall(len(data).to_bytes(2, "big") + data)
    except OSError:
        pass
"""
