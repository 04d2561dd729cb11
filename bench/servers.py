"""A server with ten clients, and how many clients it greets: what is measured of servers.

Every client is a process of its own at a host of its own, of the same program as the server. Addresses come
from the server; all clients have one certificate, known by its fingerprint, and AES-256-GCM over UDP.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import loads
from bench.network import PORT, TAP, Host, Star
from bench.processes import Failed, Process
from tmelink.openvpn.tls import keygen

CLIENTS = 10

IPERF = 5201
"""The first of the ports of iperf3, which serves one client at a time."""

Measure = Callable[[loads.Plan], dict[str, float]]

UNLIMITED = ("--connect-freq-initial", "1000000", "1")
"""Every client comes from one address here; a server's own limit is for strangers."""


class Identities:
    """A server's and its clients' certificate, as files."""

    def __init__(self, host: Host) -> None:
        server, client = (keygen.generate(name, time.time()) for name in ("server", "client"))
        self.server = _files(host, "server", server.private_key, server.certificate, client.fingerprint)
        self.client = _files(host, "client", client.private_key, client.certificate, server.fingerprint)


def _files(host: Host, name: str, key: bytes, certificate: bytes, other: str) -> list[str]:
    paths = host.file(f"{name}.key", key), host.file(f"{name}.crt", certificate)
    return ["--key", paths[0], "--cert", paths[1], "--peer-fingerprint", other]


def start_server(program: str, kind: str, host: Host, identities: Identities) -> Process:
    """A server at a host, its clients in one network behind it."""
    options = [
        *("--server", "10.77.0.0", "255.255.255.0", "--topology", "subnet", "--duplicate-cn"),
        *("--data-ciphers", "AES-256-GCM", "--local", host.outer, *UNLIMITED, *identities.server),
    ]
    if program == "openvpn":
        process = host.start("openvpn", "--dev", TAP, "--dev-type", kind, "--dh", "none", *options)
        process.expect("Initialization Sequence Completed")
        return process
    return _tmelink(host, kind, "server", options, "running:")


def _start_client(program: str, kind: str, host: Host, server: Host, identities: Identities) -> Process:
    options = ["--client", "--nobind", "--remote", server.outer, str(PORT), *identities.client]
    if program == "openvpn":
        return host.start("openvpn", "--dev", TAP, "--dev-type", kind, *options)
    return _tmelink(host, kind, "link", options, "")


def _tmelink(host: Host, kind: str, element: str, options: Sequence[str], until: str) -> Process:
    words = " ".join(f'"{word}"' for word in options)
    machine = host.file(
        "machine.conf",
        f"own: tme/host/tun/{kind} interface {TAP}\n"
        f"vpn at own: tme/host/openvpn/socket/{element} --dev {kind} {words}\n",
    )
    process = host.start(sys.executable, "-m", "tmelink", "run", machine)
    if until:
        process.expect(until)
    return process


@contextlib.contextmanager
def star(count: int) -> Iterator[Star]:
    """A server's host and so many clients', gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        hosts = Star(Path(directory), count)
        try:
            hosts.open()
            yield hosts
        finally:
            hosts.close()


def with_clients(program: str, kind: str) -> Measure:
    """Goodput of all clients together, to the server and from it, and small frames to all of them."""

    def measure(plan: loads.Plan) -> dict[str, float]:
        with star(CLIENTS) as hosts:
            server, *clients = hosts.hosts
            identities = Identities(server)
            processes = [start_server(program, kind, server, identities)]
            processes += [_start_client(program, kind, host, server, identities) for host in clients]
            for host in clients:
                _joined(host, hosts)
            found = {
                "clients up": _goodput(server, clients, plan.seconds, []),
                "clients down": _goodput(server, clients, plan.seconds, ["-R"]),
            }
            found["clients"] = (found["clients up"] + found["clients down"]) / 2
            frame_kind = "ethernet" if kind == "tap" else "ip"
            found["frames"] = loads.small_frames(server, TAP, clients, plan.frames_seconds, frame_kind)
            found["memory"] = processes[0].megabytes()
            return found

    return measure


def _joined(host: Host, hosts: Star) -> None:
    """Wait until a client has its address and reaches the server."""
    for _ in range(300):
        words = host.run("ip", "-4", "-br", "addr", "show").split()
        found = [word.partition("/")[0] for word in words if word.startswith("10.77.0.")]
        if found:
            host.inner = found[0]
            with contextlib.suppress(Failed):
                host.run("ping", "-c", "1", "-W", "0.5", hosts.hosts[0].inner)
                return
        time.sleep(0.05)
    raise Failed(f"a client does not come up:\n{hosts.logs()}")


def _goodput(server: Host, clients: Sequence[Host], seconds: float, direction: Sequence[str]) -> float:
    """Gbit/s of TCP that arrive from all clients at once."""
    ports = range(IPERF, IPERF + len(clients))
    listening = [server.start("iperf3", "--forceflush", "-s", "-1", "-p", str(port)) for port in ports]
    for process in listening:
        process.expect("listening")
    words = ["iperf3", "-J", "-c", server.inner, "-t", str(loads.whole(seconds)), *direction]
    words += loads.CONGESTION
    running = [host.start(*words, "-p", str(port)) for host, port in zip(clients, ports, strict=True)]
    total = 0.0
    for process in running:
        process.wait(seconds + 30)
        said = json.loads(process.output())
        if "error" in said:
            raise Failed(f"iperf3: {said['error']}")
        total += said["end"]["sum_received"]["bits_per_second"]
    for process in listening:
        process.stop()
    return total / 1e9


def greetings(program: str) -> Measure:
    """TLS handshakes a second of a server's processor time: whoever else uses the computer does not count."""

    def measure(plan: loads.Plan) -> dict[str, float]:
        with star(1) as hosts:
            server, client = hosts.hosts
            identities = Identities(server)
            process = start_server(program, "tun", server, identities)
            before = process.cpu_seconds()
            said = client.run(
                sys.executable, "-m", "bench.handshakes", server.outer, str(PORT), str(plan.seconds * 2),
                *identities.client,
            )  # fmt: skip
            spent = process.cpu_seconds() - before
            found = re.findall(r"[\d.]+", said)
            times = [float(each) for each in found[1:]]
            return {"handshakes": int(found[0]) / spent, "handshake": statistics.median(times)}

    return measure
