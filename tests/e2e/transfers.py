"""Two ends of a tunnel by every transport, and files that cross it."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

from tests.support.netns import Namespace, Process
from tmelink.openvpn import keys
from tmelink.openvpn.tls import keygen

BYTES = int(os.environ.get("TMELINK_TRANSFER_BYTES", 24 << 20))
BLOCK = 1 << 20

FRAME = 1514
"""Bytes of the longest frame of an Ethernet, where nothing is joined."""


SUPER = 2 * FRAME
"""What frames are longer than on average, acknowledgements included, where super-frames pass."""


TRANSFER_SECONDS = 60 + BYTES / 2e6
"""Even OpenVPN on a busy machine is faster than 2 MB a second."""

Sides = tuple[list[str], list[str]]


def plain(directory: Path) -> Sides:
    return [], []


def tcp(directory: Path) -> Sides:
    return ["--proto", "tcp-server"], ["--proto", "tcp-client", "--connect-retry", "1"]


def secret(directory: Path, name: str, text: bytes) -> str:
    path = directory / name
    path.touch(0o600)
    path.write_bytes(text)
    return str(path)


def static(directory: Path) -> Sides:
    key = secret(directory, "static.key", keys.generate(random.Random(1).randbytes))
    options = ["--secret", key, "--cipher", "AES-256-CBC", "--auth", "SHA256"]
    return options, options


def tls(directory: Path) -> Sides:
    a, b = (keygen.generate(name, time.time()) for name in "ab")
    sides = [
        [
            *("--key", secret(directory, f"{role}.key", own.private_key)),
            *("--cert", secret(directory, f"{role}.crt", own.certificate)),
            *("--peer-fingerprint", other.fingerprint, f"--tls-{role}"),
            *(["--dh", "none"] if role == "server" else []),
        ]
        for role, own, other in (("server", a, b), ("client", b, a))
    ]
    return sides[0], sides[1]


def tmelink(at: Namespace, other: Namespace, number: int, options: list[str], tap: str = "") -> Process:
    words = " ".join(f'"{word}"' for word in options)
    return at.tmelink(
        f"tap0: tme/host/tun/tap interface tap0 inet 10.7.0.{number}/24 inet6 fd07::{number}/64 {tap}\n"
        f"link0 at tap0: tme/host/openvpn/socket/link --dev tap --local {at.addresses[0]} "
        f"--remote {other.addresses[0]} {words}\n"
    )


def tagged(at: Namespace, other: Namespace, number: int, options: list[str]) -> Process:
    """The same with all frames between the TAP and the link in a VLAN."""
    ends = ["--local", at.addresses[0], "--remote", other.addresses[0]]
    words = ["--dev", "tap", *ends, *options]
    process = at.start(sys.executable, "-m", "tests.e2e.tagged", str(number), *words)
    process.expect("running:")
    return process


def openvpn(at: Namespace, other: Namespace, number: int, options: list[str]) -> Process:
    ends = ["--local", at.addresses[0], "--remote", other.addresses[0]]
    process = at.start("openvpn", "--dev", "tap0", "--dev-type", "tap", *ends, *options)
    process.expect("TUN/TAP device")
    at.run("ip", "link", "set", "tap0", "up")
    at.run("ip", "addr", "add", f"10.7.0.{number}/24", "dev", "tap0")
    at.run("ip", "addr", "add", f"fd07::{number}/64", "dev", "tap0", "nodad")
    return process


def joined(a: Namespace) -> None:
    """Wait until the tunnel carries."""
    for address in ("10.7.0.2", "fd07::2"):
        a.run("ping", "-c", "1", "-w", "20", address)


def transfer(a: Namespace, b: Namespace, size: int) -> None:
    """`size` bytes to `b` by iperf3, and a file of as many back, over IPv4 and over IPv6."""
    directory = a.directory
    source, arrived = directory / "source", directory / "arrived"
    noise = random.Random(size)
    expected = hashlib.sha256()
    with source.open("wb") as file:
        for at in range(0, size, BLOCK):
            block = noise.randbytes(min(BLOCK, size - at))
            expected.update(block)
            file.write(block)
    for to_b, to_a in (("10.7.0.2", "10.7.0.1"), ("fd07::2", "[fd07::1]")):
        serving = b.start("iperf3", "--forceflush", "-s", "-1")
        serving.expect("listening")
        a.run("iperf3", "-c", to_b, "-n", str(size), timeout=TRANSFER_SECONDS)
        serving.wait(20)
        family = "TCP6" if "[" in to_a else "TCP4"
        listening = a.start("socat", "-d", "-d", "-u", f"{family}-LISTEN:5555,reuseaddr", f"CREATE:{arrived}")
        listening.expect("listening on")
        b.run("socat", "-u", f"OPEN:{source}", f"{family}:{to_a}:5555", timeout=TRANSFER_SECONDS)
        listening.wait(TRANSFER_SECONDS)
        with arrived.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == expected.hexdigest()


def counted(process: Process) -> str:
    """What an end counted, once it has ended: nothing must have been found malformed."""
    process.stop(signal.SIGINT)
    assert "malformed" not in process.output
    assert "refused by the interface" not in process.output
    return process.output


def mean_length(process: Process, way: str) -> float:
    """Bytes a frame had on its way between two elements; ends the process."""
    found = re.search(rf"^{way} +([\d,]+) +([\d,]+)", counted(process), re.MULTILINE)
    assert found is not None, process.output
    frames, octets = (int(number.replace(",", "")) for number in found.groups())
    return octets / frames
