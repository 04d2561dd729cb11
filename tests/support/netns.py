"""Network namespaces for tests: made with unique names, joined by veth or a bridge, removed whatever happens.

    def test_something(net):                     # the fixture of conftest.py
        a, b = net.pair()                        # a's eth0 10.1.0.1 -- b's eth0 10.1.0.2, fd01::1 -- fd01::2
        hub = net.internet(3)                    # three namespaces on one bridge, 10.1.0.1 to 10.1.0.3
        a.run("ip", "link")                      # a finished program; raises with its output if it fails
        link = a.start("openvpn", "--dev", …)    # a running program, ended at teardown
        link.expect("Initialization Sequence Completed")
        lab = a.tmelink(MACHINE_FILE_TEXT)       # tmelink run, until it says that it runs
        a.ping("10.0.0.2")                       # every one of a few pings is answered
        a.iperf3(b, "10.0.0.2", "-n", "32M")     # iperf3's summary
        a.call(main)                             # asyncio.run(main()) with a's network, in this process
        with b.capture("eth0", "udp") as capture: …
        capture.packets                          # bytes of each frame tcpdump saw

Nothing here sleeps for long: it awaits lines and packets, and gives up after a named time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tmelink.system import namespaces

T = TypeVar("T")

MACHINES = Path(__file__).parents[2] / "machines"

RUN_SECONDS = 60
"""For a program that ends by itself."""

EXPECT_SECONDS = 20
"""For a line that a running program is expected to write."""

PING_SECONDS = 10
"""For the answers to a few pings."""

STOP_SECONDS = 10
"""For a program that was asked to end, before it is killed."""

_numbers = itertools.count(1)


class Process:
    """A running program whose output is kept line by line."""

    def __init__(self, arguments: list[str], **options: Any) -> None:
        self.arguments = arguments
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        self.pid = self._process.pid
        self.stdin = self._process.stdin
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self.lines.append(line.decode(errors="replace").rstrip())
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """All that it has written so far."""
        with self._more:
            return "\n".join(self.lines)

    def expect(self, pattern: str, *, since: int = 0, timeout: float = EXPECT_SECONDS) -> str:
        """The first line from number `since` on that matches; fails when it ends or is silent too long."""
        wanted = re.compile(pattern)
        found: list[str] = []

        def there() -> bool:
            found.extend(line for line in self.lines[since:] if wanted.search(line))
            return bool(found) or self._ended

        with self._more:
            self._more.wait_for(there, timeout)
        if not found:
            state = "ended" if self._ended else f"was silent for {timeout} s"
            raise AssertionError(f"{self.arguments} {state} without '{pattern}':\n{self.output}")
        return found[0]

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """The exit status once it has ended by itself."""
        status = self._process.wait(timeout)
        self._reader.join(timeout)
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; returns its exit status, after killing it if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.arguments} did not end on {number.name}:\n{self.output}") from None
        finally:
            self._close()

    def signal(self, number: signal.Signals) -> None:
        """Tell it something; SIGSTOP and SIGCONT make it fall silent and speak again."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it without its leave."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            # Its children, where it left some: they would hold its output open for ever.
            os.killpg(self.pid, signal.SIGKILL)
        self._reader.join(STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Capture:
    """What tcpdump saw while the block ran."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.text: list[str] = []


def _packets(file: bytes) -> Iterator[bytes]:
    """The whole frames in a file of tcpdump's (pcap-savefile(5)), in the host's byte order."""
    at = 24
    while at + 16 <= len(file):
        (length,) = struct.unpack_from("=I", file, at + 8)
        if at + 16 + length > len(file):
            return
        yield file[at + 16 : at + 16 + length]
        at += 16 + length


class Namespace:
    """A network namespace with its loopback up."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.addresses: list[str] = []
        self._processes: list[Process] = []
        self._inside = ["ip", "netns", "exec", name]
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *arguments: str, check: bool = True, timeout: float = RUN_SECONDS, input: str = "") -> str:
        """What a program writes; with `check` its failure is the test's, with its output."""
        done = subprocess.run(
            [*self._inside, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            input=input,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {' '.join(arguments)}: {done.returncode}\n{done.stdout}")
        return done.stdout

    def start(self, *arguments: str, **options: Any) -> Process:
        """A program that goes on running."""
        process = Process([*self._inside, *arguments], **options)
        self._processes.append(process)
        return process

    def tmelink(self, machine: str, *options: str, until: str = "running:") -> Process:
        """`tmelink run` of a machine file's text, once it has written a line that matches `until`.

        A link may be up before the lab says that all is open, addresses included; it is waited for then too.
        """
        path = self.directory / f"{self.name}-{next(_numbers)}.conf"
        path.write_text(machine)
        process = self.start(sys.executable, "-m", "tmelink", "run", *options, str(path))
        process.expect(until)
        if until.endswith(": up"):
            process.expect("running:")
        return process

    def call(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """`asyncio.run(main())` in a thread inside this namespace."""
        return asyncio.run(namespaces.run(lambda: asyncio.run(main()), self.name))

    def ping(self, address: str, *, count: int = 3, size: int = 56, **options: Any) -> str:
        """Ping and fail unless every one is answered."""
        extra = [word for name, value in options.items() for word in (f"-{name}", str(value))]
        # Without a deadline ping gives the last answer no longer than the others took, or one interval; with
        # one it sends more when an answer is late, so that what counts is whether the first ones came.
        deadline = str(PING_SECONDS)
        said = self.run(
            "ping", "-c", str(count), "-i", "0.1", "-w", deadline, "-s", str(size), *extra, address,
            check=False,
        )  # fmt: skip
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said)}
        assert answered >= set(range(1, count + 1)), said
        assert "DUP" not in said, said
        return said

    def iperf3(self, server: Namespace, address: str, *options: str) -> dict[str, Any]:
        """Send to an iperf3 server in another namespace; its summary, such as `["end"]["sum_received"]`."""
        serving = server.start("iperf3", "--forceflush", "-s", "-1")
        serving.expect("listening")
        summary: dict[str, Any] = json.loads(self.run("iperf3", "-J", "-c", address, *options))
        serving.wait(EXPECT_SECONDS)
        return summary

    @contextlib.contextmanager
    def capture(
        self,
        interface: str,
        *expression: str,
        packets: int | None = None,
        until: Callable[[list[bytes]], bool] | None = None,
    ) -> Iterator[Capture]:
        """tcpdump on an interface while the block runs.

        What it has not read when it is ended is lost: at the end of the block it is given time to see as many
        as `packets`, or as make `until` true.
        """
        capture = Capture()
        path = self.directory / f"{self.name}-{next(_numbers)}.pcap"
        count = ["-c", str(packets)] if packets is not None else []
        # In immediate mode a packet takes 64 KiB, and the usual 2 MiB hold only 32 of a burst. -B is in KiB.
        process = self.start(
            "tcpdump", "-i", interface, "-n", "-U", "-Z", "root", "--immediate-mode", "-s", "0",
            "-B", "32768", *count, "-w", str(path), *expression,
        )  # fmt: skip
        process.expect("listening on")
        try:
            yield capture
            if packets is not None:
                process.wait(EXPECT_SECONDS)
            deadline = time.monotonic() + EXPECT_SECONDS
            while until is not None and not until(list(_packets(path.read_bytes()))):
                if time.monotonic() > deadline:
                    break  # the test compares, and shows what is missing
                time.sleep(0.02)
        finally:
            # SIGINT makes tcpdump write what it has.
            process.stop(signal.SIGINT)
        capture.packets = list(_packets(path.read_bytes()))
        capture.text = self.run("tcpdump", "-r", str(path), "-nn", "-vv", "-t", "-Z", "root").splitlines()

    def interfaces(self) -> list[str]:
        """The names of the interfaces."""
        links = self.run("ip", "-br", "link").splitlines()
        return [line.split()[0].split("@")[0] for line in links]

    def command_lines(self) -> list[bytes]:
        """The arguments of every process in it, each ended by a NUL."""
        pids = self.run("ip", "netns", "pids", self.name).split()
        found = []
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # One that has ended meanwhile has none.
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        return found

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            # What a killed tmelink left to undo is gone with the namespace.
            for journal in Path("/run/tmelink").glob(f"{process.pid}-*.undo"):
                journal.unlink()
        subprocess.run(["ip", "netns", "del", self.name], check=False)


class Net:
    """The namespaces of one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._namespaces: list[Namespace] = []

    def command_lines(self) -> list[bytes]:
        """The arguments of every process in its namespaces."""
        return [line for namespace in self._namespaces for line in namespace.command_lines()]

    def namespace(self) -> Namespace:
        """A namespace with nothing but its loopback."""
        namespace = Namespace(f"tme{os.getpid()}-{next(_numbers)}", self.directory)
        self._namespaces.append(namespace)
        return namespace

    def pair(self, mtu: int = 1500) -> tuple[Namespace, Namespace]:
        """Two namespaces joined by a veth called eth0 in both."""
        a, b = self.namespace(), self.namespace()
        a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name)
        for number, namespace in enumerate((a, b), 1):
            _address(namespace, number, mtu)
        return a, b

    def internet(self, count: int, mtu: int = 1500) -> list[Namespace]:
        """Namespaces whose eth0 are plugged into one bridge; it has its own namespace, the last one."""
        hub = self.namespace()
        hub.run("ip", "link", "add", "hub", "type", "bridge")
        hub.run("ip", "link", "set", "hub", "mtu", str(mtu), "up")
        hosts = [self.namespace() for _ in range(count)]
        for number, host in enumerate(hosts, 1):
            port = f"port{number}"
            host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", hub.name)
            hub.run("ip", "link", "set", port, "mtu", str(mtu), "master", "hub", "up")
            _address(host, number, mtu)
        return [*hosts, hub]

    def close(self) -> None:
        for namespace in reversed(self._namespaces):
            namespace.close()


def _address(namespace: Namespace, number: int, mtu: int) -> None:
    namespace.addresses = [f"10.1.0.{number}", f"fd01::{number}"]
    namespace.run("ip", "link", "set", "eth0", "mtu", str(mtu), "up")
    namespace.run("ip", "addr", "add", f"10.1.0.{number}/24", "dev", "eth0")
    namespace.run("ip", "addr", "add", f"fd01::{number}/64", "dev", "eth0", "nodad")


def host_state() -> dict[str, str]:
    """What a test must leave as it was: interfaces, namespaces, routes, rules, the samples' folder."""
    commands = {
        "interfaces": "ip -br link",
        "addresses": "ip -br addr",
        "namespaces": "ip netns list",
        "routes": "ip route show table all type unicast",
        "rules": "ip rule",
        "nftables": "nft list ruleset",
        "forwarding": "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
    }
    state = {
        what: subprocess.run(command.split(), capture_output=True, text=True, check=False).stdout
        for what, command in commands.items()
    }
    # Those of others on this computer come and go as they please; a test's have the process in their names.
    names = sorted(line.split()[0] for line in state["namespaces"].splitlines())
    state["namespaces"] = "\n".join(name for name in names if name.startswith(f"tme{os.getpid()}-"))
    # Where samples are run from: what one creates beside itself belongs into a test's own directory.
    state["samples"] = "\n".join(sorted(path.name for path in MACHINES.iterdir()))
    return state


@contextlib.contextmanager
def network() -> Iterator[Net]:
    """The namespaces of one test, removed at the end; nothing of them may be left on the host."""
    with tempfile.TemporaryDirectory(prefix="tmelink-") as directory:
        net = Net(Path(directory))
        try:
            yield net
        finally:
            net.close()
