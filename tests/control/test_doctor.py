"""Each finding of `tmelink doctor` is provoked, and a table of what was found is printed."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.machines import frame
from tests.support.netns import Net, network
from tests.support.pki import Authority
from tests.support.sockets import bare_peer, free_port
from tmelink import machine
from tmelink.control.all_findings import MODULES, findings
from tmelink.control.findings import Finding, Subject, links
from tmelink.openvpn import keys
from tmelink.runtime import Lab

LINK = "tme/host/openvpn/socket/link --dev tap"
PORT = free_port()
LOCAL = f"le0: tmelink/nic\nlink0 at le0: {LINK} --local 127.0.0.1 --lport {PORT} --ping 1"
STATIC = "--secret {folder}/KEY --cipher AES-256-CBC"

TMELINK = (sys.executable, "-m", "tmelink")

TABLE: list[Finding] = []


async def diagnosed(
    text: str, kind: str, act: Callable[[], object] = lambda: None, element: str | None = None
) -> Finding:
    """The finding of a running lab, once there is one of the kind; `act` is repeated until then."""
    async with asyncio.timeout(20), Lab(machine.load(text), keep_going=True) as lab:
        while True:
            act()
            found = await findings(Subject(lab.machine, running=True))
            assert found == sorted(found, key=lambda each: -each.likelihood)
            for finding in found:
                if finding.kind == kind and element in (None, finding.element):
                    TABLE.append(finding)
                    return finding
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def _table(request: pytest.FixtureRequest) -> object:
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\nfinding                    evidence")
        for finding in TABLE:
            print(f"{finding.kind:<26} {finding.evidence[:80]}")


def kinds() -> set[str]:
    """Every kind of finding, from the source: what is given to `Finding`, and those that drops stand for."""
    found = {kind for kind, _likelihood in links.BY_REASON.values()}
    for module in MODULES:
        tree = ast.parse(Path(str(module.__file__)).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                first = node.args[0]
                found |= {str(first.value)} if isinstance(first, ast.Constant) else set()
    return found


def test_the_page_on_troubleshooting_has_a_heading_for_every_kind_of_finding() -> None:
    page = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text()
    assert len(kinds()) > 20
    assert set(re.findall(r"^### (.*)$", page, re.MULTILINE)) == kinds()


def test_a_closed_port() -> None:
    found = asyncio.run(diagnosed(f"{LOCAL} --remote 127.0.0.1 {free_port()}\n", "port closed"))
    assert "--lport" in found.remedy


def test_silence() -> None:
    with bare_peer() as peer:
        remote = peer.getsockname()[1]
        found = asyncio.run(diagnosed(f"{LOCAL} --remote 127.0.0.1 {remote}\n", "nothing heard"))
    assert "none received" in found.evidence


def test_a_wrong_source_address_is_named() -> None:
    with bare_peer() as peer, bare_peer() as stranger:
        text = f"{LOCAL} --remote 127.0.0.1 {peer.getsockname()[1]}\n"

        def send() -> None:
            stranger.sendto(frame(1), ("127.0.0.1", PORT))

        found = asyncio.run(diagnosed(text, "wrong source address", send))
        assert f"127.0.0.1:{stranger.getsockname()[1]}" in found.text


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    text = f"{LOCAL} --remote nowhere.invalid\n"
    found = asyncio.run(findings(Subject(machine.load(text), running=False)))
    (named,) = [each for each in found if each.kind == "name does not resolve"]
    TABLE.append(named)
    assert "nowhere.invalid" in named.evidence


def test_an_end_that_waits() -> None:
    assert "--remote" in asyncio.run(diagnosed(f"{LOCAL}\n", "both ends wait")).remedy


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (" --secret ONE --cipher AES-256-CBC", "keys differ"),
        (" --fragment 1200", "ciphers or framing differ"),
    ],
)
def test_what_the_peer_sends_does_not_fit(options: str, kind: str, tmp_path: Path) -> None:
    from tmelink.cli import main

    assert main(["genkey", "secret", str(tmp_path / "one")]) == 0
    with bare_peer() as peer:
        remote = peer.getsockname()[1]
        text = f"{LOCAL} --remote 127.0.0.1 {remote}{options.replace('ONE', str(tmp_path / 'one'))}\n"

        def send() -> None:
            peer.sendto(b"\xff" * 200, ("127.0.0.1", PORT))

        asyncio.run(diagnosed(text, kind, send))


def test_a_port_that_is_taken_and_by_whom() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", PORT))
        text = f"{LOCAL} --remote 127.0.0.1 9\n"
        found = asyncio.run(diagnosed(text, "port taken"))
        assert "(process " in found.text
        before = asyncio.run(findings(Subject(machine.load(text), running=False)))
        assert "port taken" in {each.kind for each in before}


def identities(folder: Path, **validity: tuple[int, int]) -> None:
    """An authority, and certificates of a server and of a client; `validity` as `Authority.issue` has it."""
    authority = Authority(time.time())
    (folder / "ca").write_bytes(authority.own.pem)
    for name in ("server", "client"):
        pair = authority.issue(name, name, *validity.get(name, (365, -1)))
        (folder / f"{name}.crt").write_bytes(pair.pem)
        (folder / f"{name}.key").write_bytes(pair.key_pem)
        (folder / f"{name}.key").chmod(0o600)


@pytest.mark.parametrize("bad", ["server", "client"])
@pytest.mark.parametrize(("days", "begin"), [(1, -30), (365, 30)], ids=["expired", "not valid yet"])
def test_a_certificate_and_a_clock_that_do_not_agree(bad: str, days: int, begin: int, tmp_path: Path) -> None:
    """Both ends know: the one that refuses the certificate, and the one whose it is."""
    identities(tmp_path, **{bad: (days, begin)})
    ports = {"server": free_port(), "client": free_port()}
    text = "".join(
        f"n{own}: tmelink/nic\n{own} at n{own}: {LINK} --local 127.0.0.1 --lport {ports[own]} "
        f"--remote 127.0.0.1 {ports[other]} {SECURED.format(role=own, folder=tmp_path)} --connect-retry 1\n"
        for own, other in (("server", "client"), ("client", "server"))
    )
    for element in ("server", "client"):
        found = asyncio.run(diagnosed(text, "clock skew", element=element))
        assert "clocks" in found.remedy


@pytest.mark.needs_root
@pytest.mark.needs("setpriv")
def test_an_element_that_lacks_a_capability(net: Net, tmp_path: Path) -> None:
    """In a process of its own: what gives up privileges, and starts programs without them, is for good."""
    space = net.namespace()
    (tmp_path / "lab.conf").write_text("tap0: tme/host/tun/tap\n")
    name = f"bare{os.getpid()}"
    bare = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    lab = space.start(
        *bare, *TMELINK, "run", "--keep-going", "--name", name, str(tmp_path / "lab.conf"),
    )  # fmt: skip
    lab.expect("running:")
    said = json.loads(space.run(*TMELINK, "doctor", name, "--json", check=False))
    (found,) = [Finding(**each) for each in said if each["kind"] == "privileges"]
    TABLE.append(found)
    assert "CAP_NET_ADMIN" in found.evidence
    assert "docs/privileges.md" in found.remedy


SECURED = "--tls-{role} --ca {folder}/ca --cert {folder}/{role}.crt --key {folder}/{role}.key"


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["plain", "static key", "TLS", "OpenVPN"])
def test_a_path_that_swallows_large_packets(kind: str, net: Net, tmp_path: Path) -> None:
    """A router that drops what is longer than its link and says nothing, found over the running link."""
    a, b = net.pair()
    b.run("nft", "add table ip t; add chain ip t c { type filter hook prerouting priority -500; }")
    b.run("nft", "add rule ip t c udp dport 1194 meta length > 1300 drop")
    b.run("nft", "add rule ip t c ip frag-off & 0x1fff != 0 drop")
    key = tmp_path / "key"
    key.write_bytes(keys.generate(os.urandom) if kind != "plain" else b"")
    key.chmod(0o600)
    secret = f" --secret {key} --cipher AES-256-CBC" if kind in ("static key", "OpenVPN") else ""
    if kind == "TLS":
        identities(tmp_path)
    ends = {role: SECURED.format(role=role, folder=tmp_path) for role in ("server", "client")}
    mine, other = (ends["server"], ends["client"]) if kind == "TLS" else (secret, secret)
    if kind == "OpenVPN":
        peer = b.start(
            "openvpn", "--dev", "null", "--dev-type", "tap", "--local", "10.1.0.2", "--remote", "10.1.0.1",
            "--ping", "1", *secret.split(),
        )  # fmt: skip
        peer.expect("UDPv4 link remote")
    else:
        b.tmelink(
            f"le0: tmelink/nic\nlink0 at le0: {LINK} --local 10.1.0.2 --remote 10.1.0.1 --ping 1 {other}\n"
        )
    # The rule sees datagrams one by one.
    own = "--local 10.1.0.1 --remote 10.1.0.2 --udp-offload off --ping 1"
    text = f"le0: tmelink/nic\nlink0 at le0: {LINK} {own} {mine}\n"
    found = a.call(lambda: diagnosed(text, "MTU too large"))
    measured = re.search(r"packets of (\d+) bytes arrive at the peer, packets of 1500 do not", found.evidence)
    assert measured is not None
    assert 1150 < int(measured[1]) <= 1300 - 28 - 14


def test_addresses_of_different_networks() -> None:
    text = "sw0: tmelink/switch\n" + "".join(
        f"h{n} at sw0: tmelink/host inet 10.0.{n}.1/24\n" for n in (1, 2)
    )
    assert asyncio.run(diagnosed(text, "wrong network")).element == "h2"


def test_a_loop() -> None:
    switches = "sw0: tmelink/switch\nsw1 at sw0: tmelink/switch\nsw1 at sw0\n"
    text = f"{switches}h0 at sw0: tmelink/host inet 10.0.0.1/24\n"
    asyncio.run(diagnosed(text, "loop or MAC conflict"))


def test_two_machines_with_one_address() -> None:
    text = "sw0: tmelink/switch\n" + "".join(
        f"h{n} at sw0: tmelink/host inet 10.0.0.1/24 mac 02:00:00:00:00:0{n}\n" for n in (1, 2)
    )
    asyncio.run(diagnosed(text, "address conflict"))


def test_warnings_of_a_file() -> None:
    text = f"link0: {LINK} --local 127.0.0.1 --remote 127.0.0.1 9\n"
    found = asyncio.run(findings(Subject(machine.load(text), running=False)))
    TABLE.extend(each for each in found if each.kind == "file")
    assert "file" in {each.kind for each in found}


@pytest.fixture
def net() -> object:
    with network() as net:
        yield net


@pytest.mark.needs_root
def test_what_a_network_of_its_own_has(net: Net) -> None:
    """No route; a host that does not answer; firewalls; rp_filter; a bare TAP."""
    a, b = net.pair()
    own = f"le0: tmelink/nic\nlink0 at le0: {LINK} --local 10.1.0.1 --ping 1 --remote"
    b.run("nft", "add table ip t; add chain ip t c { type filter hook input priority 0; }")
    b.run("nft", "add rule ip t c udp dport 1194 reject with icmp type admin-prohibited")
    for text, kind in (
        (f"{own} 192.0.2.1\n", "no route"),
        (f"{own} 10.1.0.77\n", "host unreachable"),
        (f"{own} 10.1.0.2\n", "refused by a firewall"),
    ):
        a.call(partial(diagnosed, text, kind))
    a.run("nft", "add table ip t; add chain ip t c { type filter hook input priority 0; policy drop; }")
    a.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
    assert "ip t c" in a.call(lambda: diagnosed(f"{own} 10.1.0.2\n", "host firewall")).evidence
    assert "eth0" in a.call(lambda: diagnosed(f"{own} 10.1.0.2\n", "rp_filter")).remedy
    tap = f"tap0: tme/host/tun/tap\nlink0 at tap0: {LINK} --local 10.1.0.1 --remote 10.1.0.2\n"
    a.call(lambda: diagnosed(tap, "no address"))


def test_the_command_says_so_and_its_exit_code_too(tmp_path: Path) -> None:
    (tmp_path / "lab.conf").write_text(f"{LOCAL} --remote nowhere.invalid\n")
    done = subprocess.run(
        [sys.executable, "-m", "tmelink", "doctor", "lab.conf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert done.stdout.startswith("1. name does not resolve: link0: ")
    assert "remedy:   correct the name" in done.stdout
