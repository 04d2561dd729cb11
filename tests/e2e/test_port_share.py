"""One TCP port for a link and a web server: curl and the peer at the same port, at the same time.

Computer a has the link's TCP server and, on the loopback, nginx; computer b has the peer and curl.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.netns import EXPECT_SECONDS, Namespace, Net, Process
from tmelink.openvpn import keys
from tmelink.openvpn.tls import keygen

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn", "nginx", "curl", "socat")]

PAGE = 50_000_000
"""Bytes of the file that curl fetches."""


@dataclass
class Site:
    """Both computers, the file on the web server, and what openvpn is started with."""

    a: Namespace
    b: Namespace
    directory: Path
    web: Process
    link: Process
    page: bytes
    security: str

    @property
    def url(self) -> str:
        return f"http://{self.a.addresses[0]}:443/page"

    def openvpn(self) -> Process:
        """The peer, a stock OpenVPN, once it has its TAP."""
        process = self.b.start(
            *f"openvpn --dev tap0 --ifconfig 10.9.0.2 255.255.255.0 --proto tcp4-client --ping 1 "
            f"--remote {self.a.addresses[0]} 443 --verb 4 {self.security}".split()
        )
        process.expect("Initialization Sequence Completed")
        return process


@dataclass
class Certified:
    """The files of a key and its certificate, and the fingerprint that the other end knows it by."""

    key: Path
    certificate: Path
    fingerprint: str


def certified(directory: Path, name: str) -> Certified:
    """A new key and certificate."""
    pair = keygen.generate(name, time.time())
    files = Certified(directory / f"{name}.key", directory / f"{name}.crt", pair.fingerprint)
    files.key.write_bytes(pair.private_key)
    files.key.chmod(0o600)
    files.certificate.write_bytes(pair.certificate)
    return files


@pytest.fixture
def site(net: Net) -> Site:
    a, b = net.pair()
    directory = net.directory
    directory.chmod(0o755)
    root, journal = directory / "root", directory / "journal"
    root.mkdir()
    journal.mkdir()
    page = os.urandom(1 << 20) * (PAGE >> 20)
    (root / "page").write_bytes(page)
    web_files = certified(directory, "web")
    (directory / "nginx.conf").write_text(
        f"user root; daemon off; pid {directory}/nginx.pid; error_log stderr;\n"
        "events { worker_connections 256; }\n"
        "http { access_log off;\n"
        f"  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n"
        f"  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;\n"
        f"  server {{ listen 127.0.0.1:80; listen 127.0.0.1:81 ssl; root {root};\n"
        f"    ssl_certificate {web_files.certificate}; ssl_certificate_key {web_files.key}; }} }}\n"
    )
    web = a.start("nginx", "-c", str(directory / "nginx.conf"), "-g", "error_log stderr notice;")
    web.expect("start worker process")
    key = directory / "static.key"
    key.write_bytes(keys.generate(os.urandom))
    key.chmod(0o600)
    security = f"--secret {key} --cipher AES-256-CBC --auth SHA256"
    link = a.tmelink(
        "le0: tme/host/tun/tap interface tme0 inet 10.9.0.1/24\n"
        "link0 at le0: tme/host/openvpn/socket/link --dev tap --proto tcp-server --ping 1 "
        f"--local {a.addresses[0]} --lport 443 {security} --port-share 127.0.0.1 80 {journal}\n"
    )
    return Site(a, b, directory, web, link, page, security)


def test_curl_fetches_a_page_while_the_link_carries_traffic(site: Site) -> None:
    site.openvpn()
    site.b.ping("10.9.0.1")
    said: list[str] = []
    pings = threading.Thread(target=lambda: said.append(site.b.ping("10.9.0.1", count=20, size=1400)))
    pings.start()
    for _turn in range(2):
        fetched = site.directory / "fetched"
        site.b.run("curl", "--silent", "--show-error", "--fail", "--output", str(fetched), site.url)
        assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(site.page).digest()
    pings.join()
    assert said
    site.b.ping("10.9.0.1", size=8000)
    assert "took its place" not in site.link.output


def test_the_web_server_works_before_any_peer_has_come_and_many_at_once(site: Site) -> None:
    fetching = [
        site.b.start(
            *f"curl --silent --show-error --fail --output /dev/null --range 0-999999 {site.url}".split()
        )
        for _ in range(20)
    ]
    assert [curl.wait(30) for curl in fetching] == [0] * 20
    assert "404 Not Found" in site.b.run("curl", "--silent", f"{site.url}-none")
    site.openvpn()
    site.b.ping("10.9.0.1")


def test_a_half_close_reaches_the_web_server_and_its_answer_still_comes(site: Site) -> None:
    # socat shuts its sending side down at the end of its input, and waits for the answer.
    said = site.b.run(
        "socat", "-t", "10", "-", f"TCP:{site.a.addresses[0]}:443",
        input="GET /none HTTP/1.0\r\n\r\n",
    )  # fmt: skip
    assert said.startswith("HTTP/1.1 404 Not Found")
    assert "</html>" in said


def test_the_directory_says_where_each_connection_comes_from(site: Site) -> None:
    journal = site.directory / "journal"
    visitor = site.b.start("socat", "-d", "-d", f"TCP:{site.a.addresses[0]}:443", "STDIO")
    visitor.expect("successfully connected")
    assert visitor._process.stdin is not None
    visitor._process.stdin.write(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
    visitor._process.stdin.flush()
    visitor.expect("</html>")
    (entry,) = journal.iterdir()
    own = re.search(r"successfully connected from local address AF=2 (\S+)", visitor.output)
    assert own is not None
    assert entry.read_text() == f"[AF_INET]{own[1]}"
    assert re.fullmatch(r"\[AF_INET\]127\.0\.0\.1:\d+", entry.name)
    visitor.kill()
    site.b.run("curl", "--silent", f"{site.url}-none")
    # An entry goes once its connection has ended at both sides, which its visitor does not wait for.
    until = time.monotonic() + EXPECT_SECONDS
    while list(journal.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert list(journal.iterdir()) == []


def test_a_web_server_that_is_gone_ends_no_link(site: Site) -> None:
    site.web.stop()
    peer = site.openvpn()
    said = site.b.run("curl", "--silent", "--show-error", site.url, check=False)
    assert "curl: (" in said
    site.link.expect("link0: warning: web server 127.0.0.1:80: Connection refused")
    site.b.ping("10.9.0.1")
    assert "SIGUSR1" not in peer.output


def test_a_link_with_tls_and_a_web_server_with_tls(site: Site) -> None:
    ours, theirs = certified(site.directory, "ours"), certified(site.directory, "theirs")
    site.link.stop()
    site.a.tmelink(
        "le0: tme/host/tun/tap interface tme0 inet 10.9.0.1/24\n"
        "link0 at le0: tme/host/openvpn/socket/link --dev tap --proto tcp-server --tls-server --dh none "
        f"--local {site.a.addresses[0]} --lport 443 --keepalive 1 30 --port-share 127.0.0.1 81 "
        f"--key {ours.key} --cert {ours.certificate} --peer-fingerprint {theirs.fingerprint}\n"
    )
    peer = site.b.start(
        *f"openvpn --dev tap0 --ifconfig 10.9.0.2 255.255.255.0 --proto tcp4-client --tls-client --verb 4 "
        f"--remote {site.a.addresses[0]} 443 --keepalive 1 30 --key {theirs.key} --cert {theirs.certificate} "
        f"--peer-fingerprint {ours.fingerprint}".split()
    )
    peer.expect("Initialization Sequence Completed")
    fetched = site.directory / "fetched"
    url = site.url.replace("http:", "https:").replace(":443", "")
    site.b.run("curl", "--insecure", "--silent", "--show-error", "--fail", "--output", str(fetched), url)
    assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(site.page).digest()
    site.b.ping("10.9.0.1", size=1400)
