"""OpenVPN's client beside a server or link of tmelink's that is killed and started again.

OpenVPN's own server says nothing to a client of its earlier run, which notices by its --ping-restart: twelve
seconds here.
"""

from __future__ import annotations

import time

import pytest

from tests.e2e.secured import Site
from tests.support.netns import Net

BACK = 6
"""Seconds until pings are answered again; it takes 0.2 to 1.2 s where nothing else runs."""


@pytest.mark.parametrize(
    ("kind", "wrap"), [("server", ""), ("server", "--tls-crypt"), ("link", "--tls-auth")]
)
def test_a_client_of_openvpn_is_back_before_its_ping_restart(net: Net, kind: str, wrap: str) -> None:
    a, b = net.pair()
    site = Site(net)
    key = f"{wrap} {site.static_key(a)}" if wrap else ""
    ours = (
        f"--dev tap --local {a.addresses[0]} --port 1194 --keepalive 4 12 {site.identity('server', 'server')}"
    )
    theirs = f"--dev tap --nobind --remote {a.addresses[0]} 1194 {site.identity('client', 'client')} {key}"
    if kind == "server":
        ours = f"tme/host/openvpn/socket/server {ours} --server 10.8.0.0 255.255.255.0"
        theirs += " --client"
    else:
        ours = f"tme/host/openvpn/socket/link {ours} --tls-server"
        theirs += " --tls-client --keepalive 4 12 --ifconfig 10.8.0.2 255.255.255.0"
    machine = f"own: tmelink/host inet 10.8.0.1/24\nend at own: {ours} {key}\n"
    running = a.tmelink(machine, "--no-journal")
    site.openvpn(b, theirs, until="Initialization Sequence Completed")
    b.ping("10.8.0.1")
    pings = b.start("ping", "-i", "0.2", "10.8.0.1")
    pings.expect("bytes from")
    running.kill()
    a.tmelink(machine, "--no-journal")
    began, said = time.monotonic(), len(pings.lines)
    pings.expect("bytes from", since=said, timeout=BACK)
    assert time.monotonic() - began < BACK
