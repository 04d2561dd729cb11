"""A TLS link over UDP whose client starts anew on another port, and strangers who would lead it away.

OpenVPN 2.6 in the server's place is back within a second, too, but takes any control packet for a sign of
life: 14 bytes every few seconds keep its --ping-restart from ever firing.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

import tmelink
from tests.attacks.places import Place, free_port, link, run, until
from tests.attacks.strangers import caller, client_hello, control, reset, server_reset
from tmelink.elements.builtin.host import Host

RECOVERED = 10.0
"""Seconds until a link that was restarted has to be back. It takes a tenth of one where nothing else runs;
the fault was that it never came back."""


async def pinged(lab: tmelink.Lab, address: str) -> None:
    """Ping until an answer comes."""
    host = next(element for element in lab.values() if isinstance(element, Host))
    while not (await host.ping(ip_address(address), count=1, timeout=0.2)).received:
        pass


@pytest.mark.parametrize("wrap", ["", "--tls-crypt"])
@pytest.mark.parametrize("floats", ["", "--float"])
def test_a_client_that_was_killed_is_back_at_once(tmp_path: Path, wrap: str, floats: str) -> None:
    place = Place(tmp_path)
    port = free_port()
    crypt = f"{wrap} {place.static_key()}" if wrap else ""
    server = link(
        "a",
        f"--tls-server --keepalive 10 60 --local 127.0.0.1 --lport {port} {floats} {crypt} "
        + place.identity("server", "server"),
        "10.0.77.1",
    )
    client = link(
        "b",
        f"--tls-client --keepalive 10 60 --nobind --remote 127.0.0.1 {port} {crypt} "
        + place.identity("client", "client"),
        "10.0.77.2",
    )

    async def main() -> None:
        async with tmelink.load(server).run() as here:
            for _ in range(3):
                # Without --explicit-exit-notify closing says nothing: to the server it is a kill.
                async with tmelink.load(client).run() as there:
                    async with asyncio.timeout(RECOVERED):
                        await pinged(there, "10.0.77.1")
                        await pinged(here, "10.0.77.2")

    run(main)


def test_packets_of_strangers_are_no_sign_of_life(tmp_path: Path) -> None:
    place = Place(tmp_path)
    port = free_port()
    server = link(
        "a",
        f"--tls-server --keepalive 1 2 --local 127.0.0.1 --lport {port} {place.identity('server', 'server')}",
        "10.0.77.1",
    )
    client = link(
        "b",
        f"--tls-client --keepalive 1 2 --nobind --remote 127.0.0.1 {port} "
        + place.identity("client", "client"),
        "10.0.77.2",
    )

    async def main() -> None:
        async with tmelink.load(server).run() as here:
            async with tmelink.load(client).run():
                await until(lambda: here["/link"].up)
            with caller() as stranger:

                async def knock() -> None:
                    for number in range(1000):
                        session = number.to_bytes(8, "big")
                        stranger.sendto(reset(session), ("127.0.0.1", port))
                        stranger.sendto(control(session, 1, client_hello()), ("127.0.0.1", port))
                        await asyncio.sleep(0.2)

                knocking = asyncio.create_task(knock())
                assert await until(lambda: not here["/link"].up, 10) < 8
                knocking.cancel()

    run(main)


def test_a_client_follows_no_stranger_who_answers_in_the_servers_place(tmp_path: Path) -> None:
    place = Place(tmp_path)
    port = free_port()
    server = link(
        "a",
        f"--tls-server --local 127.0.0.1 --lport {port} {place.identity('server', 'server')}",
        "10.0.77.1",
    )
    own = free_port()
    client = link(
        "b",
        f"--tls-client --float --local 127.0.0.1 --lport {own} --remote 127.0.0.1 {port} "
        + place.identity("client", "client"),
        "10.0.77.2",
    )

    async def main() -> None:
        with caller() as stranger:
            async with tmelink.load(client).run() as there:
                for number in range(1, 50):
                    stranger.sendto(server_reset(number.to_bytes(8, "big")), ("127.0.0.1", own))
                await asyncio.sleep(0.3)
                async with tmelink.load(server).run():
                    async with asyncio.timeout(10):
                        await pinged(there, "10.0.77.1")

    run(main)
