"""The tunnels that are measured: how each program is started at both hosts, as its manual suggests.

All carry Ethernet (a TAP), or IP packets where their name says tun, over the same veth with an MTU of 1500,
and every program keeps its own default MTU policy: tmelink and OpenVPN leave the interface at 1500 and clamp
TCP's MSS so that datagrams fit.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bench import others, servers
from bench.network import TAP, Host, Pair
from bench.processes import Process
from bench.servers import Measure
from tmelink.openvpn import keys
from tmelink.openvpn.tls import keygen

TUNED = ("--fast-io", "--sndbuf", "4194304", "--rcvbuf", "4194304", "--txqueuelen", "1000")
TUNED_TCP = ("--tcp-nodelay", "--txqueuelen", "1000")
"""What OpenVPN's manual offers for throughput; tmelink asks for the same receive buffer by itself. Over TCP
the kernel finds better buffers than an option that fixes them."""

SALSA = "salsa2012+umac"


class Path(NamedTuple):
    """What lies between the ends: a relay that loses a part of the datagrams and takes so many seconds."""

    loss: float
    delay: float


@dataclass(frozen=True)
class Tunnel:
    """A kind of tunnel. `start` sets it up and returns the two processes that carry it, if any do."""

    name: str
    program: str
    start: Callable[[Pair], Sequence[Process]] | None = None
    interface: str = TAP
    beside: str | None = None
    """The tunnel whose figures are 1 in the table of ratios."""
    path: Path | None = None
    """Only the goodput of one stream is measured over it."""
    kind: Literal["ethernet", "ip"] = "ethernet"
    measure: Measure | None = None
    """What is measured in place of the usual, on hosts of its own."""

    def missing(self) -> str | None:
        """The program that has to be installed first."""
        return self.program if self.program and shutil.which(self.program) is None else None


Begin = Callable[[Pair, Host, Sequence[str]], Process]
"""Starts one end with the options of its link."""


def _tmelink(kind: str = "tap", device: str = "") -> Begin:
    def begin(pair: Pair, host: Host, options: Sequence[str]) -> Process:
        words = [*pair.remote(host), *(f'"{word}"' for word in options)]
        link = " ".join(["--dev", kind, "--local", host.outer, *words])
        addresses = f"inet {host.inner}/24 inet6 {host.inner6}/64"
        machine = host.file(
            "machine.conf",
            f"own: tme/host/tun/{kind} interface {TAP} {addresses} {device}\n"
            f"link0 at own: tme/host/openvpn/socket/link {link}\n",
        )
        process = host.start(sys.executable, "-m", "tmelink", "run", machine)
        process.expect("running:")
        return process

    return begin


def _openvpn(kind: str = "tap") -> Begin:
    def begin(pair: Pair, host: Host, options: Sequence[str]) -> Process:
        mask = "255.255.255.0"
        own = ["--dev", TAP, "--dev-type", kind, "--topology", "subnet", "--local", host.outer]
        return host.start("openvpn", *own, *pair.remote(host), *options, "--ifconfig", host.inner, mask)

    return begin


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
    program: str, mode: str, extra: Sequence[str] = (), device: str = "", kind: str = "tap"
) -> Callable[[Pair], list[Process]]:
    begin = _openvpn(kind) if program == "openvpn" else _tmelink(kind, device)

    def start(pair: Pair) -> list[Process]:
        first, second = _MODES[mode](pair)
        a, b = pair.hosts
        extras = [*_no_keys(program, mode), *extra]
        return [begin(pair, a, [*first, *extras]), begin(pair, b, [*second, *extras])]

    return start


def _mixed(sender: str, receiver: str, mode: str) -> Callable[[Pair], list[Process]]:
    """tmelink at one end and OpenVPN at the other; transfers go from the sender to the receiver."""
    begin = {"openvpn": _openvpn(), "tmelink": _tmelink()}

    def start(pair: Pair) -> list[Process]:
        a, b = pair.hosts
        first, second = _MODES[mode](pair)
        return [
            begin[sender](pair, a, [*first, *_no_keys(sender, mode)]),
            begin[receiver](pair, b, [*second, *_no_keys(receiver, mode)]),
        ]

    return start


def _servers() -> tuple[Tunnel, ...]:
    """Servers of both programs."""
    found = []
    for what, measure in (
        ("10 clients, tap", lambda program: servers.with_clients(program, "tap")),
        ("10 clients, tun", lambda program: servers.with_clients(program, "tun")),
        ("handshakes", servers.greetings),
    ):
        theirs = f"openvpn server, {what}"
        found.append(Tunnel(theirs, "openvpn", measure=measure("openvpn")))
        found.append(Tunnel(f"tmelink server, {what}", "", measure=measure("tmelink"), beside=theirs))
    return tuple(found)


def _lossy() -> tuple[Tunnel, ...]:
    """Both programs over paths of 2 ms that lose some datagrams."""
    found = []
    for percent in (0, 0.1, 1, 3):
        path = Path(percent / 100, 0.001)
        name = f"udp AES-256-GCM, 2 ms and {percent:g} % loss"
        found.append(Tunnel(f"openvpn {name}", "openvpn", _both("openvpn", "tls"), path=path))
        found.append(
            Tunnel(f"tmelink {name}", "", _both("tmelink", "tls"), beside=f"openvpn {name}", path=path)
        )
        found.append(
            Tunnel(
                f"tmelink {name}, --super-frames",
                "",
                _both("tmelink", "tls", ("--super-frames",)),
                beside=f"openvpn {name}",
                path=path,
            )
        )
    return tuple(found)


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
        "tmelink udp plain, --busy-poll 200",
        "",
        _both("tmelink", "plain", ("--busy-poll", "200")),
        beside="openvpn udp plain",
    ),
    Tunnel(
        "tmelink udp plain, TAP's offload off",
        "",
        _both("tmelink", "plain", device="offload off"),
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
        "tmelink udp AES-256-GCM, --super-frames",
        "",
        _both("tmelink", "tls", ("--super-frames",)),
        beside="openvpn udp AES-256-GCM",
    ),
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
    Tunnel("openvpn tun, udp AES-256-GCM", "openvpn", _both("openvpn", "tls", kind="tun"), kind="ip"),
    Tunnel(
        "tmelink tun, udp AES-256-GCM",
        "",
        _both("tmelink", "tls", kind="tun"),
        beside="openvpn tun, udp AES-256-GCM",
        kind="ip",
    ),
    Tunnel(
        "wireguard-go", "wireguard-go", others.wireguard, beside="openvpn tun, udp AES-256-GCM", kind="ip"
    ),
    Tunnel("openvpn udp AES-256-CBC", "openvpn", _both("openvpn", "static")),
    Tunnel("tmelink udp AES-256-CBC", "", _both("tmelink", "static"), beside="openvpn udp AES-256-CBC"),
    Tunnel("fastd null", "fastd", others.fastd("null", 1432), beside="openvpn udp plain"),
    Tunnel("fastd salsa2012", "fastd", others.fastd(SALSA, 1408), beside="openvpn udp AES-256-GCM"),
    Tunnel("socat udp", "socat", others.socat, beside="openvpn udp plain"),
    Tunnel("tinc", "tincd", others.tinc, beside="openvpn udp AES-256-CBC"),
    Tunnel("kernel VXLAN", "", others.vxlan, "vxlan0", beside="openvpn udp plain"),
    Tunnel("bare veth", "", others.veth, "eth0", beside="openvpn udp plain"),
    *_servers(),
    *_lossy(),
)
