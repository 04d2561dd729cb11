"""`tmelink routes`: the samples' plans as a person reads them, and files that cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmelink.cli import main
from tmelink.resources import folder

HERE = Path(__file__).parent / "routes"
MACHINES = folder("machines")

SAMPLES = [
    ("l3-client.conf", "traveller", None),
    ("l3-server.conf", "office", None),
    ("two-identities.conf", "traveller", "laptop"),
    ("two-identities.conf", "corporate", "office"),
    ("autonat.conf", "traveller", "one"),
]


def routes(capsys: pytest.CaptureFixture[str], file: Path, *options: str) -> tuple[int, str]:
    status = main(["routes", str(file), *options])
    return status, capsys.readouterr().out


@pytest.mark.parametrize(("name", "facts", "host"), SAMPLES)
def test_the_plan_of_a_sample_is_the_one_that_is_written_down(
    name: str, facts: str, host: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a change that is meant: put what is printed into the file, and read it as a user would."""
    options = ["--facts", str(HERE / f"{facts}.facts"), *(["--host", host] if host else [])]
    status, said = routes(capsys, MACHINES / name, *options)
    golden = HERE / f"{Path(name).stem}{f'.{host}' if host else ''}.txt"
    assert said.replace(f"{MACHINES}/", "") == golden.read_text()
    assert status == 0


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = str(HERE / "traveller.facts")
    status, said = routes(capsys, MACHINES / "l3-client.conf", "--facts", facts, "--json")
    data = json.loads(said)
    assert status == 0
    assert data["warnings"] == []
    (interface,) = data["interfaces"]
    assert interface["element"] == "tun0"
    assert interface["link"] == "link0"
    assert {
        "do": "add",
        "what": "route",
        "which": "203.0.113.5/32 via 198.51.100.1 dev eth0",
        "reason": "the peer's public address: the link's own packets bypass the tunnel",
    } in interface["steps"]


def test_what_cannot_work_is_flagged_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.conf"
    link = "tme/host/openvpn/socket/link --dev tun --nobind --remote 203.0.113.5"
    file.write_text(
        f"t0: tme/host/tun/tun interface tun0\nt1: tme/host/tun/tun interface tun1\n"
        f"l0 at t0: {link} --ifconfig 10.8.0.2 10.8.0.1 --route 198.51.100.0 255.255.255.128\n"
        f"l1 at t1: {link} --ifconfig 10.9.0.2 10.9.0.1 --route 203.0.113.0 255.255.255.0 "
        "--route 198.51.100.0 255.255.255.128\n"
    )
    status, said = routes(capsys, file, "--facts", str(HERE / "traveller.facts"))
    assert status == 1
    assert "tunnel network 198.51.100.0/25 overlaps 198.51.100.0/24 on eth0" in said
    assert "the route to 203.0.113.0/24 is left out: the peer 203.0.113.5 is in it" in said
    assert "tun0 and tun1 both claim the network 198.51.100.0/25" in said


def test_a_file_without_interfaces_has_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = routes(capsys, MACHINES / "hello.conf")
    assert status == 0
    assert said == "nothing: no interface of the file has addresses, routes or rules to set\n"


@pytest.mark.parametrize("text", ["route default via", "address 1.2.3.4/33 dev eth0", "rule 1"])
def test_facts_that_cannot_be_read(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = tmp_path / "facts"
    facts.write_text(f"# first\n{text}\n")
    assert main(["routes", str(MACHINES / "hello.conf"), "--facts", str(facts)]) == 1
    assert f"{facts}:2: {text}:" in capsys.readouterr().err


@pytest.mark.parametrize("proxy", ["--http-proxy 203.0.113.80 3128", "--socks-proxy 203.0.113.80 1080"])
def test_the_host_route_is_the_proxys_where_there_is_one(
    proxy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `tmelink run` sets it: the link's own packets go to the proxy and not to the peer."""
    file = tmp_path / "proxy.conf"
    file.write_text(
        "tun0: tme/host/tun/tun interface tun0\n"
        "link0 at tun0: tme/host/openvpn/socket/link --dev tun --proto tcp-client --remote 203.0.113.5 "
        f"--nobind --ifconfig 10.8.0.2 10.8.0.1 --redirect-gateway def1 {proxy}\n"
    )
    _status, said = routes(capsys, file, "--facts", str(HERE / "traveller.facts"))
    assert "route   203.0.113.80/32 via 198.51.100.1 dev eth0" in said
    assert "203.0.113.5" not in said
