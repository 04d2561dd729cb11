"""DOSBox's IPX tunnel server, against clients that were written from the format's description."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.support.aio import TIMEOUT, eventually, run
from tests.support.fuzzing import scaled
from tests.support.machines import Machine, opened
from tests.support.sockets import free_port
from tests.support.statements import make
from tmelink.element import connect
from tmelink.elements.emulators import ipxnet
from tmelink.elements.emulators.ipxnet import IpxNet, node_of
from tmelink.encapsulation.ipx import FORMS, from_frame
from tmelink.frame import Burst

EVERYBODY = b"\xff" * 6


def packet(to: bytes, source: bytes, to_socket: int = 0x4000, data: bytes = b"game") -> bytes:
    head = struct.pack("!HHBB", 0xFFFF, 30 + len(data), 0, 4)
    return head + bytes(4) + to + struct.pack("!H", to_socket) + bytes(4) + source + b"\x40\0" + data


def framed(form: str, ipx: bytes, to: bytes, source: bytes) -> bytes:
    inner = {
        "ethernet-ii": b"",
        "802.3": b"",
        "802.2": b"\xe0\xe0\x03",
        "snap": b"\xaa\xaa\x03\0\0\0\x81\x37",
    }[form]
    payload = inner + ipx
    kind = 0x8137 if form == "ethernet-ii" else len(payload)
    return to + source + kind.to_bytes(2, "big") + payload


SOCKETS: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Every client's socket is closed after its test."""
    yield
    while SOCKETS:
        SOCKETS.pop().close()


class DosBox:
    """A client."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        SOCKETS.append(self.sock)
        self.sock.bind((address, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.node = bytes(6)

    async def next(self) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await asyncio.get_running_loop().sock_recv(self.sock, 65536)

    async def register(self) -> None:
        """`ipxnet connect`: a header alone, to node 0 and socket 2."""
        self.sock.send(packet(bytes(6), bytes(6), 2, b""))
        answer = await self.next()
        assert len(answer) == 30
        assert answer[:4] == b"\xff\xff\0\x1e"
        assert answer[16:18] == answer[28:30] == b"\0\2", "from socket 2 to socket 2"
        assert answer[18:22] == b"\0\0\0\1", "the server's network"
        self.node = answer[10:16]


def server(form: str = "ethernet-ii") -> tuple[IpxNet, int, Machine]:
    port = free_port()
    element = make("tmelink/ipxnet", f"local 127.0.0.1:{port} frame {form}", "dos")
    assert isinstance(element, IpxNet)
    machine = Machine(offload=False)
    connect(element.port(), machine.port())
    return element, port, machine


@pytest.mark.parametrize("form", FORMS)
def test_clients_are_stations_of_the_ethernet_and_reach_each_other(form: str) -> None:
    async def body() -> None:
        element, port, machine = server(form)
        async with opened(element):
            one, two = DosBox(port), DosBox(port, "127.0.0.2")
            await one.register()
            await two.register()
            assert one.node == bytes((126, 0, 0, 1)) + one.sock.getsockname()[1].to_bytes(2, "big")
            assert two.node[:4] == bytes((126, 0, 0, 2))
            # Between clients, one to one: the Ethernet does not hear it.
            one.sock.send(packet(two.node, one.node))
            assert await two.next() == packet(two.node, one.node)
            assert machine.frames == []
            # A broadcast reaches everybody else.
            one.sock.send(packet(EVERYBODY, one.node))
            assert await two.next() == packet(EVERYBODY, one.node)
            await machine.until(lambda: len(machine.got) == 1)
            assert machine.frames == [framed(form, packet(EVERYBODY, one.node), EVERYBODY, one.node)]
            # A server on the Ethernet answers, in whatever form, with padding behind.
            netware = b"\0\0\x1b\0\0\1"
            for each in FORMS:
                answer = framed(each, packet(one.node, netware, data=each.encode()), one.node, netware)
                machine.send(answer + (bytes(9) if each != "802.3" else b""))
                assert await one.next() == packet(one.node, netware, data=each.encode())
            one.sock.send(packet(netware, one.node))
            await machine.until(lambda: len(machine.got) == 2)
            assert machine.frames[1] == framed(form, packet(netware, one.node), netware, one.node)
            machine.send(framed(form, packet(EVERYBODY, netware), EVERYBODY, netware))
            assert await one.next() == await two.next() == packet(EVERYBODY, netware)

    run(body)


def test_who_has_not_registered_is_not_heard_and_nobody_takes_another_s_node() -> None:
    async def body() -> None:
        element, port, machine = server()
        async with opened(element):
            one, two = DosBox(port), DosBox(port)
            two.sock.send(packet(EVERYBODY, node_of(two.sock.getsockname())))
            await one.register()
            two.sock.send(b"nothing")
            await two.register()
            two.sock.send(packet(EVERYBODY, one.node))
            drops = element.endpoint.received.drops
            await eventually(lambda: drops == {"not a client's node": 2, "IPX: short packet": 1})
            nobody = framed("snap", packet(b"\2" * 6, bytes(6)), b"\2" * 6, b"\4" * 6)
            machine.send(b"\xff" * 12 + b"\x08\0" + bytes(46), nobody)
            assert element.endpoint.sent.drops == {"not IPX": 1, "no such client": 1}
            assert machine.frames == []

    run(body)


def test_either_side_may_be_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        element, port, machine = server()
        one = DosBox(port)
        for _ in range(2):  # The server is restarted, and DOSBox connects anew: it has no other means.
            async with opened(element):
                await one.register()
                one.sock.send(packet(EVERYBODY, one.node))
                await machine.until(lambda: len(machine.got) > 0)
                machine.got.clear()
        async with opened(element):
            again = DosBox(port)  # DOSBox is restarted, and is at another port then.
            await one.register()
            await again.register()
            assert again.node != one.node
            monkeypatch.setattr(ipxnet, "MOST_CLIENTS", 2)
            third = DosBox(port)
            await third.register()
            assert set(element._clients) == {again.node, third.node}, "the longest silent one makes room"

    run(body)


@pytest.mark.fuzz
def test_mutilated_packets_and_frames_are_taken_or_counted() -> None:
    async def body() -> None:
        element, port, machine = server("802.2")
        async with opened(element):
            client = DosBox(port)
            await client.register()
            chance = random.Random(5)
            address = client.sock.getsockname()
            good = packet(b"\2\0\0\0\0\1", client.node)
            forms = [framed(form, packet(EVERYBODY, b"\2" * 6), EVERYBODY, b"\2" * 6) for form in FORMS]
            for _ in range(scaled(5_000)):
                for whole in (good, chance.choice(forms)):
                    data = bytearray(whole)
                    for _ in range(chance.randrange(4)):
                        data[chance.randrange(len(data))] = chance.randrange(256)
                    del data[chance.randrange(len(data) + 1) :]
                    if whole is good:
                        element._arrived([bytes(data)], address)
                    else:
                        element.send([bytes(data)])
            received = element.endpoint.received.drops
            assert received["IPX: short packet"] > 0
            assert received["IPX: not a packet"] > 0
            assert element.endpoint.sent.drops["not IPX"] > 0
            assert all(from_frame(each) is not None for each in machine.frames)

    run(body)


def test_what_is_too_short_for_a_frame_is_counted() -> None:
    async def body() -> None:
        element, _port, machine = server()
        async with opened(element):
            machine.ports[0].send(Burst([b"", bytes(13), bytes(14)]))
            assert sum(element.endpoint.sent.drops.values()) == 3

    run(body)
