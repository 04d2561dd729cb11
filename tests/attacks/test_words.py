"""What a peer says of itself before anybody knows who it is, and to its clients: shown, not obeyed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import tmelink
from tests.attacks.places import Place, free_port, link, run, said, server, until
from tests.support.pki import Authority, Pair
from tests.support.wire import START, Wire
from tmelink import logs
from tmelink.openvpn.options import network_options
from tmelink.openvpn.options.values import NetworkOptions
from tmelink.openvpn.session import Notice, Restart, Up
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.printable import printable

INJECTED = "eve\nserver: up: client 'amy' at 192.0.2.1\x1b[2K\x07"


def test_what_is_printed_is_one_line() -> None:
    assert printable(INJECTED) == r"eve\nserver: up: client 'amy' at 192.0.2.1\x1b[2K\x07"
    assert printable("\u202egnp.exe") == r"\u202egnp.exe"
    assert printable("ä" * 300) == "ä" * 200 + "…"
    assert printable("DOMAIN\\amy") == "DOMAIN\\amy"


def test_a_certificates_subject_writes_no_line_of_its_own() -> None:
    """Before it is known to be anybody's: OpenVPN 2.6 replaces what is not printable, too."""
    stranger = Authority(START, "Another authority").issue(INJECTED)
    ours = Authority(START)
    own = ours.issue("server", "server")
    context = TlsContext(TlsFiles(certificate=own.pem, private_key=own.key_pem, ca=ours.own.pem), server=True)
    theirs = TlsContext(
        TlsFiles(certificate=stranger.pem, private_key=stranger.key_pem, ca=ours.own.pem), server=False
    )

    def wall(now: float) -> float:
        return START + now

    wire = Wire(
        TlsSession(TlsSettings(server=False), theirs, wall),
        TlsSession(TlsSettings(server=True), context, wall),
    )
    wire.begin()
    wire.run(5)
    told = [event.text for event in wire.server.of(Notice)] + [e.reason for e in wire.server.of(Restart)]
    assert any(r"CN=eve\nserver: up: client" in text for text in told)
    assert all(text.isprintable() for text in told)


def test_a_name_that_is_taken_writes_no_line_either() -> None:
    ours = Authority(START)
    own, peer = ours.issue("server", "server"), ours.issue(INJECTED, "client")

    def end(pair: Pair, *, server: bool) -> TlsSession:
        files = TlsFiles(certificate=pair.pem, private_key=pair.key_pem, ca=ours.own.pem)
        return TlsSession(
            TlsSettings(server=server), TlsContext(files, server=server), lambda now: START + now
        )

    wire = Wire(end(peer, server=False), end(own, server=True))
    wire.begin()
    wire.run(5)
    [up] = wire.server.of(Up)
    assert up.detail.isprintable()


def test_the_log_lets_no_foreign_line_through(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was not escaped where it came from: no line begins as one of ours does."""
    logs.configure(0)
    try:
        logging.getLogger("tmelink.element.link").info("%s", INJECTED)
    finally:
        logging.getLogger("tmelink").handlers = []
    assert capsys.readouterr().err.splitlines() == [
        "link: eve",
        r"    server: up: client 'amy' at 192.0.2.1\x1b[2K\x07",
    ]


@pytest.mark.parametrize("line", ["route", "route-ipv6", "ifconfig", "route-gateway"])
@pytest.mark.parametrize("fqdn", [False, True])
def test_a_pushed_option_without_its_words_is_passed_over(line: str, fqdn: bool) -> None:
    network, notes = network_options.with_pushed(NetworkOptions(), [line], fqdn=fqdn)
    assert network == NetworkOptions()
    assert len(notes) == 1
    assert network_options.names(network) == []


def test_a_certificate_without_a_name_is_refused(tmp_path: Path) -> None:
    """It would be called whatever it logs in as; OpenVPN refuses it, too."""
    place = Place(tmp_path)
    port = free_port()
    at = f"--local 127.0.0.1 --lport {port}"
    nameless = place.identity("", "client")

    async def main() -> None:
        async with tmelink.load(server(f"{at} {place.identity('server', 'server')}")).run() as here:
            text = link("b", f"--client --nobind --remote 127.0.0.1 {port} {nameless}", "10.8.0.200")
            lines = said(here["/server"])
            async with tmelink.load(text).run() as there:
                await until(lambda: any("it has no common name" in line for line in lines))
                assert not there["/link"].up

    run(main)


def test_a_client_that_takes_any_certificate_for_the_servers_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As OpenVPN warns: "No server certificate verification method has been enabled"."""
    place = Place(tmp_path)
    logging.getLogger("tmelink").propagate = True
    identity = place.identity("client", "client")

    async def main() -> None:
        for more in ("", "--remote-cert-tls server", "--verify-x509-name server name"):
            caplog.clear()
            text = link(
                "b", f"--client --nobind --remote 127.0.0.1 {free_port()} {identity} {more}", "10.8.0.2"
            )
            async with tmelink.load(text).run():
                assert ("passes as the server's" in caplog.text) is (not more)

    run(main)
