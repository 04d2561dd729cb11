"""The tunnels that are measured: how each program is started at both hosts, as its manual suggests.

All carry Ethernet (a TAP) over the same veth with an MTU of 1500, and every program keeps its own default MTU
policy: tmelink and OpenVPN leave the TAP at 1500 and clamp TCP's MSS so that datagrams fit, fastd, tinc and
VXLAN get the MTU that their overhead leaves.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.network import Host, Pair
from bench.processes import Process, run
from tmelink.openvpn import keys
from tmelink.openvpn.tls import keygen

TAP = "tap0"

TUNED = ("--fast-io", "--sndbuf", "4194304", "--rcvbuf", "4194304", "--txqueuelen", "1000")
TUNED_TCP = ("--tcp-nodelay", "--txqueuelen", "1000")
"""What OpenVPN's manual offers for throughput; tmelink asks for the same receive buffer by itself. Over TCP
the kernel finds better buffers than an option that fixes them."""

SALSA = "salsa2012+umac"


@dataclass(frozen=True)
class Tunnel:
    """A kind of tunnel. `start` sets it up and returns the two processes that carry it, if any do."""

    name: str
    program: str
    start: Callable[[Pair], Sequence[Process]]
    interface: str = TAP
    beside: str | None = None
    """The tunnel whose figures are 1 in the table of ratios."""

    def missing(self) -> str | None:
        """The program that has to be installed first."""
        return self.program if self.program and shutil.which(self.program) is None else None


def _openvpn_options(host: Host, other: Host, options: Sequence[str]) -> list[str]:
    return ["--dev", TAP, "--dev-type", "tap", "--local", host.outer, "--remote", other.outer, *options]


def _tmelink(host: Host, other: Host, options: Sequence[str], tap: str = "") -> Process:
    link = " ".join(
        ["--dev", "tap", "--local", host.outer, "--remote", other.outer, *(f'"{word}"' for word in options)]
    )
    machine = host.file(
        "machine.conf",
        f"tap0: tme/host/tun/tap interface {TAP} inet {host.inner}/24 inet6 {host.inner6}/64 {tap}\n"
        f"link0 at tap0: tme/host/openvpn/socket/link {link}\n",
    )
    process = host.start(sys.executable, "-m", "tmelink", "run", machine)
    process.expect("running:")
    return process


def _openvpn(host: Host, other: Host, options: Sequence[str]) -> Process:
    return host.start(
        "openvpn", *_openvpn_options(host, other, options), "--ifconfig", host.inner, "255.255.255.0"
    )


def _plain(pair: Pair) -> tuple[list[str], list[str]]:
    return [], []


def _tls(pair: Pair) -> tuple[list[str], list[str]]:
    """Both ends with a certificate that the other knows by its fingerprint."""
    a, b = (keygen.generate(f"host{number}", time.time()) for number in (0, 1))
    sides = []
    for host, own, theirs, role in zip(pair.hosts, (a, b), (b, a), ("tls-server", "tls-client"), strict=True):
        sides.append(
            [
                *(f"--{role}", "--key", host.file("key.pem", own.private_key)),
                *("--cert", host.file("cert.pem", own.certificate)),
                *("--peer-fingerprint", theirs.fingerprint, "--data-ciphers", "AES-256-GCM"),
                *(("--dh", "none") if role == "tls-server" else ()),
            ]
        )
    return sides[0], sides[1]


def _static(pair: Pair) -> tuple[list[str], list[str]]:
    key = pair.hosts[0].file("static.key", keys.generate(os.urandom))
    options = ["--secret", key, "--cipher", "AES-256-CBC", "--auth", "SHA256"]
    return options, options


def _tcp(pair: Pair) -> tuple[list[str], list[str]]:
    return ["--proto", "tcp-server"], ["--proto", "tcp-client", "--connect-retry", "1"]


def _tls_tcp(pair: Pair) -> tuple[list[str], list[str]]:
    ours, theirs = zip(_tls(pair), _tcp(pair), strict=True)
    return [word for words in ours for word in words], [word for words in theirs for word in words]


def _no_keys(program: str, mode: str) -> list[str]:
    """What OpenVPN 2.6 needs to be told to run without TLS."""
    if program != "openvpn" or mode.startswith("tls"):
        return []
    return [] if mode == "static" else ["--cipher", "none", "--auth", "none"]


_MODES = {"plain": _plain, "tls": _tls, "static": _static, "tcp": _tcp, "tls tcp": _tls_tcp}


def _both(
    program: str, mode: str, extra: Sequence[str] = (), tap: str = ""
) -> Callable[[Pair], list[Process]]:
    def start(pair: Pair) -> list[Process]:
        first, second = _MODES[mode](pair)
        begin = _openvpn if program == "openvpn" else lambda h, o, w: _tmelink(h, o, w, tap)
        a, b = pair.hosts
        extras = [*_no_keys(program, mode), *extra]
        return [begin(a, b, [*first, *extras]), begin(b, a, [*second, *extras])]

    return start


def _mixed(sender: str, receiver: str, mode: str) -> Callable[[Pair], list[Process]]:
    """tmelink at one end and OpenVPN at the other; transfers go from the sender to the receiver."""

    def start(pair: Pair) -> list[Process]:
        begin = {"openvpn": _openvpn, "tmelink": _tmelink}
        a, b = pair.hosts
        first, second = _MODES[mode](pair)
        return [begin[sender](a, b, first), begin[receiver](b, a, second)]

    return start


def _addressed(pair: Pair, interface: str = TAP, mtu: int = 0) -> None:
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


def _socat(pair: Pair) -> list[Process]:
    a, b = pair.hosts
    processes = [
        host.start(
            "socat",
            f"TUN,tun-type=tap,iff-no-pi,tun-name={TAP},iff-up",
            f"UDP-DATAGRAM:{other.outer}:5000,bind={host.outer}:5000,rcvbuf=4194304",
        )
        for host, other in ((a, b), (b, a))
    ]
    _addressed(pair, mtu=1458)
    return processes


def _fastd(method: str, mtu: int) -> Callable[[Pair], list[Process]]:
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
        _addressed(pair)
        return processes

    return start


def _tinc(pair: Pair) -> list[Process]:
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
    _addressed(pair)
    return processes


def _vxlan(pair: Pair) -> list[Process]:
    a, b = pair.hosts
    for host, other in ((a, b), (b, a)):
        host.run(
            "ip", "link", "add", "vxlan0", "type", "vxlan", "id", "7", "remote", other.outer, "local",
            host.outer, "dstport", "4789", "dev", "eth0",
        )  # fmt: skip
    _addressed(pair, "vxlan0")
    return []


def _veth(pair: Pair) -> list[Process]:
    _addressed(pair, "eth0")
    return []


TUNNELS = (
    Tunnel("openvpn udp plain", "openvpn", _both("openvpn", "plain")),
    Tunnel(
        "openvpn udp plain, tuned", "openvpn", _both("openvpn", "plain", TUNED), beside="openvpn udp plain"
    ),
    Tunnel("tmelink udp plain", "", _both("tmelink", "plain"), beside="openvpn udp plain"),
    Tunnel(
        "tmelink udp plain, --udp-offload off",
        "",
        _both("tmelink", "plain", ("--udp-offload", "off")),
        beside="openvpn udp plain",
    ),
    Tunnel(
        "tmelink udp plain, TAP's offload off",
        "",
        _both("tmelink", "plain", tap="offload off"),
        beside="openvpn udp plain",
    ),
    Tunnel("openvpn udp AES-256-GCM", "openvpn", _both("openvpn", "tls")),
    Tunnel(
        "openvpn udp AES-256-GCM, tuned",
        "openvpn",
        _both("openvpn", "tls", TUNED),
        beside="openvpn udp AES-256-GCM",
    ),
    Tunnel("tmelink udp AES-256-GCM", "", _both("tmelink", "tls"), beside="openvpn udp AES-256-GCM"),
    Tunnel(
        "tmelink to openvpn, udp AES-256-GCM",
        "openvpn",
        _mixed("tmelink", "openvpn", "tls"),
        beside="openvpn udp AES-256-GCM",
    ),
    Tunnel(
        "openvpn to tmelink, udp AES-256-GCM",
        "openvpn",
        _mixed("openvpn", "tmelink", "tls"),
        beside="openvpn udp AES-256-GCM",
    ),
    Tunnel("openvpn tcp plain", "openvpn", _both("openvpn", "tcp")),
    Tunnel(
        "openvpn tcp plain, tuned", "openvpn", _both("openvpn", "tcp", TUNED_TCP), beside="openvpn tcp plain"
    ),
    Tunnel("tmelink tcp plain", "", _both("tmelink", "tcp"), beside="openvpn tcp plain"),
    Tunnel(
        "tmelink tcp plain, --super-frames",
        "",
        _both("tmelink", "tcp", ("--super-frames",)),
        beside="openvpn tcp plain",
    ),
    Tunnel("openvpn tcp AES-256-GCM", "openvpn", _both("openvpn", "tls tcp")),
    Tunnel("tmelink tcp AES-256-GCM", "", _both("tmelink", "tls tcp"), beside="openvpn tcp AES-256-GCM"),
    Tunnel(
        "tmelink tcp AES-256-GCM, --super-frames",
        "",
        _both("tmelink", "tls tcp", ("--super-frames",)),
        beside="openvpn tcp AES-256-GCM",
    ),
    Tunnel("openvpn udp AES-256-CBC", "openvpn", _both("openvpn", "static")),
    Tunnel("tmelink udp AES-256-CBC", "", _both("tmelink", "static"), beside="openvpn udp AES-256-CBC"),
    Tunnel("fastd null", "fastd", _fastd("null", 1432), beside="openvpn udp plain"),
    Tunnel("fastd salsa2012", "fastd", _fastd(SALSA, 1408), beside="openvpn udp AES-256-GCM"),
    Tunnel("socat udp", "socat", _socat, beside="openvpn udp plain"),
    Tunnel("tinc", "tincd", _tinc, beside="openvpn udp AES-256-CBC"),
    Tunnel("kernel VXLAN", "", _vxlan, "vxlan0", beside="openvpn udp plain"),
    Tunnel("bare veth", "", _veth, "eth0", beside="openvpn udp plain"),
)
