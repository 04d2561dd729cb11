"""Strangers who keep others from coming in: floods of resets, silent connections, idle connections."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

import tmelink
from tests.attacks.places import Place, drops, free_port, link, run, server, until
from tests.attacks.strangers import Callers, caller, client_hello, control, framed, gone, reset
from tmelink.elements.builtin.host import Host

LET_IN = 15.0
"""Seconds in which a client has to be up, whoever else is knocking."""


def client(options: str) -> str:
    return link("b", f"--client --nobind {options}", "10.8.0.200")


def test_resets_that_no_key_has_wrapped_lock_nobody_out(tmp_path: Path) -> None:
    """300 a second, as in the issue's measurement with OpenVPN's own default limit of 100 in 10 seconds.

    OpenVPN 2.6 in the server's place lets the client in within 0.7 s.
    """
    place = Place(tmp_path)
    port = free_port()
    crypt = f"--tls-crypt {place.static_key()}"
    at = f"--local 127.0.0.1 --lport {port}"

    async def main() -> None:
        async with tmelink.load(server(f"{at} {crypt} {place.identity('server', 'server')}")).run() as here:
            with caller() as stranger:

                async def knock() -> None:
                    for number in range(1, 100_000):
                        for turn in range(30):
                            session = (number * 30 + turn).to_bytes(8, "big")
                            stranger.sendto(reset(session) + bytes(40), ("127.0.0.1", port))
                        await asyncio.sleep(0.1)

                knocking = asyncio.create_task(knock())
                await until(lambda: sum(drops(here, "/server").values()) > 150)
                remote = f"--remote 127.0.0.1 {port}"
                text = client(f"{remote} {crypt} {place.identity('client', 'client')}")
                async with tmelink.load(text).run() as there:
                    await until(lambda: there["/link"].up, LET_IN)
                knocking.cancel()
            assert "more resets than --connect-freq-initial" not in drops(here, "/server")

    run(main)


def test_clients_that_come_in_do_not_use_up_the_limit(tmp_path: Path) -> None:
    """Whoever has shown that he is where he says counts no more, as in OpenVPN 2.6."""
    place = Place(tmp_path)
    port = free_port()
    at = f"--local 127.0.0.1 --lport {port} --connect-freq-initial 2 60"

    async def main() -> None:
        async with tmelink.load(server(f"{at} {place.identity('server', 'server')}")).run():
            text = client(f"--remote 127.0.0.1 {port} {place.identity('client', 'client')}")
            for _ in range(5):
                async with tmelink.load(text).run() as there:
                    await until(lambda: there["/link"].up, LET_IN)

    run(main)


@pytest.mark.parametrize("mode", ["server", "two ends"])
def test_silent_connections_end_after_the_hand_window(tmp_path: Path, mode: str) -> None:
    """As in OpenVPN, which drops a thousand of them within its hand-window."""
    place = Place(tmp_path)
    port = free_port(socket.SOCK_STREAM)
    at = f"--proto tcp-server --local 127.0.0.1 --lport {port} --hand-window 1"
    identity = place.identity("server", "server")
    ends = link("a", f"{at} --tls-server {identity}", "10.8.0.1")
    text = server(f"{at} {identity}") if mode == "server" else ends

    async def main() -> None:
        with Callers(port) as callers:
            async with tmelink.load(text).run():
                strangers = [
                    *await callers.call(2),
                    *await callers.call(1, framed(reset(b"stranger"))),
                    *await callers.call(1, framed(b"\xff" * 20)),
                ]
                assert await until(lambda: all(map(gone, strangers)), 5) > 0.5

    run(main)


def test_a_full_server_makes_room_for_whoever_says_something(tmp_path: Path) -> None:
    place = Place(tmp_path)
    port = free_port(socket.SOCK_STREAM)
    at = f"--proto tcp-server --local 127.0.0.1 --lport {port} --max-clients 4"
    text = client(f"--proto tcp-client --remote 127.0.0.1 {port} {place.identity('client', 'client')}")

    async def main() -> None:
        with Callers(port) as callers:
            async with tmelink.load(server(f"{at} {place.identity('server', 'server')}")).run() as here:
                half = await callers.call(2, framed(reset(b"stranger")))
                await callers.call(10)
                async with tmelink.load(text).run() as there:
                    await until(lambda: there["/link"].up, LET_IN)
                    await callers.call(10)
                    await asyncio.sleep(0.5)
                    assert there["/link"].up
                    assert here["/server"].up
                assert not any(map(gone, half)), "those who said something stay longer than the silent ones"

    run(main)


KEYS = ("tls", "static")


@pytest.mark.parametrize("first", [b"", framed(reset(b"stranger"))])
@pytest.mark.parametrize("key", KEYS)
def test_idle_connections_keep_nobody_from_a_tcp_link(tmp_path: Path, key: str, first: bytes) -> None:
    """Twenty, and ten more a second; OpenVPN hears one connection at a time, and lets nobody in beside it."""
    place = Place(tmp_path)
    port = free_port(socket.SOCK_STREAM)
    if key == "tls":
        ours = f"--tls-server {place.identity('server', 'server')}"
        theirs = f"--tls-client {place.identity('client', 'client')}"
    else:
        ours, theirs = (f"--secret {place.static_key()} {way} --cipher AES-256-CBC" for way in (0, 1))
    at = f"--proto tcp-server --local 127.0.0.1 --lport {port} --keepalive 1 10 {ours}"
    other = f"--proto tcp-client --remote 127.0.0.1 {port} --keepalive 1 10 --connect-retry 1 {theirs}"

    async def main() -> None:
        with Callers(port) as callers:
            async with tmelink.load(link("a", at, "10.8.0.1")).run() as here:

                async def knock() -> None:
                    while True:
                        await callers.call(1, first)
                        await asyncio.sleep(0.1)

                await callers.call(20, first)
                knocking = asyncio.create_task(knock())
                async with tmelink.load(link("b", other, "10.8.0.2")).run() as there:
                    await until(lambda: here["/link"].up and there["/link"].up, LET_IN)
                    await asyncio.sleep(1)
                    assert here["/link"].up
                    assert there["/link"].up
                knocking.cancel()

    run(main)


def test_an_idle_stranger_keeps_no_emulator_from_a_stream_server() -> None:
    """QEMU's -netdev stream has no handshake: whoever has sent no frame gives way to who comes next."""
    port = free_port(socket.SOCK_STREAM)

    async def main() -> None:
        with Callers(port) as callers:
            stream = "s at own: tmelink/qemu/stream"
            text = f"own: tmelink/host inet 10.0.0.1/24\n{stream} server 127.0.0.1:{port}\n"
            other = f"own: tmelink/host inet 10.0.0.2/24\n{stream} connect 127.0.0.1:{port}\n"
            async with tmelink.load(text).run() as here:
                await callers.call(3)
                await until(lambda: here["/s"].up)
                async with tmelink.load(other).run() as there:
                    host = there["/own"]
                    assert isinstance(host, Host)

                    async def answered() -> None:
                        while not (await host.ping(ip_address("10.0.0.1"), count=1, timeout=0.3)).received:
                            pass

                    await asyncio.wait_for(answered(), 10)

    run(main)


def test_a_strangers_reset_ends_no_connection(tmp_path: Path) -> None:
    place = Place(tmp_path)
    port = free_port(socket.SOCK_STREAM)
    at = f"--proto tcp-server --local 127.0.0.1 --lport {port} --tls-server "
    at += place.identity("server", "server")
    other = f"--proto tcp-client --remote 127.0.0.1 {port} --tls-client {place.identity('client', 'client')}"

    async def main() -> None:
        with Callers(port) as callers:
            async with (
                tmelink.load(link("a", at, "10.8.0.1")).run() as here,
                tmelink.load(link("b", other, "10.8.0.2")).run() as there,
            ):
                await until(lambda: here["/link"].up and there["/link"].up)
                for number in range(1, 4):
                    session = bytes((number,)) * 8
                    await callers.call(2, framed(reset(session), control(session, 1, client_hello())))
                    await asyncio.sleep(0.2)
                    assert here["/link"].up
                    assert there["/link"].up

    run(main)
