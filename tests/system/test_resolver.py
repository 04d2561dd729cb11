"""How the host's resolver is told of name servers; the programs are stand-ins that write down their words."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.aio import run
from tmelink.errors import ElementError
from tmelink.routing.dns import Dns, DnsAddress, DnsServer
from tmelink.system import journal, recovery, resolver

SPLIT = Dns(
    ("corp.example",),
    (
        DnsServer((DnsAddress(ip_address("192.0.2.1")),), transport="DoH"),
        DnsServer(
            (DnsAddress(ip_address("2001:db8::53"), 853),),
            ("corp.example", "lab.example"),
            "optional",
            "DoT",
            "n.example",
        ),
    ),
)

PLAIN = Dns(
    ("a.example", "b.example"),
    (
        DnsServer((DnsAddress(ip_address("192.0.2.9"), 5353),)),
        DnsServer(tuple(DnsAddress(ip_address(f"192.0.2.{at}")) for at in range(1, 5))),
    ),
)

ALL = Dns((), (DnsServer((DnsAddress(ip_address("192.0.2.1")),)),))


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a stand-in for resolvconf writes its words and its input."""
    said, program = tmp_path / "said", tmp_path / "bin" / "resolvconf"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >>{said}\n[ "$1" = -a ] && cat >>{said} || true\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(resolver, "CONFIGURATION", tmp_path / "resolv.conf")
    monkeypatch.setattr(journal, "directory", lambda: tmp_path / "journals")
    return said


def test_what_resolved_is_told() -> None:
    assert resolver.resolvectl(SPLIT, "tun0") == [
        ["resolvectl", "dns", "tun0", "[2001:db8::53]:853#n.example"],
        ["resolvectl", "default-route", "tun0", "false"],
        ["resolvectl", "domain", "tun0", "corp.example", "~lab.example"],
        ["resolvectl", "dnssec", "tun0", "allow-downgrade"],
        ["resolvectl", "dnsovertls", "tun0", "true"],
    ]
    assert resolver.resolvectl(ALL, "tun0")[2] == ["resolvectl", "domain", "tun0", "~."]
    assert resolver.resolvectl(Dns(("a.example",)), "tun0") == [["resolvectl", "domain", "tun0", "a.example"]]
    with pytest.raises(ElementError, match=r"DNS over HTTPS.*--dns-updown"):
        resolver.resolvectl(Dns((), SPLIT.servers[:1]), "tun0")


def test_what_resolvconf_is_told_and_takes_back(said: Path) -> None:
    async def main() -> None:
        names = resolver.InterfaceNames("tun0")
        assert await names.set(PLAIN) == "resolvconf"
        await names.reset()

    run(main)
    servers = "".join(f"nameserver 192.0.2.{at}\n" for at in (1, 2, 3))
    assert said.read_text() == f"-a tun0\n{servers}search a.example b.example\n-d tun0\n"
    assert not list(said.parent.glob("journals/*.undo"))


def test_what_a_killed_run_told_resolvconf_is_taken_back(said: Path) -> None:
    names = resolver.InterfaceNames("tun0")
    run(lambda: names.set(PLAIN))
    assert names._journal is not None
    names._journal._file.close()  # what a SIGKILL does to it
    recovery.recover()
    assert said.read_text().endswith("-d tun0\n")
    assert not list(said.parent.glob("journals/*.undo"))


def test_without_a_manager_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ElementError, match=r"neither systemd-resolved nor resolvconf is here.*--dns-updown"):
        run(lambda: resolver.InterfaceNames("tun0").set(ALL))


def test_a_manager_that_fails_is_told(said: Path) -> None:
    (said.parent / "bin" / "resolvconf").write_text("#!/bin/sh\necho no such thing\nexit 1\n")
    names = resolver.InterfaceNames("tun0")
    with pytest.raises(ElementError, match=r"resolvconf -a tun0' failed: no such thing"):
        run(lambda: names.set(ALL))
    run(names.reset)
    assert not list(said.parent.glob("journals/*.undo"))
