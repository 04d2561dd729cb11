"""Formats that are multicast groups, on two hosts, against independent peers made from their descriptions."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aio import TIMEOUT
from tests.support.machines import Machine, frame, opened
from tests.support.netns import Namespace, Net
from tests.support.statements import make
from tmelink.element import connect
from tmelink.elements.emulators.cable import Cable

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip")]


class GroupPeer:
    """A program in a group: one socket that hears, and one that sends for each of its addresses."""

    def __init__(self, group: tuple[str, int], addresses: list[str], *, broadcast: str = "") -> None:
        self._to = [group] * len(addresses)
        self._hearing = socket.socket(type=socket.SOCK_DGRAM)
        self._hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._hearing.bind(("0.0.0.0", group[1]))
        self._hearing.setblocking(False)
        member = socket.inet_aton(group[0]) + socket.inet_aton(addresses[0])
        self._hearing.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        self._sending = []
        for address in addresses:
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, not broadcast)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
            sock.bind((address, 0))
            self._sending.append(sock)
        if broadcast:
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind(("127.0.0.1", 0))
            self._sending.append(sock)
            self._to.append((broadcast, group[1]))

    def send(self, data: bytes) -> None:
        for sock, to in zip(self._sending, self._to, strict=True):
            sock.sendto(data, to)

    async def heard(self, data: bytes) -> int:
        """How often it hears `data`, until nothing more comes for a moment."""
        loop, count = asyncio.get_running_loop(), 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT) as limit:
                while True:
                    got = await loop.sock_recv(self._hearing, 65536)
                    if got == data:
                        count += 1
                        limit.reschedule(loop.time() + 0.2)
        return count

    def close(self) -> None:
        for sock in (self._hearing, *self._sending):
            sock.close()


class Hosts:
    """Two hosts, and programs on them."""

    def __init__(self, net: Net) -> None:
        self.a, self.b = net.pair()
        self.b.run("ip", "addr", "add", "10.1.0.3/24", "dev", "eth0")
        for host in (self.a, self.b):
            host.run("ip", "route", "add", "239.0.0.0/8", "dev", "eth0")
        self._peers: list[GroupPeer] = []

    def peer(self, host: Namespace, *given: Any, **options: Any) -> GroupPeer:
        async def make() -> GroupPeer:
            return GroupPeer(*given, **options)

        self._peers.append(host.call(make))
        return self._peers[-1]

    def close(self) -> None:
        for peer in self._peers:
            peer.close()


@pytest.fixture
def hosts(net: Net) -> Iterator[Hosts]:
    found = Hosts(net)
    yield found
    found.close()


@pytest.mark.parametrize("secret", ["", "retro"])
def test_86box_on_this_computer_and_on_another(hosts: Hosts, secret: str) -> None:
    """The other one has two addresses on the network, so each of its frames comes twice."""
    group = ("239.255.80.86" if secret else "239.255.86.86", 8086)
    digest = hashlib.sha3_256(secret.encode()).digest() if secret else b""
    here = hosts.peer(hosts.a, group, ["10.1.0.1"], broadcast="127.255.255.255")
    there = hosts.peer(hosts.b, group, ["10.1.0.2", "10.1.0.3"], broadcast="127.255.255.255")

    async def main() -> None:
        for first in (0, 10):  # and once more after a restart
            element = make("tmelink/86box", f"{f'secret {secret}' if secret else ''} local 10.1.0.1")
            assert isinstance(element, Cable)
            machine = Machine(offload=False)
            connect(element.port(), machine.port())
            async with opened(element):
                here.send(digest + frame(first + 1))
                await machine.until_number(first + 1)
                there.send(digest + frame(first + 2))
                await machine.until_number(first + 2)
                # A station may say the same again.
                there.send(digest + frame(first + 2))
                if secret:
                    here.send(hashlib.sha3_256(b"another").digest() + frame(first + 3))
                    here.send(b"short")
                machine.send(frame(first + 4))
                assert await here.heard(digest + frame(first + 4)) == 1
                assert await there.heard(digest + frame(first + 4)) == 1
                twice = [first + 1, first + 2, first + 2]
                await machine.until(lambda machine=machine, twice=twice: machine.numbers[-3:] == twice)  # type: ignore[misc]
                assert [n for n in machine.numbers if n > first] == twice
                assert element.endpoint.received.drops["copy"] == 2
                assert element.endpoint.received.drops["another secret"] == (2 if secret else 0)

    hosts.a.call(main)


def test_localtalk_of_two_houses_is_one(hosts: Hosts) -> None:
    """Two elements, each in a group of its own host, joined by what carries Ethernet."""
    group = ("239.192.76.84", 1954)
    here = hosts.peer(hosts.a, group, ["10.1.0.1"])
    enquiry = bytes.fromhex("00001234 05 fe 81")  # LLAP: to 5, from 254, lapENQ
    data = bytes.fromhex("00001234 05 06 01") + bytes(range(200)) * 3

    async def main() -> None:
        element = make("tmelink/ltoudp", "local 10.1.0.1")
        machine = Machine(offload=False)
        connect(element.port(), machine.port())
        async with opened(element):
            for datagram in (enquiry, data):
                machine.got.clear()
                here.send(datagram)
                here.send(b"short")
                await machine.until(lambda: len(machine.got) == 1)
                (carried,) = machine.frames
                assert carried[12:14] == b"\x88\xb5"
                # As it came, padded by a network, and cut by one: the last is nothing.
                machine.send(carried, carried + bytes(40), carried[:-1], frame(1))
                assert await here.heard(datagram) == 3  # its own, and two
            assert element.endpoint.sent.drops["not LocalTalk"] == 4  # type: ignore[attr-defined]
            assert element.endpoint.received.drops["not LocalTalk"] == 2  # type: ignore[attr-defined]

    hosts.a.call(main)


def test_a_group_on_every_network_that_is_asked_for_and_on_this_computer(hosts: Hosts) -> None:
    """As QEMU joins it: on one network, with its own loop of multicast."""
    group = ("239.77.0.2", 7002)
    here = hosts.peer(hosts.a, group, ["127.0.0.1"])
    there = hosts.peer(hosts.b, group, ["10.1.0.2"])

    async def main() -> None:
        element = make("tmelink/qemu/multicast", "239.77.0.2:7002 local 10.1.0.1 local 127.0.0.1")
        machine = Machine(offload=False)
        connect(element.port(), machine.port())
        async with opened(element):
            here.send(frame(1))
            await machine.until_number(1)
            there.send(frame(2))
            await machine.until_number(2)
            machine.send(frame(3))
            assert await there.heard(frame(3)) == 1
            assert await here.heard(frame(3)) >= 1
            assert machine.numbers == [1, 2]

    hosts.a.call(main)
