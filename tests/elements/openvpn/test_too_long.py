"""What is too long for a link or server: its machine's side takes on its MTU and refuses it as a router.

So nothing too long is sent to either, but by an interface to which its file gives another MTU.
"""

from __future__ import annotations

import pytest

import tmelink
from tests.support.aio import run
from tests.support.statements import words
from tmelink.element import Element, connect
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.builtin.host import Host
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.proof.problems import mtu_problems, problems
from tmelink.source import Mistake, Place, Source

TLS = "--ca ca.crt --cert s.crt --key s.key"
ENDS: dict[str, tuple[type[Element], str]] = {
    "link": (Link, "--dev tun --tun-mtu 1300 --local 127.0.0.1 --lport 0 --remote 127.0.0.1 9"),
    "server": (Server, f"--dev tun --tun-mtu 1300 --server 10.8.0.0 255.255.255.0 {TLS}"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_gateway_takes_on_its_mtu_and_tells_the_sender(end: str) -> None:
    kind, options = ENDS[end]
    mistakes: list[Mistake] = []
    arguments = kind.parse(words(options), Place(Source("test.conf", options), 1, 1), mistakes.append)
    assert not mistakes
    tunnel = kind("tunnel", arguments)
    texts = (
        "gw0: tmelink/gateway inet6 fd00::1/64\n",
        "le0: tmelink/host inet6 fd00::2/64 gateway6 fd00::1\n",
    )
    gateway, host = (next(iter(tmelink.load(text).elements.values())) for text in texts)
    assert isinstance(gateway, Gateway)
    assert isinstance(host, Host)
    connect(gateway.port(), host.port())
    connect(tunnel.port(), gateway.port())

    async def main() -> None:
        await gateway.open()
        await host.open()
        try:
            assert gateway.router.tunnel.mtu == 1300
            result = await host.ping("fd99::9", count=1, size=1400, timeout=5)
            assert dict(result.errors) == {"packet too big": 1}
        finally:
            await host.close()
            await gateway.close()

    run(main)


@pytest.mark.parametrize("end", ENDS)
def test_an_interface_with_another_mtu_is_told_before(end: str) -> None:
    kind, options = ENDS[end]
    module = "link" if kind is Link else "server"
    text = f"tun0: tme/host/tun/tun mtu 1500\nx at tun0: tme/host/openvpn/socket/{module} {options}\n"
    [told] = mtu_problems(tmelink.load(text))
    assert told.message == "x drops packets above 1300 bytes, and tun0 sends up to 1500 bytes"
    assert told.message in [each.message for each in problems(tmelink.load(text))]
