"""The labs of a deployed file on all its hosts as one lab: what a page or a screen shows of it.

Names have their host before them, as in `north/hub`. Each host is asked over an ssh of its own; one that
does not answer is an element that is down, and is tried again from time to time.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tmelink.control import Client, ControlError
from tmelink.control.client import TIMEOUT
from tmelink.control.lab_names import RunningLab
from tmelink.control.protocol import StreamItem
from tmelink.deploy import link_ends, over_ssh
from tmelink.deploy.over_ssh import CONNECT_SECONDS, DeployedFile
from tmelink.proof.topology import Topology
from tmelink.tmesh.host_access import SshTarget

AGAIN_SECONDS = 5.0
"""Between two attempts to reach a host."""

MOST_HOSTS = 32
"""Asked at once."""


class HostClient(Client):
    """The control of a lab on another host; raises `ControlError` with what ssh complains of."""

    def __init__(self, target: SshTarget, lab: RunningLab) -> None:
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as complaints, theirs:
            self._ssh = subprocess.Popen(
                over_ssh.ssh_command(target, ["control", lab.name]),
                stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=complaints,
            )  # fmt: skip
            theirs.close()
            try:
                super().__init__(lab, CONNECT_SECONDS + TIMEOUT, ours)
            except ControlError as error:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise ControlError(f"ssh {target}: {said or error}") from error

    def close(self) -> None:
        """End the connection and its ssh."""
        super().close()
        self._ssh.terminate()
        self._ssh.wait()


class _Host:
    """One host: its client while it answers, and why it does not."""

    def __init__(self, name: str, target: SshTarget, lab: RunningLab) -> None:
        self.name = name
        self.target = target
        self.lab = lab
        self.trouble = "not connected yet"
        self.since = time.time()
        self.told = 0.0
        """When the last event was that this host has told, by its own clock."""
        self._lock = threading.Lock()
        """Held by whoever asks: a client is for one thread at a time."""
        self._client: Client | None = None
        self._attempt: threading.Thread | None = None
        self._tried = float("-inf")
        self._closed = False

    def ask(self, question: Callable[[Client], Any], *, patient: bool = False) -> Any:
        """What it answers; raises `ControlError`. Only the first time, or if `patient`, wait for ssh."""
        with self._lock:
            client = self._connected(patient=patient)
            try:
                return question(client)
            except ControlError as error:
                if not client.connected:
                    self._client = None
                    self._lost(str(error))
                    client.close()
                raise

    def _connected(self, *, patient: bool) -> Client:
        if self._client is None:
            first = self._attempt is None
            due = patient or time.monotonic() >= self._tried + AGAIN_SECONDS
            if self._attempt is None or (due and not self._attempt.is_alive()):
                self._attempt = threading.Thread(target=self._connect, daemon=True)
                self._attempt.start()
            if first or patient:
                self._attempt.join()
        if self._client is None:
            raise ControlError(self.trouble)
        return self._client

    def _connect(self) -> None:
        try:
            self._client = HostClient(self.target, self.lab)
        except ControlError as error:
            self._lost(str(error))
        finally:
            self._tried = time.monotonic()
        if self._closed:
            self.close()

    def _lost(self, why: str) -> None:
        if why != self.trouble:
            self.trouble, self.since = why, time.time()

    def close(self) -> None:
        """End its ssh."""
        self._closed = True
        if self._client is not None:
            self._client.close()
            self._client = None


class AllLabs:
    """Answers as a `Client` does, for the labs on all hosts of a file together."""

    def __init__(self, file: Path, deployed: DeployedFile, topology: Topology) -> None:
        self.lab = RunningLab(deployed.lab, 0, str(file), None, 0.0)
        self._file = file
        self._topology = topology
        self._hosts = {
            name: _Host(name, target, RunningLab(deployed.lab, 0, str(file), name, 0.0))
            for name, target in deployed.targets.items()
        }
        self._pool = ThreadPoolExecutor(min(MOST_HOSTS, len(self._hosts)), thread_name_prefix="host")
        self._streaming: Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every ssh."""
        self._pool.shutdown(wait=True)
        for host in self._hosts.values():
            host.close()

    def interrupt(self) -> None:
        """End a stream from another thread."""
        if self._streaming is not None:
            self._streaming.interrupt()

    # Requests

    def call(self, method: str, /, *, wait: float | None = -1.0, **parameters: Any) -> Any:
        """As `Client.call`; `apply` is refused, since that is `tmelink deploy`'s."""
        match method:
            case "status" if parameters.get("element") is None:
                return self._status()
            case "status" | "impair" | "type":
                return self._of_one(method, wait, parameters)
            case "impairments" | "consoles" | "connections":
                asked = self._ask(lambda client: client.call(method))
                return [row for host, rows in asked.items() for row in _named(host, rows or [])]
            case "doctor":
                return self._doctor(wait)
            case "source":
                return {"file": str(self._file), "text": self._file.read_text("utf-8", "replace")}
        raise ControlError(f"not for all hosts at once: {method}; 'tmelink deploy {self._file}' changes them")

    def stream(self, method: str, /, **parameters: Any) -> Iterator[StreamItem]:
        """As `Client.stream`: past events of all hosts, a capture or a console of one."""
        if method == "events":
            yield from self._events(float(parameters.get("since") or 0.0))
            return
        name = parameters.get("element") or "".join(parameters.get("connections") or ())
        host, _, _ = str(name).partition("/")
        if host not in self._hosts:
            raise ControlError("choose a connection of one host, such as north/tap0:north/link0")
        given = {key: _without(host, value) for key, value in parameters.items()}
        with HostClient(self._hosts[host].target, self._hosts[host].lab) as client:
            self._streaming = client
            yield from client.stream(method, **given)

    def _ask(self, question: Callable[[Client], Any]) -> dict[str, Any]:
        """What each host answers, all asked at once; None for one that does not."""

        def asked(host: _Host) -> Any:
            try:
                return host.ask(question)
            except ControlError:
                return None

        hosts = list(self._hosts.values())
        return dict(zip(self._hosts, self._pool.map(asked, hosts), strict=True))

    def _of_one(self, method: str, wait: float | None, parameters: dict[str, Any]) -> Any:
        name, _, _ = str(parameters["element"]).partition("/")
        host = self._hosts.get(name)
        if host is None:
            known = ", ".join(self._hosts)
            raise ControlError(f"{parameters['element']} is on no host of the file, which has {known}")
        given = {key: _without(name, value) for key, value in parameters.items()}
        found = host.ask(lambda client: client.call(method, wait=wait, **given), patient=True)
        return self._merged({name: found}) if method == "status" else found

    def _status(self) -> Any:
        return self._merged(self._ask(lambda client: client.call("status")))

    def _merged(self, replies: dict[str, Any]) -> Any:
        """One status for those of the hosts, with the links between them."""
        found: dict[str, Any] = {
            "name": self.lab.name, "file": self.lab.file, "host": None, "pid": 0, "version": None,
            "since": min((reply["since"] for reply in replies.values() if reply), default=time.time()),
            "up": 0, "total": 0, "elements": [], "connections": [],
        }  # fmt: skip
        for name, reply in replies.items():
            if reply is None:
                found["elements"].append(_silent(self._hosts[name]))
                found["total"] += 1
                continue
            found["up"] += reply["up"]
            found["total"] += reply["total"]
            found["elements"] += [{**row, "host": name} for row in _named(name, reply["elements"])]
            found["connections"] += _named(name, reply["connections"])
        known = {row["name"] for row in found["elements"]}
        found["links"] = [
            {"from": one, "to": other}
            for one, other in link_ends.names(self._topology)
            if one in known and other in known
        ]
        return found

    def _doctor(self, wait: float | None) -> list[Any]:
        asked = self._ask(lambda client: [client.call("doctor", wait=wait), client.call("status")])
        found = [row for host, reply in asked.items() if reply for row in _named(host, reply[0])]
        rows = {
            (host, row["name"]): row for host, reply in asked.items() if reply for row in reply[1]["elements"]
        }
        between = link_ends.differences(self._topology, rows)
        return sorted([*found, *between], key=lambda row: -row["likelihood"])

    def _events(self, since: float) -> Iterator[StreamItem]:
        # Each host's clock is its own, and so is the time from which it has more to tell.
        def told(host: _Host) -> list[Any]:
            begin = host.told if since else 0.0
            try:
                items = host.ask(lambda client: list(client.stream("events", since=begin, follow=False)))
            except ControlError:
                return []
            values = [item.value for item in items]
            if values:
                host.told = values[-1]["time"] + 1e-6
            return [{**row, "element": f"{host.name}/{row['element']}".rstrip("/")} for row in values]

        rows = [row for each in self._pool.map(told, self._hosts.values()) for row in each]
        for row in sorted(rows, key=lambda row: row["time"]):
            yield StreamItem(0, row)


def connector(file: Path) -> Callable[[], AllLabs]:
    """Connects to the labs of a file's hosts; raises as `over_ssh.deployed` does."""
    deployed = over_ssh.deployed(file)
    topology = Topology(deployed.machine)
    return lambda: AllLabs(file, deployed, topology)


NAMES = ("name", "element", "other", "from", "to")
"""Members that hold an element's or a connection's name."""


def _named(host: str, rows: Iterable[Any]) -> list[Any]:
    """Rows, or names, with the host before each name."""
    return [
        {key: _with(host, value) if key in NAMES else value for key, value in row.items()}
        if isinstance(row, dict)
        else _with(host, row)
        for row in rows
    ]


def _with(host: str, name: str) -> str:
    return ":".join(f"{host}/{each}" for each in name.split(":")) if name else host


def _without(host: str, value: Any) -> Any:
    """A name, or a list of them, as the host itself has it."""
    if isinstance(value, list):
        return [_without(host, each) for each in value]
    if not isinstance(value, str):
        return value
    return ":".join(each.removeprefix(f"{host}/") for each in value.split(":"))


def _silent(host: _Host) -> dict[str, Any]:
    """The row of a host that does not answer."""
    return {
        "name": host.name, "module": "host", "state": "down", "since": host.since, "reason": host.trouble,
        "summary": "", "details": None, "counters": {}, "host": host.name,
    }  # fmt: skip
