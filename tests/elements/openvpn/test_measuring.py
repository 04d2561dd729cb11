"""What a link measures over itself when it is asked about alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.machines import frame
from tests.support.sockets import bare_peer, free_port
from tmelink import machine
from tmelink.cli import main as tmelink
from tmelink.elements.openvpn.details import LinkDetails
from tmelink.elements.openvpn.link import Link
from tmelink.runtime import Lab

LINK = "tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --ping 1"


PATH = 65535
"""Bytes of a packet on the loopback: its MTU, less the one that no packet can have."""


async def measured(text: str, ready: Callable[[Link], bool]) -> LinkDetails:
    """The details of link0 once it is ready and has measured."""
    async with asyncio.timeout(30), Lab(machine.load(text)) as lab:
        link = lab["link0"]
        assert isinstance(link, Link)
        while not ready(link):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await link.measure()
        return link.details()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_tls_ends_measure_their_round_trip(protocol: str, tmp_path: Path) -> None:
    for name in ("server", "client"):
        assert tmelink(["keygen", str(tmp_path / name)]) == 0
    fingerprints = {name: _fingerprint(tmp_path / f"{name}.crt") for name in ("server", "client")}
    ports = {"server": free_port(), "client": free_port()}
    text = ""
    for number, (own, other) in enumerate((("server", "client"), ("client", "server"))):
        proto = "" if protocol == "udp" else f"--proto tcp-{own}"
        text += (
            f"n{number}: tmelink/nic\n"
            f"link{number} at n{number}: {LINK} {proto} --tls-{own} --lport {ports[own]} "
            f"--remote 127.0.0.1 {ports[other]} --key {tmp_path}/{own}.key --cert {tmp_path}/{own}.crt "
            f"--peer-fingerprint {fingerprints[other]} --connect-retry 1\n"
        )
    details = asyncio.run(measured(text, lambda link: link.up))
    assert details.round_trip is not None
    assert 0 < details.round_trip < 1
    assert details.path_mtu == (PATH if protocol == "udp" else None)


def _fingerprint(path: Path) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex(":")


@pytest.mark.needs_root
def test_a_peer_that_answers_nothing_is_pinged() -> None:
    """As TME's ends, which know no OCC."""
    port = free_port()
    with bare_peer() as peer:

        def heard(link: Link) -> bool:
            peer.sendto(frame(1), ("127.0.0.1", port))
            return link.up

        remote = peer.getsockname()[1]
        text = f"n: tmelink/nic\nlink0 at n: {LINK} --lport {port} --remote 127.0.0.1 {remote}\n"
        details = asyncio.run(measured(text, heard))
    assert details.round_trip is not None
    assert 0 < details.round_trip < 1
    assert details.path_mtu == PATH
