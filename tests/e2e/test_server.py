"""Servers with many clients: tmelink's before stock openvpn clients, and openvpn's before ours."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable

import pytest
from cryptography import x509

import tmelink
from tests.e2e.secured import Site
from tests.support.aio import TIMEOUT
from tests.support.netns import Namespace, Net, Process
from tmelink.elements.openvpn.server import Server
from tmelink.openvpn.server import users
from tmelink.openvpn.tls.keygen import generate

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn")]

UP = "Initialization Sequence Completed"
SERVER = "tme/host/openvpn/socket/server"
LINK = "tme/host/openvpn/socket/link"


@pytest.fixture
def site(net: Net) -> Site:
    return Site(net)


def serve(site: Site, here: Namespace, options: str, kind: str = "tap", proto: str = "udp") -> Process:
    """Our server, with a device of the computer's own that takes the server's address."""
    return here.tmelink(
        f"own: tme/host/tun/{kind} interface own0\n"
        f"server at own: {SERVER} --dev {kind} --proto {proto} --server 10.8.0.0 255.255.255.0 "
        f"--keepalive 1 20 {site.identity('server', 'server')} {options}\n"
    )


def client_options(site: Site, name: str, server: str, kind: str, proto: str) -> str:
    stream = {"udp": "udp", "tcp-server": "tcp-client"}[proto]
    identity = site.identity(name, "client")
    return f"--client --dev {kind} --proto {stream} --nobind --remote {server} 1194 {identity}"


def stock(
    site: Site, here: Namespace, server: str, name: str, kind: str = "tap", proto: str = "udp"
) -> Process:
    options = client_options(site, name, server, kind, proto)
    return site.openvpn(here, f"{options} --dev {kind}0 --connect-retry 1 1", until=UP)


def ours(
    site: Site, here: Namespace, server: str, name: str, kind: str = "tap", proto: str = "udp"
) -> Process:
    return here.tmelink(
        f"own: tme/host/tun/{kind} interface own0\n"
        f"link at own: {LINK} {client_options(site, name, server, kind, proto)}\n",
        until="link: up",
    )


def address(here: Namespace, device: str, wanted: str = "") -> str:
    """The IPv4 address of a device, once it has been given one, or the one that is wanted."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        words = here.run("ip", "-4", "-br", "addr", "show", device, check=False).split()
        if len(words) > 2 and words[0] == device and words[2].startswith(wanted):
            return words[2].split("/")[0]
    raise AssertionError(f"{here.name}: {device} has no address {wanted}")


def everyone_pings_everyone(hosts: list[Namespace], addresses: list[str]) -> None:
    for here, own in zip(hosts, addresses, strict=True):
        for other in addresses:
            if other != own:
                here.ping(other)


@pytest.mark.parametrize(
    ("kind", "proto"), [("tap", "udp"), ("tap", "tcp-server"), ("tun", "udp"), ("tun", "tcp-server")]
)
def test_our_server_with_three_stock_clients_and_one_of_ours(site: Site, kind: str, proto: str) -> None:
    server, *others, _hub = site.net.internet(5)
    topology = "--topology subnet" if kind == "tun" else ""
    process = serve(site, server, f"--client-to-client {topology}", kind, proto)
    outside = server.addresses[0]
    for number, here in enumerate(others[:3]):
        stock(site, here, outside, f"stock{number}", kind, proto)
    ours(site, others[3], outside, "ours", kind, proto)
    addresses = ["10.8.0.1", *(address(here, f"{kind}0") for here in others[:3]), address(others[3], "own0")]
    assert sorted(addresses) == [f"10.8.0.{number}" for number in range(1, 6)]
    everyone_pings_everyone([server, *others], addresses)
    assert process.stop() == 0, process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize("kind", ["tap", "tun"])
def test_a_stock_server_with_two_stock_clients_and_one_of_ours(site: Site, kind: str) -> None:
    server, *others, _hub = site.net.internet(4)
    site.openvpn(
        server,
        f"--dev {kind}0 --server 10.8.0.0 255.255.255.0 --topology subnet --client-to-client "
        f"--keepalive 1 20 --dh none {site.identity('server', 'server')}",
        until=UP,
    )
    for number, here in enumerate(others[:2]):
        stock(site, here, server.addresses[0], f"stock{number}", kind)
    process = ours(site, others[2], server.addresses[0], "ours", kind)
    addresses = ["10.8.0.1", *(address(here, f"{kind}0") for here in others[:2]), address(others[2], "own0")]
    everyone_pings_everyone([server, *others], addresses)
    assert process.stop() == 0, process.output


def inside(site: Site, here: Namespace, options: str, test: Callable[[Server], Awaitable[None]]) -> list[str]:
    """Our server in this process, while `test` runs; what it said of itself."""
    said: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    async def main() -> None:
        machine = tmelink.load(
            "own: tmelink/host inet 10.8.0.1/24\n"
            f"server at own: {SERVER} --dev tap --server 10.8.0.0 255.255.255.0 "
            f"--keepalive 1 20 {site.identity('server', 'server')} {options}\n"
        )
        async with machine.run() as lab:
            server = lab["/server"]
            assert isinstance(server, Server)
            await test(server)

    log, handler = logging.getLogger("tmelink"), Lines()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        here.call(main)
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    return said


async def until(condition: Callable[[], object]) -> None:
    """Wait for what no event tells: a counter."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def start(site: Site, here: Namespace, server: str, name: str, options: str = "") -> Process:
    """A stock client, from its beginning."""
    return site.openvpn(
        here,
        f"{client_options(site, name, server, 'tap', 'udp')} --dev tap0 --connect-retry 1 1 "
        f"--explicit-exit-notify 1 {options}",
    )


def test_as_many_clients_as_may_be(site: Site) -> None:
    """The one too many comes in as soon as another has left."""
    here, *others, _hub = site.net.internet(4)
    outside = here.addresses[0]

    async def test(server: Server) -> None:
        first, second = (start(site, other, outside, f"c{n}") for n, other in enumerate(others[:2]))
        await asyncio.to_thread(first.expect, UP)
        await asyncio.to_thread(second.expect, UP)
        third = start(site, others[2], outside, "c2")
        received = server.counters
        await until(lambda: received()["wire received"].drops["more clients than --max-clients"])
        assert UP not in third.output
        assert (await server.command(["clients"])).startswith("2 clients")
        assert first.stop() == 0
        await asyncio.to_thread(third.expect, UP)
        assert (await server.command(["clients"])).startswith("2 clients")

    said = inside(site, here, "--max-clients 2", test)
    assert any("is refused: 2 are connected, the most that --max-clients allows" in line for line in said)
    assert any("left: the peer says that it exits" in line for line in said)


@pytest.mark.parametrize("duplicates", [False, True])
def test_two_clients_of_one_name(site: Site, duplicates: bool) -> None:
    here, *others, _hub = site.net.internet(3)
    outside = here.addresses[0]

    async def test(server: Server) -> None:
        first = start(site, others[0], outside, "amy")
        await asyncio.to_thread(first.expect, UP)
        second = start(site, others[1], outside, "amy")
        await asyncio.to_thread(second.expect, UP)
        clients = (await server.command(["clients"])).splitlines()
        assert len(clients) == (3 if duplicates else 2)
        own = await asyncio.to_thread(address, others[1], "tap0")
        assert own == ("10.8.0.3" if duplicates else "10.8.0.2")

    said = inside(site, here, "--duplicate-cn" if duplicates else "", test)
    assert any("'amy' has connected again" in line for line in said) is not duplicates


def test_a_kicked_client_comes_back_to_its_address(site: Site) -> None:
    here, other, *_ = site.net.internet(3)
    pool = site.net.directory / "pool"

    async def test(server: Server) -> None:
        client = start(site, other, here.addresses[0], "amy")
        await asyncio.to_thread(client.expect, UP)
        assert "10.8.0.2" in await server.command(["clients"])
        seen = len(client.lines)
        assert await server.command(["kick", "amy"]) == "'amy' was kicked"
        await asyncio.to_thread(client.expect, UP, since=seen)
        assert "10.8.0.2" in await server.command(["clients"])
        await asyncio.to_thread(other.ping, "10.8.0.1")

    said = inside(site, here, f"--ifconfig-pool-persist {pool}", test)
    assert any("client 'amy'" in line and "left: kicked" in line for line in said)
    assert pool.read_text() == "amy,10.8.0.2,\n"


def test_passwords_by_table(site: Site) -> None:
    """A right one, a wrong one, none at all; and no password in the log."""
    here, *others, _hub = site.net.internet(4)
    table = site.file("users", users.line("amy", "open sesame", bytes(16)) + "\n")
    right = site.file("right", "amy\nopen sesame\n")
    wrong = site.file("wrong", "amy\nwide sesame\n")

    async def test(server: Server) -> None:
        outside = here.addresses[0]
        refused = start(site, others[0], outside, "one", f"--auth-user-pass {wrong}")
        await asyncio.to_thread(refused.expect, "AUTH_FAILED,wrong user or password")
        nobody = start(site, others[1], outside, "two")
        await asyncio.to_thread(nobody.expect, "AUTH_FAILED,wrong user or password")
        taken = start(site, others[2], outside, "three", f"--auth-user-pass {right}")
        await asyncio.to_thread(taken.expect, UP)
        clients = await server.command(["clients"])
        assert clients.startswith("1 clients\namy  ")

    said = "\n".join(inside(site, here, f"--auth-user-pass-table {table} --username-as-common-name", test))
    assert "is refused: wrong user or password" in said
    assert "sesame" not in said


def test_networks_behind_clients_and_their_own_files(site: Site) -> None:
    """--dev tun with --client-config-dir: a fixed address, a network behind a client, a forged source."""
    here, *others, _hub = site.net.internet(3)
    directory = site.net.directory / "ccd"
    directory.mkdir()
    (directory / "amy").write_text("ifconfig-push 10.8.0.77 255.255.255.0\niroute 10.99.0.0 255.255.255.0\n")
    routes = '--route 10.99.0.0 255.255.255.0 --push "route 10.99.0.0 255.255.255.0"'
    options = f"--topology subnet --client-to-client --ccd-exclusive --client-config-dir {directory} {routes}"
    process = serve(site, here, options, "tun")
    stock(site, others[0], here.addresses[0], "amy", "tun")
    others[0].run("ip", "addr", "add", "10.99.0.1/24", "dev", "lo")
    assert address(others[0], "tun0") == "10.8.0.77"
    here.ping("10.8.0.77")
    here.ping("10.99.0.1")
    others[0].run("ip", "addr", "add", "10.55.0.1/32", "dev", "lo")
    others[0].run("ping", "-c", "1", "-W", "1", "-I", "10.55.0.1", "10.8.0.1", check=False)
    stranger = start(site, others[1], here.addresses[0], "eve", "--dev tun")
    stranger.expect("AUTH_FAILED,it has no file in --client-config-dir")
    assert process.stop() == 0, process.output
    assert "Traceback" not in process.output


def test_a_server_that_knows_its_clients_by_fingerprint(site: Site) -> None:
    """More than two computers, as docs/secure-link.md ends; then the server restarts."""
    here, *others, _hub = site.net.internet(4)
    pairs = {name: generate(name, site.authority.unix_time) for name in ("one", "two", "three", "eve")}
    files = {
        name: f"--cert {site.file(f'{name}.crt', pair.certificate)} "
        f"--key {site.file(f'{name}.key', pair.private_key)}"
        for name, pair in pairs.items()
    }
    known = " ".join(f"--peer-fingerprint {pairs[name].fingerprint}" for name in ("two", "three"))
    machine = (
        "own: tme/host/tun/tap interface own0\n"
        f"server at own: {SERVER} --dev tap --server 10.0.77.0 255.255.255.0 --client-to-client "
        f"--ifconfig-pool-persist {site.net.directory / 'addresses'} --keepalive 1 5 "
        f"--explicit-exit-notify 1 {files['one']} {known}\n"
    )
    process = here.tmelink(machine)
    clients = []
    for name, other in zip(("two", "three", "eve"), others, strict=True):
        up = "link: up" if name != "eve" else "running:"
        clients.append(
            other.tmelink(
                "own: tme/host/tun/tap interface own0\n"
                f"link at own: {LINK} --dev tap --client --nobind --remote {here.addresses[0]} {files[name]} "
                f"--keepalive 1 5 --peer-fingerprint {pairs['one'].fingerprint}\n",
                until=up,
            )
        )
    addresses = ["10.0.77.1", *(address(other, "own0") for other in others[:2])]
    everyone_pings_everyone([here, *others[:2]], addresses)
    process.expect("a client that had not joined .*certificate 'CN=eve' refused: its fingerprint")
    assert "link: up" not in clients[2].output
    seen = [len(client.lines) for client in clients]
    assert process.stop() == 0, process.output
    process = here.tmelink(machine)
    for client, since in zip(clients[:2], seen[:2], strict=True):
        client.expect("link: up", since=since)
    # Whoever came back first: each has the address that it had.
    everyone_pings_everyone([here, *others[:2]], addresses)
    assert process.stop() == 0, process.output
    assert "Traceback" not in "".join(p.output for p in (process, *clients))


def test_a_client_follows_its_address(site: Site) -> None:
    """Another address of the same network: Linux drops later addresses of a network with the first one."""
    here, other = site.net.pair()
    directory = site.net.directory / "ccd"
    directory.mkdir()
    options = f"--client-config-dir {directory} --explicit-exit-notify 1"
    (directory / "amy").write_text("ifconfig-push 10.8.0.50 255.255.255.0\n")
    process = serve(site, here, options)
    client = ours(site, other, here.addresses[0], "amy")
    assert address(other, "own0") == "10.8.0.50"
    (directory / "amy").write_text("ifconfig-push 10.8.0.60 255.255.255.0\n")
    seen = len(client.lines)
    assert process.stop() == 0, process.output
    serve(site, here, options)
    client.expect("link: up", since=seen)
    assert address(other, "own0", "10.8.0.60") == "10.8.0.60"
    here.ping("10.8.0.60")


@pytest.mark.needs("iperf3")
def test_super_frames_pass_through_a_server(site: Site) -> None:
    here, *others, _hub = site.net.internet(3)
    process = serve(site, here, "--client-to-client")
    for name, other in zip(("amy", "bob"), others, strict=True):
        ours(site, other, here.addresses[0], name)
    bob = address(others[1], "own0")
    address(others[0], "own0")
    for sender, receiver, target in ((others[0], others[1], bob), (others[0], here, "10.8.0.1")):
        done = sender.iperf3(receiver, target, "-n", "32M")
        assert done["end"]["sum_sent"]["bytes"] >= 32 << 20
    assert process.stop() == 0, process.output


@pytest.mark.parametrize("topology", ["net30", "p2p"])
def test_ipv6_and_older_topologies_behind_tls_crypt_v2(site: Site, topology: str) -> None:
    here, *others, _hub = site.net.internet(3)
    keys = {name: str(site.net.directory / f"{name}.v2") for name in ("server", "amy", "ours")}
    here.run(sys.executable, "-m", "tmelink", "genkey", "tls-crypt-v2-server", keys["server"])
    for name in ("amy", "ours"):
        words = ["genkey", "--server-key", keys["server"], "tls-crypt-v2-client", keys[name]]
        here.run(sys.executable, "-m", "tmelink", *words)
    process = serve(
        site,
        here,
        f"--topology {topology} --client-to-client --server-ipv6 fd08::/64 --tls-crypt-v2 {keys['server']}",
        "tun",
    )
    outside = here.addresses[0]
    options = client_options(site, "amy", outside, "tun", "udp")
    site.openvpn(others[0], f"{options} --dev tun0 --tls-crypt-v2 {keys['amy']}", until=UP)
    options = client_options(site, "ours", outside, "tun", "udp")
    others[1].tmelink(
        "own: tme/host/tun/tun interface own0\n"
        f"link at own: {LINK} {options} --tls-crypt-v2 {keys['ours']}\n",
        until="link: up",
    )
    inside = ["10.8.0.1", address(others[0], "tun0"), address(others[1], "own0")]
    everyone_pings_everyone([here, *others], inside)
    for own, other in ((here, "fd08::1000"), (others[0], "fd08::1"), (others[1], "fd08::1000")):
        own.ping(other)
    assert process.stop() == 0, process.output


def test_a_client_over_tcp_that_is_killed_and_comes_back(site: Site) -> None:
    here, other = site.net.pair()
    process = serve(site, here, "", "tap", "tcp-server")
    client = stock(site, other, here.addresses[0], "amy", "tap", "tcp-server")
    client.kill()
    process.expect("client 'amy' left: connection with .* ended")
    stock(site, other, here.addresses[0], "amy", "tap", "tcp-server")
    assert address(other, "tap0") == "10.8.0.2"
    here.ping("10.8.0.2")
    assert process.stop() == 0, process.output
    assert "Traceback" not in process.output


def test_a_client_whose_certificate_is_revoked_is_told_apart_from_the_others(site: Site) -> None:
    """--crl-verify DIR dir, as openvpn reads it: each file revokes the certificate of its name."""
    here, *others, _hub = site.net.internet(3)
    revoked = site.net.directory / "revoked"
    revoked.mkdir()
    process = serve(site, here, f"--crl-verify {revoked} dir --reneg-sec 2")
    options = client_options(site, "amy", here.addresses[0], "tap", "udp")
    client = site.openvpn(others[0], f"{options} --dev tap0", until=UP)
    stock(site, others[1], here.addresses[0], "bob")
    amy = x509.load_pem_x509_certificate((site.net.directory / "amy.crt").read_bytes())
    (revoked / str(amy.serial_number)).touch()
    process.expect("client 'amy' .*left: certificate 'C=CH, CN=amy' refused: it is revoked")
    client.stop()
    site.openvpn(others[0], f"{options} --dev tap0")
    process.expect("a client that had not joined .*left: certificate 'C=CH, CN=amy' refused: it is revoked")
    others[1].ping("10.8.0.1")
    assert process.stop() == 0, process.output
    assert "Traceback" not in process.output


def test_a_directory_of_revoked_certificates_must_be_there(site: Site) -> None:
    here, _other = site.net.pair()
    missing = site.net.directory / "nowhere"
    with pytest.raises(AssertionError, match=f"--crl-verify {missing} dir: this directory does not exist"):
        serve(site, here, f"--crl-verify {missing} dir")


def token_server(site: Site, here: Namespace, kind: str, *, password: bool) -> Process:
    """A server that gives tokens out of one secret, and that takes amy's password or nobody's."""
    secret = site.net.directory / "token.key"
    if not secret.exists():
        # Made by the other kind of program than reads it first.
        program = ["openvpn", "--genkey"] if kind == "ours" else [sys.executable, "-m", "tmelink", "genkey"]
        here.run(*program, "auth-token", str(secret))
    common = f"--auth-gen-token 0 120 --auth-gen-token-secret {secret} --reneg-sec 2"
    if kind == "ours":
        word = "open sesame" if password else "another word"
        table = site.file("users", users.line("amy", word, bytes(16)) + "\n")
        return serve(site, here, f"--auth-user-pass-table {table} --explicit-exit-notify 1 {common}")
    check = site.file("check", f"#!/bin/sh\nexit {0 if password else 1}\n", 0o700)
    return site.openvpn(
        here,
        "--dev tap0 --server 10.8.0.0 255.255.255.0 --topology subnet --keepalive 1 20 --dh none "
        "--explicit-exit-notify 1 --script-security 2 "
        f"--auth-user-pass-verify {check} via-file {common} {site.identity('server', 'server')}",
        until=UP,
    )


@pytest.mark.parametrize(("first", "second"), [("ours", "stock"), ("stock", "ours")])
def test_servers_take_each_others_tokens(site: Site, first: str, second: str) -> None:
    """A stock client lives on its token, through renewals and from one server to the next."""
    here, other = site.net.pair()
    server = token_server(site, here, first, password=True)
    login = site.file("login", "amy\nopen sesame\n")
    client = start(site, other, here.addresses[0], "amy", f"--auth-user-pass {login}")
    client.expect(UP)
    for _ in range(2):
        seen = len(client.lines)
        client.expect("Control Channel: TLSv1", since=seen)
        client.expect("PUSH: Received control message: 'PUSH_REPLY,auth-token", since=seen)
    seen = len(client.lines)
    server.stop()
    again = token_server(site, here, second, password=False)
    client.expect(UP, since=seen)
    here.ping("10.8.0.2")
    assert "AUTH_FAILED" not in client.output
    for process in (server, again, client):
        assert "SESS_ID_AT_" not in process.output
    stranger = start(site, other, here.addresses[0], "bob", f"--auth-user-pass {login} --dev tap1")
    stranger.expect("AUTH_FAILED")


def test_a_client_whose_token_has_grown_old_comes_back_with_its_password(site: Site) -> None:
    here, other = site.net.pair()
    table = site.file("users", users.line("amy", "open sesame", bytes(16)) + "\n")
    process = serve(site, here, f"--auth-user-pass-table {table} --auth-gen-token 3 --reneg-sec 2")
    login = site.file("login", "amy\nopen sesame\n")
    client = start(site, other, here.addresses[0], "amy", f"--auth-user-pass {login}")
    client.expect(UP)
    process.expect("client 'amy' at .* is refused: SESSION: token expired")
    client.expect("AUTH_FAILED,SESSION: token expired")
    seen = len(client.lines)
    client.expect(UP, since=seen)
    here.ping("10.8.0.2")


def test_a_user_is_called_otherwise_and_its_token_counts_while_it_is_listed(site: Site) -> None:
    """--override-username in a client's file, and external-auth, with a stock client that renews its keys."""
    here, other = site.net.pair()
    table = site.file("users", users.line("amy", "open sesame", bytes(16)) + "\n")
    listed = [users.line(user, "open sesame", bytes(16)) for user in ("amy", "carol")]
    site.file("users", "\n".join(listed) + "\n")
    folder = site.net.directory / "ccd"
    folder.mkdir()
    (folder / "amy").write_text("override-username carol\n")
    process = serve(
        site,
        here,
        f"--auth-user-pass-table {table} --auth-gen-token 0 external-auth --reneg-sec 2 "
        f"--client-config-dir {folder}",
    )
    login = site.file("login", "amy\nopen sesame\n")
    client = start(site, other, here.addresses[0], "amy", f"--auth-user-pass {login}")
    client.expect("PUSH: Received control message: 'PUSH_REPLY,.*auth-token-user Y2Fyb2w=")
    client.expect(UP)
    seen = len(client.lines)
    client.expect("PUSH: Received control message: 'PUSH_REPLY,auth-token", since=seen)
    here.ping("10.8.0.2")
    site.file("users", listed[0] + "\n")
    client.expect("AUTH_FAILED,the user is no longer in --auth-user-pass-table")
    assert process.stop() == 0, process.output


@pytest.mark.parametrize("protos", ["udp udp", "tcp-server tcp-server", "udp tcp-server"])
def test_a_server_with_several_own_addresses(site: Site, protos: str) -> None:
    """Each client is answered by the address and port that it speaks to; both are in one network."""
    here, *others, _hub = site.net.internet(3)
    own, (proto, second) = here.addresses[0], protos.split()
    options = f"--local {own} --local * 1195 {second} --client-to-client --topology subnet"
    process = serve(site, here, options, "tun", proto)
    clients = [
        site.openvpn(
            other,
            client_options(site, name, own, "tun", its).replace(f"{own} 1194", f"{own} {port}"),
            until=UP,
        )
        for other, name, port, its in zip(
            others, ("amy", "bob"), ("1194", "1195"), (proto, second), strict=True
        )
    ]
    for other in others:
        other.ping("10.8.0.1")
    others[1].ping("10.8.0.2")
    assert process.stop() == 0, process.output
    for client in clients:
        client.stop()
