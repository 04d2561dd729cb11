"""Two network namespaces joined by a veth: the two hosts of every measurement."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.processes import Failed, Process, run

TAP = "tap0"
"""The tunnel's interface at either host."""

PORT, RELAY_PORT = 1194, 1195
"""Where each end is, and the relay between them, if there is one."""

OUTER = ("192.168.77.1", "192.168.77.2")
"""Addresses of the hosts on the veth."""

INNER = ("10.77.0.1", "10.77.0.2")
"""Addresses of the hosts in the tunnel."""


class Host:
    """One end: a namespace with `eth0`."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.name = f"bench{os.getpid()}-{number}"
        self.outer = f"192.168.77.{number + 1}"
        self.inner, self.inner6 = f"10.77.0.{number + 1}", f"fd77::{number + 1}"
        self.directory = directory
        self._logs = itertools.count(1)
        self._processes: list[Process] = []

    def run(self, *arguments: str, seconds: float = 60) -> str:
        return run("ip", "netns", "exec", self.name, *arguments, seconds=seconds)

    def start(self, *arguments: str) -> Process:
        """A program that goes on running, until `stop`."""
        log = self.directory / f"{self.number}-{next(self._logs)}.log"
        process = Process(["ip", "netns", "exec", self.name, *arguments], log)
        self._processes.append(process)
        return process

    def mac(self, interface: str) -> str:
        """The MAC address of an interface."""
        link = self.run("ip", "-o", "link", "show", interface)
        found = re.search(r"link/ether ([\da-f:]+)", link)
        if found is None:
            raise Failed(f"{interface} has no MAC address: {link}")
        return found[1]

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()

    def file(self, name: str, text: str | bytes) -> str:
        """The path of a file of this host's with `text` in it."""
        path = self.directory / f"{self.name}-{name}"  # a lab has its name from it
        path.touch(0o600)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)


class Pair:
    """Both hosts, and what they need to talk through a tunnel."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hosts = Host(0, directory), Host(1, directory)
        self.relayed = False
        """Whether the ends speak to a relay at the second host, and not to each other."""

    def open(self) -> None:
        a, b = self.hosts
        for host in self.hosts:
            run("ip", "netns", "add", host.name)
            host.run("ip", "link", "set", "lo", "up")
        a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name)
        for host in self.hosts:
            # Nothing that the kernel says by itself is to be measured.
            host.run("sysctl", "-q", "-w", "net.ipv6.conf.default.router_solicitations=0")
            host.run("ip", "addr", "add", f"{host.outer}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")

    def relay(self, loss: float, delay: float) -> None:
        """Put a path between the ends that loses a part of the datagrams, and takes `delay` seconds."""
        a, b = self.hosts
        places = [b.outer, str(RELAY_PORT), a.outer, str(PORT), b.outer, str(PORT)]
        relay = b.start(sys.executable, "-m", "bench.relay", *places, str(loss), str(delay))
        relay.expect("relays")
        self.relayed = True

    def remote(self, host: Host) -> list[str]:
        """OpenVPN's options for where the other end of a host's tunnel is reached."""
        if self.relayed:
            return ["--lport", str(PORT), "--remote", self.hosts[1].outer, str(RELAY_PORT)]
        return ["--remote", self.hosts[1 - host.number].outer]

    def close(self) -> None:
        """End every program and remove the namespaces, with all that is in them."""
        for host in self.hosts:
            host.stop()
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)

    def until_joined(self, addresses: tuple[str, str] = INNER) -> None:
        """Wait until a ping comes back through the tunnel."""
        for _ in range(100):
            with contextlib.suppress(Failed):
                self.hosts[0].run("ping", "-c", "1", "-W", "0.2", addresses[1])
                return
        raise Failed(f"nothing comes back from {addresses[1]}:\n{self.logs()}")

    def logs(self) -> str:
        """What the programs wrote, for an error."""
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.directory.glob("*.log"))


class Star:
    """A server's host and those of its clients, each on a wire of its own to one bridge."""

    def __init__(self, directory: Path, clients: int) -> None:
        self.directory = directory
        self.hosts = [Host(number, directory) for number in range(clients + 1)]

    def open(self) -> None:
        server, *clients = self.hosts
        for host in self.hosts:
            run("ip", "netns", "add", host.name)
            host.run("ip", "link", "set", "lo", "up")
            host.run("sysctl", "-q", "-w", "net.ipv6.conf.default.router_solicitations=0")
        server.run("ip", "link", "add", "eth0", "type", "bridge")
        for client in clients:
            port = f"port{client.number}"
            peer = ["peer", "name", "eth0", "netns", client.name]
            server.run("ip", "link", "add", port, "type", "veth", *peer)
            server.run("ip", "link", "set", port, "master", "eth0", "up")
        for host in self.hosts:
            host.run("ip", "addr", "add", f"{host.outer}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")

    def close(self) -> None:
        """End every program and remove the namespaces."""
        for host in self.hosts:
            host.stop()
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)

    def logs(self) -> str:
        """What the programs wrote, for an error."""
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.directory.glob("*.log"))


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Two fresh hosts, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        both = Pair(Path(directory))
        try:
            both.open()
            yield both
        finally:
            both.close()
