"""Clients with several `--remote`: which is tried when, and where a server's word sends them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

import tmelink
from tests.e2e.managed import Managed
from tests.e2e.secured import Site
from tests.support.aio import TIMEOUT
from tests.support.netns import Namespace, Net, Process
from tmelink.elements.openvpn.server import Server

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "openvpn", "tinyproxy", "microsocks", "danted")]

UP = "Initialization Sequence Completed"
LINK = "tme/host/openvpn/socket/link"

POLL = 3
"""Seconds of --server-poll-timeout."""

SILENT = """
import socket, sys, time
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("10.1.0.2", 1195))
stream = socket.create_server(("10.1.0.2", 1195))
print("silent", flush=True)
time.sleep(600)
"""
"""Takes datagrams and connections, and says nothing."""


@pytest.fixture
def site(net: Net) -> Site:
    return Site(net)


def client(site: Site, here: Namespace, remotes: str, options: str = "", *, until: str) -> Process:
    return here.tmelink(
        "own: tme/host/tun/tun interface own0\n"
        f"link at own: {LINK} --client --dev tun --nobind {remotes} "
        f"{site.identity('amy', 'client')} {options}\n",
        until=until,
    )


@contextlib.contextmanager
def proxied(site: Site, there: Namespace, kind: str) -> Iterator[str]:
    """A proxy beside the server, and the client's option for it."""
    if kind == "http-proxy":
        file = site.file("tinyproxy.conf", "Port 3128\nListen 10.1.0.2\nTimeout 600\nLogLevel Info\n")
        there.start("tinyproxy", "-d", "-c", file).expect(
            "Accepting connections|listening on fd|Starting main loop"
        )
        yield "--http-proxy 10.1.0.2 3128"
    elif kind == "socks-proxy over TCP":
        there.start("microsocks", "-i", "10.1.0.2", "-p", "1080")
        there.run("socat", "-u", "/dev/null", "TCP:10.1.0.2:1080,retry=100,interval=0.05")
        yield "--socks-proxy 10.1.0.2 1080"
    elif kind == "socks-proxy over UDP":
        file = site.file(
            "danted.conf",
            "logoutput: stderr\nerrorlog: stderr\ninternal: 10.1.0.2 port = 1080\nexternal: 10.1.0.2\n"
            "socksmethod: none\nclientmethod: none\nuser.privileged: root\nuser.unprivileged: nobody\n"
            "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n",
        )
        process = there.start("danted", "-f", file, "-p", str(site.net.directory / "danted.pid"))
        process.expect("running")
        yield "--socks-proxy 10.1.0.2 1080"
        process.stop()
    else:
        yield ""


@pytest.fixture(scope="module")
def times() -> Iterator[list[str]]:
    """A line for each kind of way to the servers, which pytest -s shows at the end of the module."""
    rows = [f"two remotes, the first dead, --server-poll-timeout {POLL}: up after"]
    yield rows
    print("\n" + "\n".join(rows))


@pytest.mark.parametrize(
    ("kind", "proto"),
    [
        ("direct over UDP", "udp"),
        ("direct over TCP", "tcp"),
        ("http-proxy", "tcp"),
        ("socks-proxy over TCP", "tcp"),
        ("socks-proxy over UDP", "udp"),
    ],
)
def test_a_dead_remote_costs_no_more_than_the_poll_timeout(
    site: Site, times: list[str], kind: str, proto: str
) -> None:
    """The first of two remotes never answers; the log says which one was tried."""
    here, there = site.net.pair()
    there.start(sys.executable, "-c", SILENT).expect("silent")
    site.openvpn(
        there,
        f"--dev tun0 --proto {'udp' if proto == 'udp' else 'tcp-server'} --server 10.8.0.0 255.255.255.0 "
        f"--topology subnet --keepalive 1 20 --dh none {site.identity('server', 'server')}",
        until=UP,
    )
    with proxied(site, there, kind) as through:
        process = client(
            site,
            here,
            f"--proto {proto} --remote 10.1.0.2 1195 --remote 10.1.0.2 1194 {through}",
            f"--server-poll-timeout {POLL}",
            until="running:",
        )
        began = time.monotonic()
        process.expect("link: up")
        took = time.monotonic() - began
        times.append(f"{kind:22} {took:.1f} s")
        assert took < POLL + 2, process.output
        assert any("10.1.0.2:1195" in line and "server-poll-timeout" in line for line in process.lines)
        assert process.stop() == 0


class Servers:
    """Three OpenVPN servers with their consoles, and where a client is."""

    def __init__(self, site: Site, hosts: list[Namespace], **options: Any) -> None:
        self.servers = [
            Managed(site, host, f"server{number}", **options) for number, host in enumerate(hosts, 1)
        ]
        self.remotes = " ".join(f"--remote {host.addresses[0]} 1194" for host in hosts)

    def close(self) -> None:
        for server in self.servers:
            server.close()


def moves(process: Process) -> list[str]:
    """The servers that a client was up with, in order, by the last digit of their addresses less one."""
    found = [re.search(r"link: up: 10\.1\.0\.(\d)", line) for line in process.lines]
    return [f"server{int(match[1]) - 1}" for match in found if match]


@pytest.fixture
def servers(site: Site) -> Iterator[tuple[Namespace, Servers]]:
    here, *hosts, _hub = site.net.internet(4)
    there = Servers(site, hosts, judged=True)
    yield here, there
    there.close()


@pytest.mark.parametrize(
    ("word", "next_one"),
    [
        ("RESTART", "server1"),
        ("RESTART,[P]", "server1"),
        ("RESTART,[N]", "server2"),
        ("RESTART,[PN]", "server2"),
    ],
)
def test_where_a_restart_sends_a_client(
    servers: tuple[Namespace, Servers], site: Site, word: str, next_one: str
) -> None:
    here, there = servers
    process = client(site, here, there.remotes, "--connect-retry 1 1", until="link: up")
    seen = len(process.lines)
    there.servers[0].console.tell(f"client-kill 0 {word}")
    process.expect("link: down", since=seen)
    process.expect("link: up", since=seen)
    assert moves(process) == ["server1", next_one]
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("flags", "then", "least"),
    [
        ("TEMP", ["server1"], 0),
        ("TEMP[advance no]", ["server1"], 0),
        ("TEMP[advance remote]:full", ["server2"], 0),
        ("TEMP[advance addr]:full", ["server2"], 0),
        ("TEMP[backoff 3,advance remote]:full", ["server2"], 3),
        ("TEMP[backoff 3,advance no]:full", ["server1"], 3),
    ],
)
def test_where_a_temporary_refusal_sends_a_client(
    servers: tuple[Namespace, Servers], site: Site, flags: str, then: list[str], least: float
) -> None:
    here, there = servers
    there.servers[0].deny = flags
    process = client(site, here, there.remotes, "--connect-retry 1 1", until="refuses this client")
    refused = time.monotonic()
    there.servers[0].deny = None
    process.expect("link: up")
    assert least <= time.monotonic() - refused < least + 4
    assert moves(process) == then
    assert process.stop() == 0


def test_a_client_among_three_servers(site: Site) -> None:
    """Two servers of OpenVPN's and one of tmelink's, which can send PUSH_UPDATE: where each word leads."""
    here, *hosts, _hub = site.net.internet(4)
    there = Servers(site, hosts[:2], judged=True)
    third = hosts[2]
    rows: list[str] = []

    def show(command: str, wanted: str) -> None:
        until = time.monotonic() + TIMEOUT
        while wanted not in (said := here.run(*command.split(), check=False)):
            assert time.monotonic() < until, said
            time.sleep(0.05)

    def follow(process: Process, seen: int, by: str, word: str, where: str) -> None:
        """The client went down after it had said so many lines, and comes up there."""
        process.expect("link: down", since=seen)
        process.expect("link: up", since=seen)
        rows.append(f"{word:36} from {by}: {moves(process)[-1]}")
        assert moves(process)[-1] == where, rows

    def among_openvpn() -> None:
        process = client(site, here, there.remotes, "--connect-retry 1 1", until="link: up")
        for word, console, where in (("RESTART", 0, "server1"), ("RESTART,[N]", 1, "server2")):
            seen = len(process.lines)
            there.servers[0].console.tell(f"client-kill {console} {word}")
            follow(process, seen, "server1", word, where)
        assert process.stop() == 0

    async def main() -> None:
        machine = tmelink.load(
            "server: tme/host/openvpn/socket/server --dev tun --server 10.8.0.0 255.255.255.0 "
            "--topology subnet --keepalive 1 20 --explicit-exit-notify 1 "
            f"{site.identity('server3', 'server')}\n"
        )
        remotes = f"--remote {third.addresses[0]} 1194 {there.remotes}"
        async with machine.run() as lab:
            server = lab["/server"]
            assert isinstance(server, Server)
            options = "--connect-retry 1 1 --server-poll-timeout 3"
            process = await asyncio.to_thread(client, site, here, remotes, options, until="link: up")
            for change, command, wanted in (
                ("route 10.40.0.0 255.255.0.0", "ip route show dev own0", "10.40.0.0/16"),
                ("tun-mtu 1280", "ip link show own0", "mtu 1280 "),
            ):
                assert await server.command(["push", "amy", *change.split()]) == "pushed to 1 of 1 clients"
                await asyncio.to_thread(show, command, wanted)
                rows.append(f"{f'PUSH_UPDATE,{change}':36} from server3: {moves(process)[-1]}, still up")
            assert "link: down" not in process.output
            seen = len(process.lines)
            await server.command(["kick", "amy"])
            await asyncio.to_thread(follow, process, seen, "server3", "RESTART", "server3")
            there.servers[0].deny = "TEMP[advance remote]:full"
            seen = len(process.lines)
        word = "AUTH_FAILED,TEMP[advance remote]"
        await asyncio.to_thread(follow, process, seen, "server1", word, "server2")
        assert await asyncio.to_thread(process.stop) == 0

    try:
        among_openvpn()
        third.call(main)
    finally:
        there.close()
        print(
            "",
            "a client among three servers: what it is told, by whom, and where it is then",
            *rows,
            sep="\n",
        )


def test_a_server_that_falls_silent_is_tried_first(servers: tuple[Namespace, Servers], site: Site) -> None:
    """After --ping-restart a client goes back to where it was; only silence there moves it on."""
    here, there = servers
    options = "--connect-retry 1 1 --server-poll-timeout 3 --pull-filter ignore ping-restart --ping-restart 3"
    process = client(site, here, there.remotes, options, until="link: up")
    first = there.servers[0].process
    for awakes, wanted in ((True, "server1"), (False, "server2")):
        seen = len(process.lines)
        first.signal(signal.SIGSTOP)
        process.expect("link: down", since=seen)
        if awakes:
            first.signal(signal.SIGCONT)
        process.expect("link: up", since=seen)
        assert moves(process)[-1] == wanted
    first.signal(signal.SIGCONT)
    assert process.stop() == 0
