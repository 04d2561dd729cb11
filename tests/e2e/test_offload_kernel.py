"""The kernel as judge: its super-frames cut, its segments joined, and its own TCP and UDP between the two.

    a: socket - lan (TAP) ~ cut or joined here ~ b: lan (TAP) - bridge - eth0 = veth = c: eth0 - socket

b's eth0 has its offloads switched off, so what comes out at c has been segmented and checksummed by the
kernel from what was written to b's TAP.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.netns import Namespace, Net
from tests.support.packets import Flow, noise
from tmelink.frame import Burst, Frame, Gso, Run
from tmelink.offload import segment
from tmelink.offload.coalesce import coalesce
from tmelink.offload.virtio import HEADER, UDP_SEGMENTS, decode_header, encode_header
from tmelink.system import namespaces
from tmelink.system.tuntap import MAX_READ, open_tap

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "tcpdump", "ethtool")]

UDP_SEGMENT = 103
PORT = 5000
SECONDS = 20
"""Until a connection that makes no progress is given up."""

Forward = Callable[[Frame, Gso | None], Burst]


def cut(frame: Frame, gso: Gso | None) -> Burst:
    return Burst([frame] if gso is None else list(_cut(frame, gso).pieces()))


def join(frame: Frame, gso: Gso | None) -> Burst:
    return coalesce([frame if gso is None else _cut(frame, gso)], udp=True)


def join_separate(frame: Frame, gso: Gso | None) -> Burst:
    return coalesce([frame] if gso is None else _cut(frame, gso).pieces(), udp=True)


def _cut(frame: Frame, gso: Gso) -> Run:
    run = segment(frame, gso)
    assert run is not None, gso
    return run


class Pump:
    """Frames from one TAP to the other."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.read: list[tuple[int, Gso | None]] = []
        self.written: list[tuple[int, Gso | None]] = []
        self._buffer = memoryview(bytearray(MAX_READ))

    def __call__(self, source: int, sink: int) -> None:
        while True:
            try:
                length = os.readv(source, [self._buffer])
            except BlockingIOError:
                return
            frame = self._buffer[HEADER:length]
            gso = decode_header(self._buffer)
            self.read.append((len(frame), gso))
            burst = self.forward(frame, gso)
            labels: Sequence[Gso | None] = burst.gso or [None] * len(burst.frames)
            for out, label in zip(burst.frames, labels, strict=True):
                os.writev(sink, [encode_header(label), out])
                self.written.append((len(out), label))


class Lab:
    """The namespaces of the picture above; `a` and `c` have addresses of one network."""

    def __init__(self, net: Net) -> None:
        self.a = net.namespace()
        self.b, self.c = net.pair()

    @asynccontextmanager
    async def joined(self, pump: Pump) -> AsyncIterator[tuple[int, int]]:
        loop = asyncio.get_running_loop()
        left = await namespaces.run(lambda: open_tap("lan", offload=True), self.a.name)
        right = await namespaces.run(lambda: open_tap("lan", offload=True), self.b.name)
        try:
            self._plug()
            loop.add_reader(left.descriptor, pump, left.descriptor, right.descriptor)
            loop.add_reader(right.descriptor, Pump(cut), right.descriptor, left.descriptor)
            yield left.descriptor, right.descriptor
        finally:
            loop.remove_reader(left.descriptor)
            loop.remove_reader(right.descriptor)
            left.close()
            right.close()

    def _plug(self) -> None:
        b = self.b
        b.run("ip", "link", "add", "hub", "type", "bridge")
        for port in ("lan", "eth0"):
            b.run("ip", "addr", "flush", "dev", port)
            b.run("ip", "link", "set", port, "master", "hub", "up")
        b.run("ip", "link", "set", "hub", "up")
        b.run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")
        self.a.run("ip", "link", "set", "lan", "up")
        for number, (namespace, interface) in enumerate(((self.a, "lan"), (self.c, "eth0")), 1):
            namespace.run("ip", "addr", "add", f"10.7.0.{number}/24", "dev", interface)
            namespace.run("ip", "addr", "add", f"fd07::{number}/64", "dev", interface, "nodad")

    @staticmethod
    async def socket(namespace: Namespace, family: int, kind: int) -> socket.socket:
        made = await namespaces.run(lambda: socket.socket(family, kind), namespace.name)
        made.setblocking(False)
        return made


def address(family: int, number: int) -> str:
    return f"10.7.0.{number}" if family == socket.AF_INET else f"fd07::{number}"


def incorrect(capture: Any) -> list[str]:
    return [line for line in capture.text if "incorrect" in line or "bad cksum" in line]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("forward", [cut, join, join_separate])
def test_tcp(net: Net, forward: Forward, family: socket.AddressFamily) -> None:
    lab = Lab(net)
    pump = Pump(forward)
    data = noise(1_000_000)

    async def serve(listener: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(listener)
        received = bytearray()
        with connection:
            while more := await loop.sock_recv(connection, 1 << 20):
                received += more
        return bytes(received)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        async with lab.joined(pump):
            listener = await lab.socket(lab.c, family, socket.SOCK_STREAM)
            client = await lab.socket(lab.a, family, socket.SOCK_STREAM)
            with listener, client:
                listener.bind((address(family, 2), PORT))
                listener.listen()
                serving = asyncio.create_task(serve(listener))
                async with asyncio.timeout(SECONDS):
                    await loop.sock_connect(client, (address(family, 2), PORT))
                    await loop.sock_sendall(client, data)
                    client.shutdown(socket.SHUT_WR)
                    return await serving

    with lab.c.capture("eth0", "tcp", "and", "src", "host", address(family, 1)) as capture:
        assert asyncio.run(main()) == data
    # tcpdump may miss some of what comes at once.
    assert len(capture.packets) > 100
    assert incorrect(capture) == []
    assert max(map(len, capture.packets)) <= 1514
    # Nothing was tested unless the kernel sent super-frames and, when joined, was given them back.
    assert max(length for length, gso in pump.read if gso is not None) > 30_000
    assert all(length <= 1514 for length, gso in pump.written if gso is None)
    assert any(length > 30_000 for length, _ in pump.written) == (forward is not cut)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("forward", [cut, join])
def test_udp(net: Net, forward: Forward, family: socket.AddressFamily) -> None:
    lab = Lab(net)
    pump = Pump(forward)
    # Few enough for a receive buffer of the default size.
    runs = [noise(32 * 1000 + 500, seed) for seed in range(2)]
    sent = [run[at : at + 1000] for run in runs for at in range(0, len(run), 1000)]

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with lab.joined(pump):
            server = await lab.socket(lab.c, family, socket.SOCK_DGRAM)
            client = await lab.socket(lab.a, family, socket.SOCK_DGRAM)
            with server, client:
                server.bind((address(family, 2), PORT))
                client.connect((address(family, 2), PORT))
                # Addresses are resolved first, as few packets may wait for that.
                client.send(b"first")
                async with asyncio.timeout(SECONDS):
                    assert await loop.sock_recv(server, 2000) == b"first"
                for run in runs:
                    client.sendmsg([run], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 1000))])
                async with asyncio.timeout(SECONDS):
                    return [await loop.sock_recv(server, 2000) for _ in sent]

    expression = ("udp", "and", "src", "host", address(family, 1))
    with lab.c.capture("eth0", *expression, packets=1 + len(sent)) as capture:
        assert asyncio.run(main()) == sent
    assert incorrect(capture) == []
    if any(gso is not None and gso.kind == UDP_SEGMENTS for _, gso in pump.read):
        assert any(length > 30_000 for length, _ in pump.written) == (forward is join)
    else:
        pytest.skip("needs a kernel whose TAPs take UDP segmentation offload, Linux 6.2")


FLOWS = [
    Flow(version, udp=udp, tags=tags, flags=flags, **more)
    for version in (4, 6)
    for udp, flags in ((False, "PA"), (False, "FAC"), (True, "A"))
    for tags, more in (
        (0, {"timestamps": False}),
        (1, {"sequence": 0xFFFFF000, "identification": 0xFFFE}),
        (2, {}),
    )
] + [Flow(6, extensions=2)]


@pytest.mark.parametrize("last", [1400, 333], ids=["equal", "shorter last"])
def test_the_kernel_cuts_what_was_joined_into_what_it_was(net: Net, last: int) -> None:
    lab = Lab(net)
    pieces = [flow.pieces(noise(20 * 1400 + last, number), 1400) for number, flow in enumerate(FLOWS)]

    async def main() -> None:
        async with lab.joined(Pump(cut)) as (_, right):
            for frames in pieces:
                burst = coalesce([Run(memoryview(b"".join(frames)), len(frames[0]))], udp=True)
                assert burst.gso is not None
                [frame], [label] = burst.frames, burst.gso
                os.writev(right, [encode_header(label), frame])

    total = sum(map(len, pieces))
    with lab.c.capture("eth0", "ether", "src", "02:00:00:00:00:01", packets=total) as capture:
        asyncio.run(main())
    assert Counter(capture.packets) == Counter(frame for frames in pieces for frame in frames)
    assert incorrect(capture) == []
