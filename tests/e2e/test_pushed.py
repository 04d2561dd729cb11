"""What a server pushes and changes, whom it refuses, and what the log says; against openvpn and ourselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

import tmelink
from tests.e2e.managed import UP, Managed
from tests.e2e.secured import Site
from tests.support.aio import TIMEOUT, eventually
from tests.support.netns import Namespace, Net, Process
from tmelink.elements.openvpn import prompts
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn", "tcpdump")]

LINK = "tme/host/openvpn/socket/link"


@pytest.fixture
def site(net: Net) -> Site:
    return Site(net)


def client(site: Site, here: Namespace, server: str, options: str = "", until: str = "link: up") -> Process:
    return here.tmelink(
        "own: tme/host/tun/tun interface own0\n"
        f"link at own: {LINK} --client --dev tun --nobind --remote {server} 1194 "
        f"{site.identity('amy', 'client')} {options}\n",
        "-v",
        until=until,
    )


def shows(here: Namespace, command: str, condition: Callable[[str], bool]) -> str:
    """What a program says once that is so."""
    until = time.monotonic() + TIMEOUT
    while not condition(said := here.run(*command.split(), check=False)):
        assert time.monotonic() < until, said
        time.sleep(0.05)
    return said


def only(wanted: str, unwanted: str) -> Callable[[str], bool]:
    return lambda said: wanted in said and unwanted not in said


def test_a_pushed_mtu_is_that_of_the_interface(site: Site) -> None:
    """Nothing larger goes out, no difference is told, and the log at -v says what was pushed."""
    here, there = site.net.pair()
    server = Managed(site, there, "server", "--tun-mtu 1300", push=["dhcp-option NTP 192.0.2.123"])
    process = client(site, here, "10.1.0.2", "--udp-offload off")
    shows(here, "ip link show own0", lambda said: "mtu 1300 " in said)
    shows(here, "ip -br addr show own0", lambda said: "10.8.0." in said)
    here.ping("10.8.0.1", size=1272, M="do")
    assert "too large" in here.run(
        "ping", "-c1", "-M", "do", "-s", "1273", "10.8.0.1", check=False
    ).lower().replace("message too long", "too large")
    with here.capture("eth0", "udp", "port", "1194") as capture:
        here.run("ping", "-c", "2", "-i", "0.2", "-s", "4000", "10.8.0.1")
    assert max(map(len, capture.packets)) < 1300 + 14 + 28 + 40
    assert "used inconsistently" not in process.output
    process.expect("the server pushes: .*tun-mtu 1300")
    process.expect("pushes options which have no effect here: .*dhcp-option NTP 192.0.2.123")
    assert process.stop() == 0, process.output
    server.close()


UPDOWN = """#!/bin/sh
env | grep -E '^(dev|script_type|dns_|foreign_option_)' | sort | tr '\\n' ' ' >>{said}
echo >>{said}
"""


def test_pushed_name_servers_are_set_by_a_script_and_told(site: Site) -> None:
    """--dns-updown runs with OpenVPN 2.7's words; without one they are told."""
    here, there = site.net.pair()
    push = ["dhcp-option DNS 192.0.2.53", "dhcp-option DOMAIN corp.example"]
    server = Managed(site, there, "server", push=push)
    said = site.net.directory / "said"
    script = site.file("updown", UPDOWN.format(said=said), 0o755)
    process = client(site, here, "10.1.0.2", f"--script-security 2 --dns-updown {script}")
    process.expect(f"name servers set by {script}: 192.0.2.53; domains corp.example")
    assert process.stop() == 0, process.output
    names = "dns_search_domain_1=corp.example dns_server_1_address_1=192.0.2.53"
    assert said.read_text().splitlines() == [
        f"dev=own0 {names} script_type={moment} " for moment in ("dns-up", "dns-down")
    ]
    process = client(site, here, "10.1.0.2")
    process.expect("the name servers are not set .192.0.2.53; domains corp.example.: the host's resolver")
    assert process.stop() == 0, process.output
    server.close()


def test_routes_go_into_their_table(site: Site) -> None:
    """--route-table: own and pushed ones, and they are gone again."""
    here, there = site.net.pair()
    server = Managed(site, there, "server", push=["route 10.40.0.0 255.255.0.0"])
    process = client(site, here, "10.1.0.2", "--route-table 77 --route 10.41.0.0 255.255.0.0")
    table = shows(here, "ip route show table 77", lambda said: "10.40.0.0/16" in said)
    assert "10.41.0.0/16" in table
    assert "10.4" not in here.run("ip", "route", "show")
    assert process.stop() == 0, process.output
    assert not here.run("ip", "route", "show", "table", "77", check=False).strip()
    server.close()


def test_a_permanent_refusal_ends_the_program(site: Site) -> None:
    """With an exit status, and with the server's own words."""
    here, there = site.net.pair()
    server = Managed(site, there, "server", judged=True)
    server.deny = "the account has expired"
    process = client(site, here, "10.1.0.2", until="refuses this client")
    assert process.wait(TIMEOUT) == 1
    process.expect("the server refuses this client: the account has expired$")
    server.close()


def test_a_server_asks_before_it_takes_a_client(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTH_PENDING with a question (crtext), which somebody answers while the server waits."""
    here, there = site.net.pair()
    server = Managed(site, there, "server", judged=True)
    server.question = "CR_TEXT:R,E:Your code"
    asked: list[str] = []

    async def ask(name: str, option: str, prompt: str, *, echo: bool = False) -> str:
        asked.append(f"{option} {prompt} {echo}")
        return "4711"

    monkeypatch.setattr(prompts, "_ask", ask)

    async def main() -> None:
        machine = tmelink.load(
            f"own: tme/host/tun/tun interface own0\nlink at own: {LINK} --client --dev tun --nobind "
            f"--remote 10.1.0.2 1194 --server-poll-timeout 5 {site.identity('amy', 'client')}\n"
        )
        async with machine.run() as lab:
            link = lab["/link"]
            assert isinstance(link, Link)
            await eventually(lambda: link.up)

    here.call(main)
    assert asked == ["crtext Your code True"]
    assert server.answered == ["4711"]
    server.close()


def test_a_server_changes_what_its_clients_were_pushed(site: Site) -> None:
    """Ours follows changes; openvpn 2.6 does not accept them."""
    there, here, other, _hub = site.net.internet(3)
    said: list[str] = []

    async def main() -> None:
        machine = tmelink.load(
            f"server: tme/host/openvpn/socket/server --dev tun --server 10.9.0.0 255.255.255.0 "
            f"--topology subnet --keepalive 1 20 {site.identity('server', 'server')}\n"
        )
        async with machine.run() as lab:
            server = lab["/server"]
            assert isinstance(server, Server)
            process = await asyncio.to_thread(client, site, here, there.addresses[0])
            routes = "ip route show dev own0"
            await asyncio.to_thread(shows, here, routes, lambda text: "10.9.0.0/24" in text)
            for change, wanted, unwanted in (
                ("route 10.40.0.0 255.255.0.0", "10.40.0.0/16", "10.41.0.0/16"),
                ("route 10.41.0.0 255.255.0.0", "10.41.0.0/16", "10.40.0.0/16"),
                ("-route", "10.9.0.0/24", "10.41.0.0/16"),
            ):
                assert await server.command(["push", "*", *change.split()]) == "pushed to 1 of 1 clients"
                await asyncio.to_thread(shows, here, routes, only(wanted, unwanted))
            assert await server.command(["push", "amy", "tun-mtu", "1280"]) == "pushed to 1 of 1 clients"
            await asyncio.to_thread(shows, here, "ip link show own0", lambda text: "mtu 1280 " in text)
            bob = site.identity("bob", "client")
            old = site.openvpn(other, f"--client --dev tun0 --nobind --remote {there.addresses[0]} {bob}")
            await asyncio.to_thread(old.expect, UP)
            said.append(await server.command(["push", "bob", "route", "10.40.0.0", "255.255.0.0"]))
            assert (await asyncio.to_thread(process.stop)) == 0

    there.call(main)
    assert said == ["pushed to 0 of 1 clients; 1 do not accept it, since they are too old"]
