"""A client whose address changes goes on under the same keys.

A server knows it by the peer id of its data packets. Of two equal ends tmelink's does so too under --float;
openvpn 2.6, under --float, takes no data packet from another address there, not even from another openvpn.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.e2e.secured import Site
from tests.support.aio import TIMEOUT
from tests.support.netns import Namespace, Net, Process

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn", "tcpdump")]

UP = "Initialization Sequence Completed"
HANDSHAKE = "Control Channel: TLSv1"
LINK = "tme/host/openvpn/socket/link"
SERVER = "tme/host/openvpn/socket/server"
MOVED = "10.1.0.77"
INSIDE = {"server": "10.8.0.1", "client": "10.8.0.2"}

Start = Callable[[Site, Namespace, Namespace], Process]


@pytest.fixture
def site(net: Net) -> Site:
    return Site(net)


def our_server(site: Site, here: Namespace, client: Namespace) -> Process:
    return here.tmelink(
        f"own: tme/host/tun/tap interface tap0\n"
        f"server at own: {SERVER} --dev tap --server 10.8.0.0 255.255.255.0 --keepalive 1 20 "
        f"{site.identity('server', 'server')}\n"
    )


def our_client(site: Site, here: Namespace, server: Namespace) -> Process:
    return here.tmelink(
        f"own: tme/host/tun/tap interface tap0\n"
        f"link at own: {LINK} --dev tap --client --nobind --remote {server.addresses[0]} "
        f"{site.identity('client', 'client')}\n",
        until="link: up",
    )


def stock_server(site: Site, here: Namespace, client: Namespace) -> Process:
    return site.openvpn(
        here,
        "--dev tap0 --server 10.8.0.0 255.255.255.0 --topology subnet --keepalive 1 20 --dh none "
        f"{site.identity('server', 'server')}",
        until=UP,
    )


def stock_client(site: Site, here: Namespace, server: Namespace) -> Process:
    return site.openvpn(
        here,
        f"--dev tap0 --client --nobind --remote {server.addresses[0]} {site.identity('client', 'client')}",
        until=UP,
    )


def our_end(site: Site, here: Namespace, client: Namespace) -> Process:
    """A point-to-point server that takes its client from anywhere."""
    return here.tmelink(
        f"own: tme/host/tun/tap interface tap0 inet {INSIDE['server']}/24\n"
        f"link at own: {LINK} --dev tap --tls-server --float --keepalive 1 20 "
        f"--remote {client.addresses[0]} {site.identity('server', 'server')}\n"
    )


def our_other_end(site: Site, here: Namespace, server: Namespace) -> Process:
    return here.tmelink(
        f"own: tme/host/tun/tap interface tap0 inet {INSIDE['client']}/24\n"
        f"link at own: {LINK} --dev tap --tls-client --keepalive 1 20 --remote {server.addresses[0]} "
        f"{site.identity('client', 'client')}\n",
        until="link: up",
    )


def stock_other_end(site: Site, here: Namespace, server: Namespace) -> Process:
    return site.openvpn(
        here,
        f"--dev tap0 --ifconfig {INSIDE['client']} 255.255.255.0 --tls-client --keepalive 1 20 "
        f"--remote {server.addresses[0]} {site.identity('client', 'client')}",
        until=UP,
    )


def has_address(here: Namespace) -> None:
    """Wait until tap0 has the address that the server gives."""
    until = time.monotonic() + TIMEOUT
    while INSIDE["client"] not in here.run("ip", "-4", "-br", "addr", "show", "tap0", check=False):
        assert time.monotonic() < until


@pytest.mark.parametrize(
    ("serve", "join"),
    [
        pytest.param(our_server, stock_client, id="our server, stock client"),
        pytest.param(stock_server, our_client, id="stock server, our client"),
        pytest.param(our_server, our_client, id="our server, our client"),
        pytest.param(our_end, stock_other_end, id="our end, stock end"),
        pytest.param(our_end, our_other_end, id="our ends"),
    ],
)
def test_a_client_moves_without_a_new_handshake(site: Site, serve: Start, join: Start) -> None:
    a, b = site.net.pair()
    server = serve(site, a, b)
    client = join(site, b, a)
    has_address(b)
    a.ping(INSIDE["client"])
    for process in (server, client):
        process.expect(f"{HANDSHAKE}|: up: ")
    said = [len(process.lines) for process in (server, client)]
    with a.capture("eth0", "udp") as capture:
        b.run("ip", "addr", "flush", "dev", "eth0")
        b.run("ip", "addr", "add", f"{MOVED}/24", "dev", "eth0")
        b.ping(INSIDE["server"])
        a.ping(INSIDE["client"])
    moved = bytes(map(int, MOVED.split(".")))
    sealed = {packet[42] >> 3 for packet in capture.packets if moved in (packet[26:30], packet[30:34])}
    assert sealed == {9}, "P_DATA_V2 and nothing of the control channel"
    assert any(packet[30:34] == moved for packet in capture.packets)
    for process, since in zip((server, client), said, strict=True):
        after = "\n".join(process.lines[since:])
        assert not re.search(f"{HANDSHAKE}|: up: |left|Traceback|{UP}|Restart", after), after
