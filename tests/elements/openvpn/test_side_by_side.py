"""UDP links to a name with several addresses, of which some are dead or die."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aio import eventually, run
from tests.support.links import End
from tests.support.machines import frame
from tests.support.sockets import free_port, received
from tmelink.elements.openvpn import side_by_side
from tmelink.errors import ElementError
from tmelink.transport import names, sockets

FAMILIES = {"::1": socket.AF_INET6, "127.0.0.1": socket.AF_INET, "127.0.0.2": socket.AF_INET}
NAME = "peer.example.net"


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of `NAME`, in the resolver's order."""
    hosts = ["::1", "127.0.0.1"]

    async def lookup(host: str, port: int, family: int, kind: int) -> list[Any]:
        assert host == NAME
        return [
            (FAMILIES[at], kind, 0, "", (at, port, 0, 0) if ":" in at else (at, port))
            for at in hosts
            if family in (socket.AF_UNSPEC, FAMILIES[at])
        ]

    monkeypatch.setattr(names, "lookup", lookup)
    return hosts


@contextlib.contextmanager
def peer(host: str, port: int) -> Iterator[socket.socket]:
    """A socket of the peer's at one of its addresses."""
    with socket.socket(FAMILIES[host], socket.SOCK_DGRAM) as sock:
        if host == "::1":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.setblocking(False)
        yield sock


def waiting(sock: socket.socket) -> int:
    """Datagrams that have come and not been read, all of which are taken."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv(4096)
            count += 1
    return count


def remote(port: int, own: int, more: str = "") -> str:
    return f"--dev tap --lport {own} --remote {NAME} {port} --disable-occ {more}"


def test_a_dead_address_costs_nothing() -> None:
    async def body() -> None:
        port, own = free_port(), free_port()
        with peer("::1", port) as dead, peer("127.0.0.1", port) as alive:
            async with End(remote(port, own)) as end:
                await eventually(lambda: end.link.peer)
                end.machine.send(frame(1))
                assert await received(alive) == frame(1)
                alive.sendto(frame(2), ("127.0.0.1", own))
                await end.machine.until(lambda: bool(end.machine.frames))
                assert end.link.details().peer == f"127.0.0.1:{port}"
                waiting(dead)
                end.machine.send(frame(3))
                assert await received(alive) == frame(3)
                assert waiting(dead) == 0

    run(body)


def test_copies_are_few_while_nobody_answers() -> None:
    async def body() -> None:
        port, own = free_port(), free_port()
        with peer("::1", port) as first, peer("127.0.0.1", port) as second:
            async with End(remote(port, own)) as end:
                await eventually(lambda: end.link.peer)
                for number in range(20):
                    end.machine.send(frame(number))
                assert (waiting(first), waiting(second)) == (20, 1)

    run(body)


def test_an_address_that_falls_silent_is_left_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(side_by_side, "COPY_SECONDS", 0.02)

    async def body() -> None:
        port, own = free_port(), free_port()
        ends = ("::1", "127.0.0.1")
        with peer("::1", port) as first, peer("127.0.0.1", port) as second:
            async with End(remote(port, own)) as end:
                await eventually(lambda: end.link.peer)
                for at, alive in ((0, first), (1, second), (0, first)):

                    async def answered(at: int = at, alive: socket.socket = alive) -> bool:
                        end.machine.send(frame(1))
                        await asyncio.sleep(0.02)
                        if not waiting(alive):
                            return False
                        count = len(end.machine.frames)
                        alive.sendto(frame(2), (ends[at], own))
                        await end.machine.until(lambda: len(end.machine.frames) > count)
                        return bool(end.link.details().peer == sockets.show((ends[at], port)))

                    async with asyncio.timeout(10):
                        while not await answered():
                            pass
                    waiting(first)
                    waiting(second)
                    end.machine.send(frame(3))
                    other = second if alive is first else first
                    assert (waiting(alive), waiting(other)) == (1, 0)

    run(body)


def test_a_peer_that_is_heard_at_both_does_not_move_to_and_fro() -> None:
    async def body() -> None:
        port, own = free_port(), free_port()
        with peer("::1", port) as first, peer("127.0.0.1", port) as second:
            async with End(remote(port, own)) as end:
                await eventually(lambda: end.link.peer)
                for number in range(1, 9):
                    first.sendto(frame(number), ("::1", own))
                    second.sendto(frame(number), ("127.0.0.1", own))
                    await end.machine.until(lambda n=number: len(end.machine.frames) == 2 * n)  # type: ignore[misc]
                    if number == 1:
                        where = end.link.details().peer
                    assert end.link.details().peer == where

    run(body)


def test_under_a_key_a_frame_that_takes_both_paths_comes_once(tmp_path: Any) -> None:
    key = tmp_path / "static.key"
    key.write_text(
        "-----BEGIN OpenVPN Static key V1-----\n"
        + "\n".join("ab" * 16 for _ in range(16))
        + "\n-----END OpenVPN Static key V1-----\n"
    )
    key.chmod(0o600)

    async def body() -> None:
        port, own = free_port(), free_port()
        secret = f"--secret {key} --cipher AES-256-CBC"
        async with (
            End(f"--dev tap --lport {port} --proto udp6 --disable-occ {secret}") as there,
            End(remote(port, own, secret)) as here,
        ):
            await eventually(lambda: here.link.peer)
            here.machine.send(frame(1))
            await there.machine.until(lambda: bool(there.machine.frames))
            await eventually(lambda: there.drops("wire received") == {"replayed": 1})
            there.machine.send(frame(2))
            await here.machine.until(lambda: bool(here.machine.frames))
            here.machine.send(frame(3))
            await there.machine.until(lambda: len(there.machine.frames) == 2)
            assert there.drops("wire received") == {"replayed": 1}

    run(body)


def test_a_stranger_is_not_heard_beside_them() -> None:
    async def body() -> None:
        port, own = free_port(), free_port()
        with peer("127.0.0.2", port) as stranger, peer("127.0.0.1", port) as alive:
            async with End(remote(port, own)) as end:
                await eventually(lambda: end.link.peer)
                stranger.sendto(frame(666), ("127.0.0.1", own))
                alive.sendto(frame(1), ("127.0.0.1", own))
                await end.machine.until(lambda: bool(end.machine.frames))
                assert end.machine.frames == [frame(1)]
                assert end.drops("wire received") == {"not the remote": 1}

    run(body)


def test_two_addresses_of_one_family_share_a_socket(addresses: list[str]) -> None:
    addresses[:] = ["127.0.0.2", "127.0.0.1"]

    async def body() -> None:
        port, own = free_port(), free_port()
        with peer("127.0.0.1", port) as alive:
            async with End(remote(port, own)) as end:
                await eventually(lambda: end.link.peer)
                end.machine.send(frame(1))
                assert await received(alive) == frame(1)

    run(body)


def test_a_computer_without_ipv6_takes_the_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    make = sockets.make_socket

    def without_ipv6(family: socket.AddressFamily, *rest: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise ElementError("this system has no IPv6 sockets")
        return make(family, *rest)

    monkeypatch.setattr(sockets, "make_socket", without_ipv6)

    async def body() -> None:
        port, own = free_port(), free_port()
        with peer("127.0.0.1", port) as alive:
            async with End(remote(port, own)) as end:
                await eventually(lambda: end.link.peer)
                end.machine.send(frame(1))
                assert await received(alive) == frame(1)
                alive.sendto(frame(2), ("127.0.0.1", own))
                await end.machine.until(lambda: bool(end.machine.frames))

    run(body)


def test_links_that_share_a_port_each_hear_all_addresses_of_their_peer() -> None:
    async def body() -> None:
        one, two, own = free_port(), free_port(), free_port()
        async with End(remote(one, own)) as a, End(remote(two, own)) as b:
            await eventually(lambda: a.link.peer and b.link.peer)
            for end, port in ((a, one), (b, two)):
                for count, host in enumerate(("::1", "127.0.0.1"), 1):
                    with peer(host, port) as sock:
                        sock.sendto(frame(port), (host, own))
                        await end.machine.until(lambda end=end, n=count: len(end.machine.frames) == n)  # type: ignore[misc]
                assert end.machine.frames == [frame(port)] * 2

    run(body)
