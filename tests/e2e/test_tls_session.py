"""TLS sessions against a stock OpenVPN, both ways round, with the smallest shell around ours."""

from __future__ import annotations

import ast
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.netns import Namespace, Net, Process
from tests.support.pki import Authority, Pair
from tmelink.openvpn.tls.keygen import generate

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn", "tcpdump")]

PORT = 1194
PEER = Path(__file__).with_name("tls_peer.py")
OURS, THEIRS = "10.9.0.1", "10.9.0.2"


@dataclass
class Site:
    """Two namespaces, an authority, and the files both ends use."""

    net: Net
    ours: Namespace
    theirs: Namespace
    authority: Authority

    def file(self, name: str, content: bytes) -> str:
        path = self.net.directory / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    def pair(self, name: str, pair: Pair) -> tuple[str, str]:
        return self.file(f"{name}.crt", pair.pem), self.file(f"{name}.key", pair.key_pem)

    @property
    def ca(self) -> str:
        return self.file("ca.crt", self.authority.own.pem)

    def tmelink(
        self, *, server: bool | dict[str, Any], cert: tuple[str, str] | None = None, **config: Any
    ) -> Process:
        """Our end; its event lines are what it writes."""
        usage = "server" if server else "client"
        cert = cert or self.pair("ours", self.authority.issue("ours", usage))
        files = {"certificate": cert[0], "private_key": cert[1], "ca": self.ca} | config.pop("files", {})
        settings = {"server": bool(server)} | config.pop("settings", {})
        address = ["0.0.0.0" if server else self.theirs.addresses[0], PORT]
        wanted = {"files": files, "settings": settings, "address": address, "device": "tme0"} | config
        if isinstance(server, dict):
            wanted["server"] = server
        path = self.file(f"{self.ours.name}.json", json.dumps(wanted).encode())
        return self.ours.start(sys.executable, "-W", "error", str(PEER), path)

    def openvpn(self, *options: str, cert: tuple[str, str] | None = None, usage: str = "server") -> Process:
        """The stock end."""
        cert = cert or self.pair("theirs", self.authority.issue("theirs", usage))
        return self.theirs.start(
            "openvpn", "--verb", "4", "--ca", self.ca, "--cert", cert[0], "--key", cert[1], *options
        )  # fmt: skip

    def static_key(self) -> str:
        path = str(self.net.directory / "static.key")
        self.ours.run("openvpn", "--genkey", "secret", path)
        return path


@pytest.fixture
def site(net: Net) -> Site:
    ours, theirs = net.pair()
    return Site(net, ours, theirs, Authority(time.time()))


EQUAL = ["--proto", "udp4", "--port", str(PORT), "--remote", "10.1.0.1", str(PORT)]


def device(kind: str) -> list[str]:
    address = [THEIRS, "255.255.255.0"] if kind == "tap" else [THEIRS, OURS]
    return ["--dev", f"{kind}0", "--dev-type", kind, "--ifconfig", *address]


def wrapping(site: Site, wrap: str, *, server: bool) -> tuple[dict[str, Any] | None, list[str]]:
    """Our and the stock end's part of a wrapping; `server` says what we are."""
    ours, theirs = ("0", "1") if server else ("1", "0")
    if wrap == "tls-auth":
        key = site.static_key()
        return {"kind": wrap, "path": key, "direction": int(ours)}, ["--tls-auth", key, theirs]
    if wrap == "tls-crypt":
        key = site.static_key()
        return {"kind": wrap, "path": key}, ["--tls-crypt", key]
    if wrap == "tls-crypt-v2":
        paths = [str(site.net.directory / name) for name in ("v2-server.key", "v2-client.key")]
        site.ours.run("openvpn", "--genkey", "tls-crypt-v2-server", paths[0])
        site.ours.run("openvpn", "--tls-crypt-v2", paths[0], "--genkey", "tls-crypt-v2-client", paths[1])
        mine, other = paths if server else paths[::-1]
        kind = "tls-crypt-v2-server" if server else "tls-crypt-v2-client"
        return {"kind": kind, "path": mine}, ["--tls-crypt-v2", other]
    return None, []


def drops(link: Process) -> dict[str, int]:
    """What our end has not taken, by reason."""
    stdin = link._process.stdin
    assert stdin is not None
    stdin.write(b"drops\n")
    stdin.flush()
    counted: dict[str, int] = ast.literal_eval(link.expect("^drops").removeprefix("drops "))
    return counted


# Pairwise: every two values of different columns meet in some row.
TABLE = [
    ("udp", "tap", "none", "AES-256-GCM", "1.3", False),
    ("udp", "tun", "tls-auth", "CHACHA20-POLY1305", "1.2", False),
    ("udp", "tap", "tls-crypt", "AES-128-GCM", "1.3", True),
    ("udp", "tun", "tls-crypt-v2", "AES-256-GCM", "1.2", True),
    ("tcp", "tun", "none", "AES-128-GCM", "1.2", True),
    ("tcp", "tap", "tls-auth", "AES-256-GCM", "1.3", True),
    ("tcp", "tun", "tls-crypt", "CHACHA20-POLY1305", "1.3", False),
    ("tcp", "tap", "tls-crypt-v2", "AES-128-GCM", "1.2", False),
    ("udp", "tap", "tls-crypt-v2", "CHACHA20-POLY1305", "1.3", False),
    ("udp", "tun", "tls-crypt", "AES-256-GCM", "1.2", False),
    ("udp", "tap", "none", "CHACHA20-POLY1305", "1.2", True),
    ("tcp", "tun", "tls-auth", "AES-128-GCM", "1.3", False),
    ("udp", "tap", "none", "AES-256-CBC", "1.3", True),
    ("tcp", "tun", "tls-crypt", "AES-256-CBC", "1.2", False),
    ("tcp", "tap", "tls-auth", "AES-256-CBC", "1.3", True),
    ("udp", "tun", "tls-crypt-v2", "AES-256-CBC", "1.2", True),
]


@pytest.fixture(scope="module")
def tried(request: pytest.FixtureRequest) -> Iterator[dict[tuple[object, ...], bool]]:
    """Which rows of the table have been tried, and whether they passed; shown at the end."""
    rows: dict[tuple[object, ...], bool] = {}
    yield rows
    titles = ("transport", "device", "wrapping", "cipher", "TLS", "openvpn is", "")
    shown = [
        (*map(str, row[:-1]), "client" if row[-1] else "server", "ok" if passed else "FAILED")
        for row, passed in rows.items()
    ]
    lines = ["".join(f"{word:<19}" for word in line).rstrip() for line in (titles, *shown)]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n\nTLS against openvpn, {len(rows)} rows:\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(("proto", "kind", "wrap", "cipher", "version", "server"), TABLE)
def test_two_equal_ends(
    site: Site,
    tried: dict[tuple[object, ...], bool],
    proto: str,
    kind: str,
    wrap: str,
    cipher: str,
    version: str,
    server: bool,
) -> None:
    row = (proto, kind, wrap, cipher, version, server)
    tried[row] = False
    ours, theirs = wrapping(site, wrap, server=server)
    role = ["--tls-client"] if server else ["--tls-server", "--dh", "none"]
    if proto == "udp":
        transport = EQUAL
    elif server:
        transport = ["--proto", "tcp4-client", "--remote", "10.1.0.1", str(PORT), "--nobind"]
    else:
        transport = ["--proto", "tcp4-server", "--port", str(PORT)]
    stock = site.openvpn(
        *role, *transport, *device(kind), *theirs, "--data-ciphers", cipher, "--tls-version-max", version,
        usage="client" if server else "server",
    )  # fmt: skip
    link = site.tmelink(
        server=server,
        wrap=ours,
        addresses=[f"{OURS}/24"],
        settings={
            "kind": "ethernet" if kind == "tap" else "ip",
            "stream": proto == "tcp",
            "accepted": [cipher],
        },
    )
    up = link.expect("event Up")
    assert f"TLSv{version}" in up
    assert cipher in up
    stock.expect("Initialization Sequence Completed")
    site.ours.ping(THEIRS, count=5)
    site.theirs.ping(OURS, count=5, size=4000)
    assert not re.search("used inconsistently|is present in", stock.output)
    assert "event Notice" not in link.output
    harmless = {"no keys yet", "repeated control packet", "no keys for a data packet"}
    assert set(drops(link)) <= harmless
    tried[row] = True


@pytest.mark.parametrize(
    ("stock_options", "settings"),
    [
        (["--comp-lzo", "no"], {"framing": "comp-lzo no"}),
        (["--compress", "stub-v2"], {"framing": "stub-v2"}),
        (["--fragment", "700"], {"fragment": 700}),
        (
            ["--fragment", "700", "--data-ciphers", "AES-128-CBC", "--auth", "SHA256"],
            {"fragment": 700, "accepted": ["AES-128-CBC"], "auth": "SHA256"},
        ),
    ],
)
def test_framing_and_fragments(site: Site, stock_options: list[str], settings: dict[str, Any]) -> None:
    stock = site.openvpn("--tls-server", "--dh", "none", *EQUAL, *device("tap"), *stock_options)
    link = site.tmelink(server=False, addresses=[f"{OURS}/24"], settings=settings)
    link.expect("event Up")
    stock.expect("Initialization Sequence Completed")
    with site.ours.capture("eth0", "udp") as capture:
        site.ours.ping(THEIRS, count=3, size=4000)
        site.theirs.ping(OURS, count=3, size=4000)
    if "fragment" in settings:
        longest = max(len(packet) for packet in capture.packets) - 14 - 28
        assert 500 < longest <= 700
    assert not re.search("used inconsistently|is present in", stock.output)
    assert "event Notice" not in link.output


@pytest.mark.parametrize("wrap", ["none", "tls-crypt", "tls-crypt-v2"])
@pytest.mark.parametrize("kind", ["tap", "tun"])
def test_a_client_of_a_stock_server(site: Site, wrap: str, kind: str) -> None:
    ours, theirs = wrapping(site, wrap, server=False)
    stock = site.openvpn(
        "--server", "10.9.0.0", "255.255.255.0", "--topology", "subnet", "--dh", "none", "--proto", "udp4",
        "--port", str(PORT), "--dev", f"{kind}0", "--dev-type", kind, "--keepalive", "10", "60",
        "--push", "route 10.77.0.0 255.255.0.0", *theirs,
    )  # fmt: skip
    stock.expect("Initialization Sequence Completed")
    mode = {"mode": "pull", "kind": "ethernet" if kind == "tap" else "ip"}
    link = site.tmelink(server=False, wrap=ours, settings=mode, local_port=0)
    pushed = link.expect("event Pushed")
    for option in ("ifconfig 10.9.0.2", "ping 10", "peer-id 0", "cipher AES-256-GCM", "route 10.77.0.0"):
        assert option in pushed
    link.expect("event Up")
    site.ours.ping("10.9.0.1", count=5)
    site.theirs.ping("10.9.0.2", count=5, size=4000)


@pytest.mark.parametrize("right", [True, False])
def test_user_name_and_password_at_a_stock_server(site: Site, right: bool) -> None:
    script = site.file("verify.sh", b'#!/bin/sh\ngrep -qx "$(sed -n 1p $1):$(sed -n 2p $1)" "$0.users"\n')
    Path(script).chmod(0o700)
    site.file("verify.sh.users", b"joe:correct horse\n")
    stock = site.openvpn(
        "--server", "10.9.0.0", "255.255.255.0", "--dh", "none", "--proto", "udp4", "--port", str(PORT),
        "--dev", "tap0", "--dev-type", "tap", "--script-security", "2",
        "--auth-user-pass-verify", script, "via-file",
    )  # fmt: skip
    stock.expect("Initialization Sequence Completed")
    password = "correct horse" if right else "wrong horse"
    link = site.tmelink(
        server=False, local_port=0, settings={"mode": "pull", "credentials": ["joe", password]}
    )
    if right:
        link.expect("event Up")
        site.ours.ping("10.9.0.1")
    else:
        link.expect("event AuthFailed")
        link.expect("event Exit")
    assert password not in link.output


@pytest.mark.parametrize("right", [True, False])
def test_a_stock_client_of_ours(site: Site, right: bool) -> None:
    login = site.file("login", b"joe\n" + (b"correct horse" if right else b"wrong horse") + b"\n")
    link = site.tmelink(
        server=True,
        addresses=[f"{OURS}/24"],
        settings={"mode": "push", "peer_id": 3, "ask_password": True},
        users={"joe": "correct horse"},
        push=["route-gateway 10.9.0.1", "ifconfig 10.9.0.2 255.255.255.0", "ping 5", "ping-restart 30"],
    )
    link.expect("running")
    stock = site.openvpn(
        "--client", "--dev", "tap0", "--dev-type", "tap", "--remote", "10.1.0.1", str(PORT), "udp4",
        "--nobind", "--auth-user-pass", login, usage="client",
    )  # fmt: skip
    if right:
        stock.expect("Initialization Sequence Completed")
        assert "peer-id 3" in stock.output
        site.theirs.ping(OURS, count=5, size=4000)
    else:
        stock.expect("AUTH_FAILED,wrong password")


@pytest.mark.parametrize("server", [True, False])
def test_keys_are_renewed_under_traffic_without_loss(site: Site, server: bool) -> None:
    role = ["--tls-client"] if server else ["--tls-server", "--dh", "none"]
    stock = site.openvpn(
        *role, *EQUAL, *device("tap"), "--reneg-sec", "4", usage="client" if server else "server"
    )
    link = site.tmelink(server=server, addresses=[f"{OURS}/24"], settings={"reneg_sec": 6})
    link.expect("event Up")
    stock.expect("Initialization Sequence Completed")
    said = site.ours.run("ping", "-c", "700", "-i", "0.02", "-W", "2", "-q", THEIRS)
    assert " 0% packet loss" in said, said
    assert len(re.findall("TLS: soft reset", stock.output)) >= 2
    assert not re.search("bad packet ID|decrypt error|out of sync", stock.output, re.IGNORECASE)


def test_known_by_fingerprint_alone(site: Site) -> None:
    a, b = generate("a", time.time()), generate("b", time.time())
    paths = [
        (site.file(f"{name}.crt", pair.certificate), site.file(f"{name}.key", pair.private_key))
        for name, pair in (("a", a), ("b", b))
    ]
    stock = site.theirs.start(
        "openvpn", "--verb", "4", "--tls-server", "--dh", "none", *EQUAL, *device("tap"),
        "--cert", paths[1][0], "--key", paths[1][1], "--peer-fingerprint", a.fingerprint,
    )  # fmt: skip
    config = {"files": {"ca": paths[0][0]}, "rules": {"fingerprints": [b.fingerprint]}}
    files = {"certificate": paths[0][0], "private_key": paths[0][1]}
    wanted = {
        "files": files, "rules": config["rules"], "settings": {"server": False}, "device": "tme0",
        "address": ["10.1.0.2", PORT], "addresses": [f"{OURS}/24"],
    }  # fmt: skip
    path = site.file("peer.json", json.dumps(wanted).encode())
    link = site.ours.start(sys.executable, "-W", "error", str(PEER), path)
    link.expect("event Up")
    stock.expect("Initialization Sequence Completed")
    site.ours.ping(THEIRS)


@pytest.mark.parametrize("server", [True, False])
def test_an_expired_certificate_is_told(site: Site, server: bool) -> None:
    usage = "client" if server else "server"
    old = site.pair("old", site.authority.issue("old", usage, days=3, begin=-5))
    role = ["--tls-client"] if server else ["--tls-server", "--dh", "none"]
    site.openvpn(*role, *EQUAL, *device("tap"), cert=old)
    link = site.tmelink(server=server)
    assert "has expired" in link.expect("event (Notice|Restart)")


def test_the_clocks_of_both_ends_may_differ(site: Site) -> None:
    key = site.static_key()
    site.openvpn("--tls-server", "--dh", "none", *EQUAL, *device("tap"), "--tls-crypt", key)
    hours = 20 * 3600
    link = site.tmelink(
        server=False, clock=-hours, addresses=[f"{OURS}/24"], wrap={"kind": "tls-crypt", "path": key}
    )
    link.expect("event Up")
    site.ours.ping(THEIRS)


def test_a_stock_client_says_goodbye(site: Site) -> None:
    link = site.tmelink(server=True, addresses=[f"{OURS}/24"])
    stock = site.openvpn(
        "--tls-client", *EQUAL, *device("tap"), "--explicit-exit-notify", "1", usage="client"
    )
    link.expect("event Up")
    stock.expect("Initialization Sequence Completed")
    stock.stop()
    link.expect("event Restart.*exits")


@pytest.mark.parametrize("wrap", ["none", "tls-crypt-v2"])
def test_three_stock_clients_and_one_of_ours_at_our_server(net: Net, wrap: str) -> None:
    *hosts, _ = net.internet(5)
    site = Site(net, hosts[0], hosts[1], Authority(time.time()))
    ours, theirs = wrapping(site, wrap, server=True)
    server = site.tmelink(
        server={"max_clients": 8},
        cert=site.pair("server", site.authority.issue("server", "server")),
        settings={"server": True, "ping": 5, "ping_restart": 30},
        wrap=ours,
        addresses=["10.9.0.1/24"],
        push=["ifconfig 10.9.0.@ 255.255.255.0", "route-gateway 10.9.0.1", "ping 5", "ping-restart 30"],
    )
    server.expect("running")
    addresses = []
    for number, host in enumerate(hosts[1:4]):
        site.theirs = host
        stock = site.openvpn(
            "--client", "--dev", "tap0", "--dev-type", "tap", "--remote", "10.1.0.1", str(PORT), "udp4",
            "--nobind", "--remote-cert-tls", "server", *theirs,
            cert=site.pair(f"stock{number}", site.authority.issue(f"stock{number}", "client")),
        )  # fmt: skip
        stock.expect("Initialization Sequence Completed")
        addresses.append(f"10.9.0.{10 + number}")
    key = {"kind": "tls-crypt-v2-client", "path": theirs[1]} if theirs else None
    site.ours, site.theirs = hosts[4], hosts[0]
    link = site.tmelink(server=False, wrap=key, settings={"mode": "pull"}, local_port=0)
    link.expect("event Up")
    addresses.append("10.9.0.13")
    for host in hosts:
        for address in ["10.9.0.1", *addresses]:
            host.ping(address, count=2)


def test_a_stock_client_that_moves_is_followed(site: Site) -> None:
    server = site.tmelink(
        server={"max_clients": 4},
        cert=site.pair("server", site.authority.issue("server", "server")),
        settings={"server": True},
        addresses=["10.9.0.1/24"],
        push=["ifconfig 10.9.0.@ 255.255.255.0", "ping 1", "ping-restart 30"],
    )
    server.expect("running")
    stock = site.openvpn(
        "--client", "--dev", "tap0", "--dev-type", "tap", "--remote", "10.1.0.1", str(PORT), "udp4",
        "--nobind", usage="client",
    )  # fmt: skip
    stock.expect("Initialization Sequence Completed")
    site.theirs.ping("10.9.0.1")
    site.theirs.run("ip", "addr", "flush", "dev", "eth0")
    site.theirs.run("ip", "addr", "add", "10.1.0.77/24", "dev", "eth0")
    site.theirs.ping("10.9.0.1")
    site.ours.ping("10.9.0.10")
    assert "Restart" not in server.output


def test_either_side_may_restart(site: Site) -> None:
    options = [
        "--server", "10.9.0.0", "255.255.255.0", "--topology", "subnet", "--dh", "none", "--proto", "udp4",
        "--port", str(PORT), "--dev", "tap0", "--dev-type", "tap", "--keepalive", "1", "4",
    ]  # fmt: skip
    stock = site.openvpn(*options)
    stock.expect("Initialization Sequence Completed")
    link = site.tmelink(server=False, settings={"mode": "pull"}, local_port=0)
    link.expect("event Up")
    site.ours.ping("10.9.0.1")
    stock.kill()
    link.expect("event Restart.*--ping-restart")
    seen = len(link.lines)
    again = site.openvpn(*options)
    again.expect("Initialization Sequence Completed")
    link.expect("event Up", since=seen)
    site.ours.run("ip", "neigh", "flush", "dev", "tme0")  # the new TAP device has another MAC address
    site.ours.ping("10.9.0.1")
    link.kill()
    returned = site.tmelink(server=False, settings={"mode": "pull"}, local_port=0)
    returned.expect("event Up")
    site.ours.ping("10.9.0.1")


def test_nothing_of_a_frame_shows_on_the_wire(site: Site) -> None:
    site.openvpn("--tls-server", "--dh", "none", *EQUAL, *device("tap"))
    pattern = "746d656c696e6b2d6973206865726521".replace(" ", "")
    with site.ours.capture("eth0", "udp") as capture:
        link = site.tmelink(server=False, addresses=[f"{OURS}/24"])
        link.expect("event Up")
        site.ours.ping(THEIRS, p=pattern)
    wire = b"".join(capture.packets)
    assert len(capture.packets) > 10
    for known in (bytes.fromhex(pattern), b"IV_CIPHERS", b"dev-type tap", bytes([10, 9, 0, 1, 10, 9, 0, 2])):
        assert known not in wire


@pytest.mark.needs("tshark")
def test_another_program_reads_our_packets_as_openvpns(site: Site) -> None:
    reader = site.ours.start(
        "tshark", "-i", "eth0", "-l", "-f", f"udp port {PORT}", "-d", f"udp.port=={PORT},openvpn",
        "-Y", "ip.src == 10.1.0.1", "-T", "fields", "-e", "openvpn.opcode", "-e", "openvpn.sessionid",
        "-e", "openvpn.mpid", "-e", "openvpn.peerid", "-e", "_ws.malformed",
    )  # fmt: skip
    reader.expect("Capturing on")
    site.openvpn("--tls-server", "--dh", "none", *EQUAL, *device("tap"))
    link = site.tmelink(server=False, addresses=[f"{OURS}/24"])
    link.expect("event Up")
    site.ours.ping(THEIRS)
    reader.expect("^0x09")
    read = [[*line.split("\t"), "", "", "", ""] for line in reader.lines if line.startswith("0x")]
    assert {row[0] for row in read} >= {"0x07", "0x04", "0x05", "0x09"}
    assert not any(row[4] for row in read)
    controls = [row for row in read if row[0] in ("0x07", "0x04", "0x05")]
    assert len({row[1] for row in controls}) == 1
    assert next(row[2] for row in read if row[0] == "0x07") == "0"
    assert len({row[3] for row in read if row[0] == "0x09"}) == 1
