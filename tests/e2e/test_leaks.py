"""What belongs in a tunnel never leaves outside it, and the link's own packets never enter it.

A program sends to the world all the time while routes, interfaces and remotes change; whoever listens in the
wrong place must hear nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import sys
import time
from collections.abc import Iterator

import pytest

import tmelink
from tests.e2e.host_state import state
from tests.e2e.internet import WORLD, WORLD6, Internet, internet, sample
from tests.support.netns import Namespace, Net, Process
from tmelink.elements.openvpn import connector, link_sockets
from tmelink.elements.openvpn.link import Link
from tmelink.transport import sockets

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "tcpdump")]

CHANGES = 100

SENDER = f"""
import socket, time
ways = [(socket.AF_INET, "{WORLD}"), (socket.AF_INET6, "{WORLD6}")]
ways = [(socket.socket(family, socket.SOCK_DGRAM), (address, 9)) for family, address in ways]
print("sending", flush=True)
while True:
    for sock, to in ways:
        try:
            sock.sendto(b"secret", to)
        except OSError:
            pass
    time.sleep(0.001)
"""
"""A datagram to the world over each IP version in every millisecond; refusals are what is hoped for."""

WORLDLY = f"udp port 9 and (host {WORLD} or host {WORLD6})"


def sending(host: Namespace) -> Process:
    process = host.start(sys.executable, "-c", SENDER)
    process.expect("sending")
    return process


def run(host: Namespace, file: object, until: str = "running:") -> Process:
    process = host.start(sys.executable, "-m", "tmelink", "run", str(file))
    process.expect(until)
    return process


def led_in(host: Namespace) -> bool:
    """Whether the world is reached by the tunnel, over both IP versions."""
    ways = [host.run("ip", "route", "get", address, check=False) for address in (WORLD, WORLD6)]
    return all("dev tun0" in way for way in ways)


def until_led_in(host: Namespace) -> None:
    deadline = time.monotonic() + 10
    while not led_in(host):
        assert time.monotonic() < deadline, host.run("ip", "route")
        time.sleep(0.02)


DEFAULTS = ["route {} 0.0.0.0/0 via {}", "route {} ::/0 via {}"]
GATEWAYS = [("198.51.100.1", "2001:db8:1::1"), ("198.51.100.2", "2001:db8:1::2")]
OWN = ["addr {} 198.51.100.7/24 dev eth0", "addr {} 2001:db8:1::7/64 dev eth0 nodad"]


def changes(rng: random.Random) -> Iterator[list[str]]:
    """What happens to the routes, the interface and the addresses outside, as lines for `ip -batch`."""

    def defaults(verb: str, gateways: tuple[str, str]) -> list[str]:
        return [line.format(verb, gateway) for line, gateway in zip(DEFAULTS, gateways, strict=True)]

    while True:
        first, second = rng.sample(GATEWAYS, 2)
        kind = rng.randrange(3)
        if kind == 0:  # the default route goes, and comes back
            yield ["route del 0.0.0.0/0", "route del ::/0"]
            yield defaults("add", first)
        elif kind == 1:  # the interface goes down, and comes up without what IPv6 had
            yield ["link set eth0 down"]
            yield ["link set eth0 up", OWN[1].format("replace"), *defaults("replace", second)]
        else:  # the address goes with all routes, and another one comes
            yield [line.format("del").removesuffix(" nodad") for line in OWN]
            yield [*(line.format("add") for line in OWN), *defaults("replace", first)]


def prepared(net: Net) -> tuple[Internet, object, object]:
    """The traveller behind a router with two addresses, and the files of both ends."""
    there = internet(net)
    there.router.run("ip", "addr", "add", "198.51.100.2/24", "dev", "home")
    there.router.run("ip", "addr", "add", "2001:db8:1::2/64", "dev", "home", "nodad")
    client = sample(net.directory, "l3-client.conf")
    text = client.read_text().replace("def1", "def1 ipv6").replace("--keepalive 10 60", "--keepalive 1 3")
    client.write_text(text)
    server = sample(net.directory, "l3-server.conf")
    server.write_text(server.read_text().replace("--keepalive 10 60", "--keepalive 1 3"))
    return there, client, server


def test_nothing_leaks_while_routes_addresses_and_the_interface_outside_change(net: Net) -> None:
    there, client_file, server_file = prepared(net)
    traveller = there.traveller
    run(there.office, server_file)
    client = run(traveller, client_file)
    until_led_in(traveller)
    rng = random.Random(13)
    with there.router.capture("home", WORLDLY) as outside, traveller.capture("tun0", WORLDLY) as inside:
        sending(traveller)
        for _, lines in zip(range(CHANGES), changes(rng), strict=False):
            traveller.run("ip", "-batch", "-", input="\n".join(lines) + "\n")
            time.sleep(rng.choice((0, 0.05, 0.3)))
    assert len(outside.packets) == 0, outside.text[:4]
    assert len(inside.packets) > 1000
    until_led_in(traveller)
    traveller.ping(WORLD)
    assert client.stop() == 0


def test_nothing_leaks_while_the_link_reconnects(net: Net) -> None:
    there, client_file, server_file = prepared(net)
    traveller = there.traveller
    text = client_file.read_text()  # type: ignore[attr-defined]
    client_file.write_text(text.replace("--keepalive 1 3", "--keepalive 1 3 --route-delay 1"))  # type: ignore[attr-defined]
    server = run(there.office, server_file)
    client = run(traveller, client_file)
    until_led_in(traveller)
    with there.router.capture("home", WORLDLY) as outside:
        sending(traveller)
        for _ in range(2):
            seen = len(client.lines)
            server.kill()
            client.expect("down", since=seen)
            time.sleep(1.2)  # the pause before the next attempt, which tells the interface anew
            server = run(there.office, server_file)
            client.expect("up: ", since=seen)
    assert len(outside.packets) == 0, outside.text[:4]
    assert client.stop() == 0


def test_a_killed_link_leaves_the_routes_as_they_were(net: Net) -> None:
    """Once the process is gone there is no tunnel, and the host is reached as before."""
    there, client_file, server_file = prepared(net)
    before = state(there.traveller)
    run(there.office, server_file)
    client = run(there.traveller, client_file)
    until_led_in(there.traveller)
    client.kill()
    again = run(there.traveller, client_file)
    until_led_in(there.traveller)
    assert again.stop() == 0
    assert state(there.traveller) == before


REMOTES = ["203.0.113.5", "203.0.113.6", "2001:db8:3::5", "203.0.113.7", "2001:db8:3::6"]


@pytest.mark.parametrize("secret", [False, True], ids=["plain", "secret"])
def test_the_links_own_packets_never_enter_it(
    net: Net, monkeypatch: pytest.MonkeyPatch, secret: bool
) -> None:
    """The machine sends all the time, so that the first datagrams to a new remote leave at once."""
    there = internet(net)
    traveller = there.traveller
    sample(net.directory, "l3-client.conf")
    traveller.run("ip", "tuntap", "add", "tun0", "mode", "tun")
    traveller.run("ip", "link", "set", "tun0", "up")
    key = "--secret l3.key 1 --cipher AES-256-CBC" if secret else ""
    file = net.directory / "many.conf"
    file.write_text(
        "tun0: tme/host/tun/tun interface tun0\n"
        f"link0 at tun0: tme/host/openvpn/socket/link --dev tun --nobind --remote {REMOTES[0]} {key} "
        "--ifconfig 10.8.0.2 10.8.0.1 --ifconfig-ipv6 fd08::2/64 fd08::1 --redirect-gateway ipv6\n"
    )
    rng = random.Random(20)
    turn = 0

    async def places(*_: object) -> list[link_sockets.DialTarget]:
        nonlocal turn
        turn += 1
        remote = REMOTES[turn % len(REMOTES)]
        found = await sockets.resolve(remote, 1194, socket.SOCK_DGRAM)
        return [*found]

    monkeypatch.setattr(link_sockets, "places", places)
    monkeypatch.setattr(connector, "_pause", lambda *_: 0.0)

    async def main() -> int:
        async with tmelink.load(file).run() as lab:
            link = lab["link0"]
            assert isinstance(link, Link)
            begun = 0
            for _ in range(CHANGES):
                while link.peer is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                begun += 1
                await asyncio.sleep(rng.choice((0.02, 0.05, 0.1)))
                link.peer.lost("the next one, please")  # type: ignore[union-attr]
                await asyncio.sleep(0)
                while link.peer is not None and link.peer.over.done():  # noqa: ASYNC110
                    await asyncio.sleep(0)
            return begun

    with (
        traveller.capture("tun0", "udp port 1194") as inside,
        there.router.capture("home", "udp port 1194") as outside,
    ):
        sending(traveller)
        assert traveller.call(main) == CHANGES
    assert len(inside.packets) == 0, inside.text[:4]
    seen = {str(ipaddress.ip_address(packet[30:34])) for packet in outside.packets if packet[12] == 8}
    assert seen == {remote for remote in REMOTES if "." in remote}
