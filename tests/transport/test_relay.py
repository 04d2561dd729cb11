"""Datagrams behind a relay's header: runs stay runs, strangers are not heard, the relay's end is told."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable

import pytest

from tests.support.aio import run
from tmelink.frame import Counters, Frame, Run
from tmelink.transport import socks
from tmelink.transport.datagrams import Address
from tmelink.transport.relay import Relayed

PEER = ("10.1.0.2", 1194)
OTHER = ("10.1.0.3", 1194)
HEADER = socks.header(PEER)
LOG = logging.getLogger("test")


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


class Lab:
    """Our end, and the sockets of a relay that the test speaks for."""

    def __init__(self, **options: bool) -> None:
        self.relay = udp()
        ours, self.control = socket.socketpair()
        ours.setblocking(False)
        self.got: list[tuple[list[bytes], bool, Address]] = []
        self.ended: list[str] = []
        self.changed = asyncio.Event()
        self.sent, self.received = Counters(), Counters()
        own = udp()
        self.address = own.getsockname()
        self.relayed = Relayed(
            own,
            ours,
            self.relay.getsockname(),
            self._receive,
            self._end,
            lambda held: None,
            LOG,
            self.sent,
            self.received,
            **options,
        )

    def _receive(self, items: list[Frame | Run], address: Address) -> None:
        for item in items:
            pieces = item.pieces() if isinstance(item, Run) else [item]
            self.got.append(([bytes(piece) for piece in pieces], isinstance(item, Run), address))
        self.changed.set()

    def _end(self, reason: str) -> None:
        self.ended.append(reason)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def read(self, count: int) -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            return [await loop.sock_recv(self.relay, 65536) for _ in range(count)]

    def close(self) -> None:
        self.relayed.close()
        self.relay.close()
        self.control.close()


@pytest.mark.parametrize("segment", [True, False])
def test_each_datagram_of_a_run_gets_the_header(segment: bool) -> None:
    async def main() -> None:
        lab = Lab(segment=segment)
        data = bytes(range(256)) * 4
        lab.relayed.send([Run(memoryview(data), 300), b"one"], PEER)
        lab.relayed.send([b"two"], OTHER)
        pieces = [data[at : at + 300] for at in range(0, len(data), 300)]
        expected = [HEADER + piece for piece in (*pieces, b"one")] + [socks.header(OTHER) + b"two"]
        assert await lab.read(len(expected)) == expected
        assert lab.sent.frames == len(expected)
        assert lab.sent.bytes == sum(map(len, expected))
        lab.close()

    run(main)


def test_a_run_from_one_sender_arrives_as_a_run() -> None:
    async def main() -> None:
        lab = Lab()
        pieces = [bytes([n]) * 200 for n in range(5)] + [b"short"]
        headed = b"".join(HEADER + piece for piece in pieces)
        lab.relay.sendmsg(
            [headed],
            [(socket.IPPROTO_UDP, 103, struct.pack("=H", 200 + len(HEADER)))],
            0,
            lab.address,
        )
        await lab.until(lambda: sum(len(found) for found, _run, _from in lab.got) == 6)
        assert [piece for found, _run, _from in lab.got for piece in found] == pieces
        assert {where for _found, _run, where in lab.got} == {PEER}
        if len(lab.got) == 1:
            assert lab.got[0][1], "what the kernel joined stays joined"
        lab.close()

    run(main)


def test_senders_are_told_apart_and_what_is_no_relayed_datagram_is_counted() -> None:
    async def main() -> None:
        lab = Lab()
        for datagram in (
            HEADER + b"a",
            socks.header(OTHER) + b"b",
            b"no header",
            b"\0\0\1" + HEADER[3:] + b"a fragment",
            HEADER + b"c",
        ):
            lab.relay.sendto(datagram, lab.address)
        await lab.until(lambda: sum(len(found) for found, _run, _from in lab.got) == 3)
        heard = [(piece, where) for found, _run, where in lab.got for piece in found]
        assert heard == [(b"a", PEER), (b"b", OTHER), (b"c", PEER)]
        assert lab.received.drops == {"not a relayed datagram": 2}
        lab.close()

    run(main)


def test_a_stranger_is_not_heard() -> None:
    async def main() -> None:
        lab = Lab()
        stranger = udp()
        stranger.sendto(HEADER + b"forged", lab.address)
        lab.relay.sendto(HEADER + b"true", lab.address)
        await lab.until(lambda: bool(lab.got))
        assert lab.got == [([b"true"], False, PEER)]
        assert lab.received.drops == {"not from the proxy": 1}
        stranger.close()
        lab.close()

    run(main)


def test_the_end_of_the_proxys_connection_is_told_once_and_its_chatter_is_not() -> None:
    async def main() -> None:
        lab = Lab()
        lab.control.send(b"hello")
        lab.control.shutdown(socket.SHUT_WR)
        await lab.until(lambda: bool(lab.ended))
        await asyncio.sleep(0)
        assert lab.ended == ["the proxy closed its connection"]
        lab.close()

    run(main)
