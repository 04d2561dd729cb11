"""Links with TLS through machine files: the secure sample, and cells of the table against a stock openvpn."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.e2e.secured import Site
from tests.support.netns import Namespace, Net, Process
from tests.support.pki import Authority
from tmelink.openvpn.tls.keygen import generate
from tmelink.resources import folder

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn")]

UP = "Initialization Sequence Completed"
LINK = "tme/host/openvpn/socket/link"
OURS, THEIRS = "10.9.0.1", "10.9.0.2"


@pytest.fixture
def site(net: Net) -> Site:
    return Site(net)


def link(here: Namespace, options: str, *, until: str = "running:") -> Process:
    return here.tmelink(
        f"own: tme/host/tun/tap interface own0 inet {OURS}/24\nlink at own: {LINK} --dev tap {options}\n",
        "-v",
        until=until,
    )


def secrets_in(directory: Path) -> set[str]:
    """Every line of every private key file, and what stands in files of passwords."""
    found = set()
    for path in directory.rglob("*"):
        if path.suffix in (".key", ".pass"):
            found |= {
                line for line in path.read_text().splitlines() if "-----" not in line and "#" not in line
            }
    assert found
    return {line for line in found if line}


def assert_silent(net: Net, *processes: Process) -> None:
    """No key material in what was logged, nor in the arguments of any process."""
    arguments = net.command_lines()
    assert any(b"tmelink" in line for line in arguments)
    logged = "\n".join(process.output for process in processes)
    for secret in secrets_in(net.directory):
        assert secret not in logged
        assert not any(secret.encode() in line for line in arguments)


def test_the_secure_sample(net: Net) -> None:
    """What docs/secure-link.md says, typed."""
    one, two = net.pair()
    text = (folder("machines") / "secure-link.conf").read_text()
    fingerprints = {}
    for number, (name, here) in enumerate((("one", one), ("two", two)), 1):
        here.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
        (net.directory / name).mkdir()
        key = net.directory / name / name
        said = here.run(sys.executable, "-m", "tmelink", "keygen", str(key))
        fingerprints[name] = re.search(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", said)[0]  # type: ignore[index]
        assert Path(f"{key}.key").stat().st_mode & 0o777 == 0o600
    text = text.replace(":".join(["11"] * 32), fingerprints["one"])
    text = text.replace(":".join(["22"] * 32), fingerprints["two"])
    ends = []
    for name, here in (("one", one), ("two", two)):
        file = net.directory / name / "secure-link.conf"
        file.write_text(text)
        ends.append(here.start(sys.executable, "-m", "tmelink", "run", "-v", str(file), "--host", name))
    ends[0].expect(r"link0: up: .* two, TLSv1\.3, .* data AES-256-GCM")
    ends[1].expect("link1: up: .* one, ")
    for end in ends:
        end.expect("running:")
    with two.capture("eth0", "udp") as capture:
        one.ping("10.0.77.2", size=1000, p="5a")
    two.ping("10.0.77.1")
    assert capture.packets
    assert not any(b"\x5a" * 16 in packet for packet in capture.packets)
    assert_silent(net, *ends)
    for end in ends:
        assert end.stop() == 0, end.output
        assert "Traceback" not in end.output


CELLS = [
    ("udp", "ca", "tls-crypt", "AES-256-GCM", "client"),
    ("udp", "fingerprint", "none", "CHACHA20-POLY1305", "server"),
    ("tcp", "ca", "none", "AES-128-GCM", "server"),
    ("tcp", "fingerprint", "tls-crypt", "AES-256-CBC", "client"),
    ("udp", "ca", "tls-auth", "AES-256-CBC", "server"),
    ("tcp", "fingerprint", "tls-auth", "AES-256-GCM", "client"),
]


@pytest.mark.parametrize(("proto", "trust", "wrap", "cipher", "role"), CELLS)
def test_a_machine_file_against_openvpn(
    site: Site, proto: str, trust: str, wrap: str, cipher: str, role: str
) -> None:
    """We are the `role` of the handshake; of TCP the server is who waits."""
    a, b = site.net.pair()
    other = {"client": "server", "server": "client"}[role]
    if trust == "ca":
        mine, their = site.identity("ours", role), site.identity("theirs", other)
    else:
        pairs = {name: generate(name, site.authority.unix_time) for name in ("ours", "theirs")}
        files = {
            name: f"--cert {site.file(f'{name}.crt', pair.certificate)} "
            f"--key {site.file(f'{name}.key', pair.private_key)}"
            for name, pair in pairs.items()
        }
        mine = f"{files['ours']} --peer-fingerprint {pairs['theirs'].fingerprint}"
        their = f"{files['theirs']} --peer-fingerprint {pairs['ours'].fingerprint}"
    if wrap == "tls-crypt":
        key = site.static_key(a)
        mine, their = f"{mine} --tls-crypt {key}", f"{their} --tls-crypt {key}"
    elif wrap == "tls-auth":
        key = site.static_key(a)
        mine, their = f"{mine} --tls-auth {key} 0", f"{their} --tls-auth {key} 1"
    protos = {"udp": {"client": "udp", "server": "udp"}}.get(
        proto, {"client": "tcp-client", "server": "tcp-server"}
    )
    dh = {"client": "", "server": "--dh none"}
    peer = site.openvpn(
        b,
        f"--dev tap0 --ifconfig {THEIRS} 255.255.255.0 --proto {protos[other]} --remote {a.addresses[0]} "
        f"--tls-{other} {dh[other]} --data-ciphers {cipher} --connect-retry 1 1 {their}",
    )
    process = link(
        a,
        f"--local {a.addresses[0]} --remote {b.addresses[0]} --proto {protos[role]} --tls-{role} "
        f"--data-ciphers {cipher} {mine}",
        until=f"link: up: .*{cipher}",
    )
    process.expect("running:")
    peer.expect(UP)
    a.ping(THEIRS)
    b.ping(OURS, size=1400)
    assert_silent(site.net, process)
    assert process.stop() == 0, process.output


@pytest.mark.parametrize(
    ("ours", "theirs", "curve"),
    [("--tls-groups P-384", "", "secp384r1"), ("", "--tls-groups P-521", "secp521r1")],
)
def test_the_curve_that_one_end_insists_on(site: Site, ours: str, theirs: str, curve: str) -> None:
    a, b = site.net.pair()
    peer = site.openvpn(
        b,
        f"--dev tap0 --ifconfig {THEIRS} 255.255.255.0 --proto udp --remote {a.addresses[0]} --tls-client "
        f"{theirs} {site.identity('theirs', 'client')}",
    )
    link(
        a,
        f"--local {a.addresses[0]} --remote {b.addresses[0]} --tls-server {ours} "
        f"{site.identity('ours', 'server')}",
    ).expect("link: up")
    assert f"EC{curve}" in peer.expect("peer temporary key")
    a.ping(THEIRS)


def test_keys_change_under_traffic_and_nothing_is_lost(site: Site) -> None:
    a, b = site.net.pair()
    peer = site.openvpn(
        b,
        f"--dev tap0 --ifconfig {THEIRS} 255.255.255.0 --proto udp --remote {a.addresses[0]} --tls-client "
        f"--reneg-sec 0 {site.identity('theirs', 'client')}",
    )
    process = link(
        a,
        f"--local {a.addresses[0]} --remote {b.addresses[0]} --tls-server --reneg-sec 2 "
        f"{site.identity('ours', 'server')}",
        until="link: up",
    )
    peer.expect(UP)
    process.expect("running:")
    said = b.run("ping", "-c", "400", "-i", "0.02", "-s", "1200", OURS)
    assert "400 received" in said, said
    renewed = [line for line in peer.output.splitlines() if "Control Channel: TLSv1.3" in line]
    assert len(renewed) >= 4, peer.output


@pytest.mark.parametrize("kind", ["tap", "tun"])
def test_a_client_of_a_stock_server_with_user_and_password(site: Site, kind: str) -> None:
    a, b = site.net.pair()
    check = site.file("check", '#!/bin/sh\n[ "$(head -1 $1)" = amy ] && grep -q "^open sesame$" $1\n', 0o700)
    site.openvpn(
        b,
        f"--dev {kind}0 --server 10.8.0.0 255.255.255.0 --topology subnet --dh none --script-security 2 "
        f"--auth-user-pass-verify {check} via-file --auth-gen-token {site.identity('theirs', 'server')}",
        until=UP,
    )
    user = site.file("user.pass", "amy\nopen sesame\n")
    process = a.tmelink(
        f"own: tme/host/tun/{kind} interface own0\n"
        f"link at own: {LINK} --dev {kind} --client --remote {b.addresses[0]} --nobind --reneg-sec 2 "
        f"--auth-user-pass {user} {site.identity('ours', 'client')}\n",
        "-v",
        until="link: up",
    )
    process.expect("running:")
    said = b.run("ping", "-c", "250", "-i", "0.02", "-w", "30", "10.8.0.2")
    assert said.count("icmp_seq=250 ttl") == 1, said
    assert "SESS_ID" not in process.output
    assert_silent(site.net, process)
    assert process.stop() == 0, process.output


def test_a_wrong_password_ends_the_link_in_words(site: Site) -> None:
    a, b = site.net.pair()
    site.openvpn(
        b,
        "--dev tap0 --server 10.8.0.0 255.255.255.0 --dh none --script-security 2 "
        f"--auth-user-pass-verify /bin/false via-file {site.identity('theirs', 'server')}",
        until=UP,
    )
    user = site.file("user.pass", "amy\nwrong guess\n")
    mine = site.identity("ours", "client")
    process = link(
        a,
        f"--client --remote {b.addresses[0]} --nobind --auth-user-pass {user} {mine}",
        until="the server refuses this client.*check user and password",
    )
    process.stop()
    assert process.output.count("the server refuses this client") == 1
    assert "Traceback" not in process.output
    assert_silent(site.net, process)


WRONG = {
    "expired": "it has expired; is this machine's clock right",
    "not yet valid": "it is not valid yet; is this machine's clock right",
    "of another authority": "its issuer is not in --ca",
    "revoked": "it is revoked",
    "not the one": "its fingerprint .* is not among the expected ones",
    "of another name": "its name is 'theirs', expected 'amy'",
    "for another use": "its purpose does not allow this use",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_certificate_is_told(site: Site, wrong: str) -> None:
    """No crash, and the link goes on waiting."""
    a, b = site.net.pair()
    signer = (
        Authority(site.authority.unix_time, "Another authority")
        if wrong == "of another authority"
        else site.authority
    )
    begin, days = {"expired": (-5, 1), "not yet valid": (5, 10)}.get(wrong, (-5, 10))
    usage = "server" if wrong == "for another use" else "client"
    pair = signer.issue("theirs", usage, days=days, begin=begin)
    ca = site.file("ca.crt", site.authority.own.pem)
    theirs = f"--ca {ca} --cert {site.file('bad.crt', pair.pem)} --key {site.file('bad.key', pair.key_pem)}"
    site.openvpn(b, f"--dev tap0 --proto udp --remote {a.addresses[0]} --tls-client {theirs}")
    options = {
        "not the one": f"--peer-fingerprint {generate('other', site.authority.unix_time).fingerprint}",
        "revoked": f"--crl-verify {site.file('crl.pem', site.authority.crl(pair))}",
        "of another name": "--verify-x509-name amy name",
        "for another use": "--remote-cert-tls client",
    }.get(wrong, "")
    process = link(
        a,
        f"--local {a.addresses[0]} --remote {b.addresses[0]} --tls-server {site.identity('ours', 'server')} "
        f"{options}",
        until=f"certificate '.*CN=theirs.*' refused: {WRONG[wrong]}",
    )
    assert_silent(site.net, process)
    assert process.stop() == 0, process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("begin", "words"), [(-5, "has expired at"), (5, "is not valid before")], ids=["expired", "not yet valid"]
)
def test_an_own_certificate_that_every_peer_will_refuse_is_told(site: Site, begin: int, words: str) -> None:
    """A stock peer refuses it in silence, so it is said at the start."""
    a, b = site.net.pair()
    old = site.authority.issue("ours", "client", days=1, begin=begin)
    ca = site.file("ca.crt", site.authority.own.pem)
    cert, key = site.file("bad.crt", old.pem), site.file("bad.key", old.key_pem)
    process = link(
        a,
        f"--remote {b.addresses[0]} --tls-client --ca {ca} --cert {cert} --key {key}",
        until=f"this end's certificate 'C=CH, CN=ours' {words} 20.*; is this machine's clock right",
    )
    process.expect("running:")
    assert process.stop() == 0, process.output
