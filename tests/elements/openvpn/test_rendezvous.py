"""Links that meet at a rendezvous in one process: their frames pass, and strangers' datagrams do not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import tmelink
from tests.support.aio import eventually, run
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.rendezvous import Rendezvous
from tmelink.openvpn.tls.keygen import generate

TEXT = """
hub: tmelink/rendezvous local 127.0.0.1:{port} key meeting.key
le0: tmelink/host inet 10.0.0.1/24
le1: tmelink/host inet 10.0.0.2/24
link0 at le0: tme/host/openvpn/socket/link --dev tap --tls-server --nobind --remote 127.0.0.1 {port} \\
    --rendezvous meeting.key --key a.key --cert a.crt --peer-fingerprint {b}
link1 at le1: tme/host/openvpn/socket/link --dev tap --tls-client --nobind --remote 127.0.0.1 {port} \\
    --rendezvous meeting.key --key b.key --cert b.crt --peer-fingerprint {a}
"""


def lab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of a lab whose files are in `folder`, which becomes the working directory."""
    monkeypatch.chdir(folder)
    prints = {}
    for name in "ab":
        pair = generate(name, 1.7e9)
        prints[name] = pair.fingerprint
        (folder / f"{name}.key").write_bytes(pair.private_key)
        (folder / f"{name}.crt").write_bytes(pair.certificate)
        (folder / f"{name}.key").chmod(0o600)
    (folder / "meeting.key").write_text("5e" * 32)
    (folder / "meeting.key").chmod(0o600)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return TEXT.format(port=port, **prints)


def test_two_links_meet_and_go_on_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tmelink.load(lab(tmp_path, monkeypatch))

    async def body() -> None:
        async with machine.run():
            link, hub, le0 = machine.find("link0"), machine.find("hub"), machine.find("le0")
            assert isinstance(hub, Rendezvous)
            assert isinstance(link, Link)
            await eventually(lambda: link.up and link.details().summary.startswith("direct to 127.0.0.1:"))
            assert " 0% " in await le0.command(["ping", "10.0.0.2", "count", "1"])
            assert hub.details().summary == "1 of 1 links joined"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for datagram in (b"\x38 hello", b"\0\1 hello"):
                    stranger.sendto(datagram, ("127.0.0.1", hub.arguments.local.port))
                await eventually(lambda: hub.counters()["wire received"].drops.total() == 2)
            assert hub.counters()["wire received"].drops == {"not registered": 1, "bad registration": 1}

    run(body)


def test_a_key_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = lab(tmp_path, monkeypatch)
    (tmp_path / "meeting.key").write_text("short")
    machine = tmelink.load(text)

    async def body() -> None:
        async with machine.run():
            pass

    with pytest.raises(tmelink.ElementError, match="not a rendezvous key, which is 64 hexadecimal digits"):
        run(body)
