"""How the tunnels of other programs, and of the kernel, are started at both hosts.

fastd, tinc, WireGuard and VXLAN have the MTU that their overhead leaves.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.network import TAP, Pair
from bench.processes import Failed, Process, run

WIREGUARD_PORT = 51820

SOCKETS = "/run/wireguard"
"""Where wireguard-go listens for its configuration, by the name of its interface."""


def addressed(pair: Pair, interface: str = TAP, mtu: int = 0) -> None:
    """Give the interfaces that a program made their addresses, for programs that leave it to scripts."""
    for host in pair.hosts:
        for _ in range(200):
            if (
                subprocess.run(
                    ["ip", "netns", "exec", host.name, "ip", "link", "show", interface],
                    capture_output=True,
                    check=False,
                ).returncode
                == 0
            ):
                break
            time.sleep(0.02)
        if mtu:
            host.run("ip", "link", "set", interface, "mtu", str(mtu))
        host.run("ip", "addr", "add", f"{host.inner}/24", "dev", interface)
        host.run("ip", "link", "set", interface, "up")


def socat(pair: Pair) -> list[Process]:
    a, b = pair.hosts
    processes = [
        host.start(
            "socat",
            f"TUN,tun-type=tap,iff-no-pi,tun-name={TAP},iff-up",
            f"UDP-DATAGRAM:{other.outer}:5000,bind={host.outer}:5000,rcvbuf=4194304",
        )
        for host, other in ((a, b), (b, a))
    ]
    addressed(pair, mtu=1458)
    return processes


def fastd(method: str, mtu: int) -> Callable[[Pair], list[Process]]:
    def start(pair: Pair) -> list[Process]:
        secrets, publics = [], []
        for _ in pair.hosts:
            found = re.findall(r"(?:Secret|Public): (\w+)", run("fastd", "--generate-key"))
            secrets.append(found[0])
            publics.append(found[1])
        a, b = pair.hosts
        processes = []
        for host, other in ((a, b), (b, a)):
            text = (
                f'log level warn;\ninterface "{TAP}";\nmode tap;\nmtu {mtu};\nmethod "{method}";\n'
                f'bind {host.outer}:10000;\nsecret "{secrets[host.number]}";\n'
                f'peer "other" {{ key "{publics[other.number]}"; remote {other.outer}:10000; }}\n'
            )
            processes.append(host.start("fastd", "--config", host.file("fastd.conf", text)))
        addressed(pair)
        return processes

    return start


def tinc(pair: Pair) -> list[Process]:
    for host in pair.hosts:
        directory = Path(host.directory) / f"tinc{host.number}"
        (directory / "hosts").mkdir(parents=True, exist_ok=True)
        other = pair.hosts[1 - host.number]
        (directory / "tinc.conf").write_text(
            f"Name = host{host.number}\nMode = switch\nDeviceType = tap\nInterface = {TAP}\n"
            f"ConnectTo = host{other.number}\nAddressFamily = ipv4\nBindToAddress = {host.outer}\n"
        )
        # -K asks where to write; without a terminal it takes the usual places.
        run("tincd", "-c", str(directory), "-K", "2048")
    for host in pair.hosts:
        own = Path(host.directory) / f"tinc{host.number}" / "hosts" / f"host{host.number}"
        text = f"Address = {host.outer}\n" + own.read_text()
        for each in pair.hosts:
            (Path(each.directory) / f"tinc{each.number}" / "hosts" / f"host{host.number}").write_text(text)
    processes = [
        host.start("tincd", "-D", "-c", str(Path(host.directory) / f"tinc{host.number}"), "--pidfile",
                   str(Path(host.directory) / f"tinc{host.number}.pid"))
        for host in pair.hosts
    ]  # fmt: skip
    addressed(pair)
    return processes


def vxlan(pair: Pair) -> list[Process]:
    a, b = pair.hosts
    for host, other in ((a, b), (b, a)):
        host.run(
            "ip", "link", "add", "vxlan0", "type", "vxlan", "id", "7", "remote", other.outer, "local",
            host.outer, "dstport", "4789", "dev", "eth0",
        )  # fmt: skip
    addressed(pair, "vxlan0")
    return []


def veth(pair: Pair) -> list[Process]:
    addressed(pair, "eth0")
    return []


def wireguard(pair: Pair) -> list[Process]:
    """wireguard-go at both hosts, each with a directory of its own for the socket that configures it."""
    keys = [X25519PrivateKey.generate() for _ in pair.hosts]
    processes = []
    for host in pair.hosts:
        # `ip netns exec` gives a mount namespace of its own: two interfaces may have one name.
        script = f"mkdir -p {SOCKETS} && mount -t tmpfs none {SOCKETS} && exec wireguard-go -f {TAP}"
        processes.append(host.start("sh", "-c", script))
    for host, process in zip(pair.hosts, processes, strict=True):
        other = pair.hosts[1 - host.number]
        own, theirs = keys[host.number], keys[other.number].public_key()
        _configure(
            process,
            f"private_key={own.private_bytes_raw().hex()}\nlisten_port={WIREGUARD_PORT}\n"
            f"public_key={theirs.public_bytes_raw().hex()}\nendpoint={other.outer}:{WIREGUARD_PORT}\n"
            f"allowed_ip={other.inner}/32\n",
        )
    addressed(pair)
    return processes


def _configure(process: Process, settings: str) -> None:
    """Give a wireguard-go its settings (https://www.wireguard.com/xplatform/)."""
    path = f"/proc/{process.pid}/root{SOCKETS}/{TAP}.sock"
    for _ in range(500):
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(path)
            except OSError:
                time.sleep(0.02)
                continue
            sock.sendall(f"set=1\n{settings}\n".encode())
            answer = sock.recv(4096).decode()
            if "errno=0" not in answer:
                raise Failed(f"wireguard-go does not take its settings: {answer}")
            return
    raise Failed(f"wireguard-go does not listen:\n{process.output()}")
