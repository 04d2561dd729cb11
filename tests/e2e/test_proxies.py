"""Links through real proxies, in namespaces where only the proxy reaches the other side.

::

    client 10.1.0.1 ── 10.1.0.2 proxy 10.2.0.1 ── 10.2.0.2 server
                                fd02::1            fd02::2

The proxy's namespace forwards nothing. Both ends run tmelink under one static key; inside the link the
client is 10.9.0.1 and the server 10.9.0.2.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.netns import Namespace, Net, Process
from tmelink.openvpn import keys

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "socat")]

BULK = 100_000_000
"""Bytes of the transfer."""

TRANSFER_SECONDS = 120


@dataclass
class Site:
    """The three namespaces and the key that both ends use."""

    net: Net
    client: Namespace
    proxy: Namespace
    server: Namespace

    @property
    def security(self) -> str:
        file = self.net.directory / "static.key"
        if not file.exists():
            file.write_bytes(keys.generate(os.urandom))
            file.chmod(0o600)
        return f"--secret {file} --cipher AES-256-CBC --auth SHA256"

    def credentials(self, user: str, password: str) -> str:
        """A file with a user and a password."""
        file = self.net.directory / f"{user}-{password}"
        file.write_text(f"{user}\n{password}\n")
        file.chmod(0o600)
        return str(file)

    def start_server(self, options: str) -> Process:
        return self.server.tmelink(
            "le0: tme/host/tun/tap interface tme0 inet 10.9.0.2/24\n"
            f"link0 at le0: tme/host/openvpn/socket/link --dev tap {self.security} {options}\n"
        )

    def start_client(self, options: str) -> Process:
        return self.client.tmelink(
            "le0: tme/host/tun/tap interface tme0 inet 10.9.0.1/24\n"
            f"link0 at le0: tme/host/openvpn/socket/link --dev tap --connect-retry 1 1 "
            f"{self.security} {options}\n"
        )

    def tinyproxy(self, *extra: str) -> Process:
        """An HTTP proxy on port 3128."""
        file = self.net.directory / "tinyproxy.conf"
        file.write_text(
            "\n".join(["Port 3128", "Listen 10.1.0.2", "Timeout 600", "LogLevel Info", *extra, ""])
        )
        process = self.proxy.start("tinyproxy", "-d", "-c", str(file))
        process.expect("Accepting connections|listening on fd|Starting main loop")
        return process

    def microsocks(self, *extra: str) -> Process:
        """A SOCKS5 proxy on port 1080, for TCP only."""
        process = self.proxy.start("microsocks", "-i", "10.1.0.2", "-p", "1080", *extra)
        listening(self.proxy, 1080)
        return process

    @contextlib.contextmanager
    def danted(self) -> Iterator[Process]:
        """A SOCKS5 proxy on port 1080 that relays datagrams too."""
        file = self.net.directory / "danted.conf"
        file.write_text(
            "logoutput: stderr\nerrorlog: stderr\ninternal: 10.1.0.2 port = 1080\nexternal: 10.2.0.1\n"
            "socksmethod: none\nclientmethod: none\nuser.privileged: root\nuser.unprivileged: nobody\n"
            "client pass { from: 10.1.0.0/24 to: 0.0.0.0/0 }\n"
            "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n"
        )
        process = self.proxy.start("danted", "-f", str(file), "-p", str(self.net.directory / "danted.pid"))
        try:
            process.expect("running")
            yield process
        finally:
            process.stop()

    def carries(self) -> None:
        """The link carries pings of any size and a large transfer, with not a byte changed."""
        for size in (64, 1400, 8000):
            self.client.ping("10.9.0.2", size=size)
        sent, arrived = self.net.directory / "sent", self.net.directory / "arrived"
        sent.write_bytes(os.urandom(1 << 20) * (BULK // (1 << 20)) + os.urandom(BULK % (1 << 20)))
        sink = self.server.start("socat", "-d", "-d", "-u", "TCP-LISTEN:5000", f"CREATE:{arrived}")
        sink.expect("listening on")
        self.client.run("socat", "-u", f"FILE:{sent}", "TCP:10.9.0.2:5000", timeout=TRANSFER_SECONDS)
        assert sink.wait(TRANSFER_SECONDS) == 0
        assert digest(arrived.read_bytes()) == digest(sent.read_bytes())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listening(namespace: Namespace, port: int) -> None:
    """Wait until a program that does not say so has its port: dial until it answers."""
    namespace.run(
        "socat", "-u", "/dev/null", f"TCP:10.1.0.2:{port},retry=100,interval=0.05",
    )  # fmt: skip


@pytest.fixture
def site(net: Net) -> Site:
    client, proxy = net.pair()
    server = net.namespace()
    proxy.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", server.name)
    for namespace, interface, number in ((proxy, "eth1", 1), (server, "eth0", 2)):
        namespace.run("ip", "link", "set", interface, "up")
        namespace.run("ip", "addr", "add", f"10.2.0.{number}/24", "dev", interface)
        namespace.run("ip", "addr", "add", f"fd02::{number}/64", "dev", interface, "nodad")
    proxy.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    assert "unreachable" in client.run("ping", "-c1", "-W1", "10.2.0.2", check=False)
    return Site(net, client, proxy, server)


@pytest.mark.needs("tinyproxy")
def test_a_static_key_link_through_an_http_proxy(site: Site) -> None:
    site.tinyproxy("BasicAuth ann secret")
    site.start_server("--proto tcp-server --local 10.2.0.2 --lport 1194")
    client = site.start_client(
        "--proto tcp-client --remote 10.2.0.2 --http-proxy 10.1.0.2 3128 "
        f"{site.credentials('ann', 'secret')} basic"
    )
    client.expect("connected: 10.2.0.2:1194 through HTTP proxy 10.1.0.2:3128")
    site.carries()


@pytest.mark.needs("tinyproxy")
def test_the_peer_behind_an_http_proxy_may_have_an_ipv6_address_and_the_proxy_may_restart(site: Site) -> None:
    proxy = site.tinyproxy("BasicAuth ann secret")
    site.start_server("--proto tcp6-server --local fd02::2 --lport 1194")
    user_pass = site.credentials("ann", "secret")
    client = site.start_client(
        f"--proto tcp-client --remote fd02::2 --http-proxy 10.1.0.2 3128 auto "
        f"--http-proxy-user-pass {user_pass} "
        "--http-proxy-option VERSION 1.1 --http-proxy-option AGENT tmelink "
        "--http-proxy-option CUSTOM-HEADER X-Test yes"
    )
    client.expect(r"connected: \[fd02::2\]:1194 through HTTP proxy 10.1.0.2:3128")
    site.client.ping("10.9.0.2")
    seen = len(client.lines)
    proxy.stop()
    client.expect("connection with .* ended", since=seen)
    client.expect("HTTP proxy 10.1.0.2:3128: Connection refused", since=seen)
    site.tinyproxy("BasicAuth ann secret")
    client.expect("connected:", since=seen)
    site.client.ping("10.9.0.2")


@pytest.mark.needs("tinyproxy")
def test_an_http_proxy_that_refuses_is_told_and_tried_again(site: Site) -> None:
    proxy = site.tinyproxy("BasicAuth ann secret", "ConnectPort 443")
    site.start_server("--proto tcp-server --local 10.2.0.2 --lport 1194")
    options = "--proto tcp-client --remote 10.2.0.2 --http-proxy 10.1.0.2 3128"
    wrong = site.start_client(f"{options} {site.credentials('ann', 'wrong')} basic")
    # tinyproxy answers a wrong password with 401, as a web server would.
    wrong.expect("HTTP proxy 10.1.0.2:3128: it (answered 401|refused the user or the password)")
    wrong.stop()
    client = site.start_client(f"{options} {site.credentials('ann', 'secret')} basic")
    client.expect("HTTP proxy 10.1.0.2:3128: it answered 403 Access violation")
    seen = len(client.lines)
    client.expect("it answered 403", since=seen)
    proxy.stop()
    site.tinyproxy("BasicAuth ann secret")
    client.expect("connected:")
    site.client.ping("10.9.0.2")


@pytest.mark.needs("microsocks")
def test_a_tcp_link_through_socks5(site: Site) -> None:
    site.microsocks("-u", "ann", "-P", "secret")
    site.start_server("--proto tcp-server --local 10.2.0.2 --lport 1194")
    options = "--proto tcp-client --remote 10.2.0.2 --socks-proxy 10.1.0.2 1080"
    wrong = site.start_client(f"{options} {site.credentials('ann', 'wrong')}")
    wrong.expect("SOCKS proxy 10.1.0.2:1080: it refused the user or the password")
    wrong.stop()
    client = site.start_client(f"{options} {site.credentials('ann', 'secret')}")
    client.expect("connected: 10.2.0.2:1194 through SOCKS proxy 10.1.0.2:1080")
    site.carries()


@pytest.mark.needs("danted")
def test_a_udp_link_through_socks5(site: Site) -> None:
    site.start_server("--proto udp --local 10.2.0.2 --lport 1194 --float --ping 1")
    with site.danted():
        client = site.start_client(
            "--proto udp --remote 10.2.0.2 --socks-proxy 10.1.0.2 1080 --ping 1 --ping-restart 10"
        )
        client.expect("SOCKS proxy 10.1.0.2:1080 relays from 10.1.0.2:")
        site.carries()
        seen = len(client.lines)
    client.expect("SOCKS proxy 10.1.0.2:1080: .*(closed its connection|is lost)", since=seen)
    client.expect("SOCKS proxy 10.1.0.2:1080: Connection refused", since=seen)
    with site.danted():
        client.expect("relays from", since=seen)
        site.client.ping("10.9.0.2")


def test_a_proxy_that_hangs_or_lies_ends_nothing(site: Site) -> None:
    hanging = site.proxy.start("socat", "-d", "-d", "TCP-LISTEN:3128,fork,reuseaddr", "EXEC:'sleep 60'")
    hanging.expect("listening on")
    lying = site.proxy.start(
        "socat", "-d", "-d", "TCP-LISTEN:3129,fork,reuseaddr",
        "SYSTEM:'printf \"HTTP/1.0 200 OK\\r\\n\\r\\nnothing that a peer would say\"; sleep 60'",
    )  # fmt: skip
    lying.expect("listening on")
    remote = "--dev tap --proto tcp-client --remote 10.2.0.2 --connect-retry 1 1 --connect-timeout 1"
    client = site.client.tmelink(
        "le0: tme/host/tun/tap interface tme0 inet 10.9.0.1/24\n"
        f"hanging at le0: tme/host/openvpn/socket/link {remote} --http-proxy 10.1.0.2 3128\n"
        "le1: tme/host/tun/tap interface tme1 inet 10.9.1.1/24\n"
        f"lying at le1: tme/host/openvpn/socket/link {remote} --http-proxy 10.1.0.2 3129\n"
    )
    for _turn in range(2):
        seen = len(client.lines)
        client.expect("hanging: .*HTTP proxy 10.1.0.2:3128 did not answer", since=seen)
        client.expect("lying: .*connection with 10.2.0.2:1194 ended: a datagram of 28271 bytes", since=seen)
    assert client.stop() == 0
    assert "Traceback" not in client.output
