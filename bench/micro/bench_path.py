"""What the rest of a frame's way costs, in isolation: reading a file, switching, sealing, opening, framing.

    python -m pytest bench/micro/bench_path.py

Look at the medians; the mean is other programs' doing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import tmelink
from bench.scale import lab
from tests.support.packets import Flow, noise
from tmelink.element import Element, Port, connect
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst, Run, SuperFrame
from tmelink.openvpn.data.direction import split
from tmelink.openvpn.data.keys import DataKeys, make
from tmelink.openvpn.data.replay import USUAL
from tmelink.openvpn.data.super_frames import SuperFrames
from tmelink.transport.streams import Framer, framed

Benchmark = Any

HEAD = b"\x48\0\0\0"
PIECES = 44
SIZE = 1400


def ends(cipher: str, *, epoch: bool = False) -> tuple[DataKeys, DataKeys]:
    drops: Counter[str] = Counter()
    client, server = (
        make(cipher, "SHA256", *split(bytes(range(256)), server=side), drops, epoch=epoch, window=USUAL)
        for side in (False, True)
    )
    return client, server


def run(size: int = SIZE, count: int = PIECES) -> Run:
    return Run(memoryview(bytes(size * count)), size)


CIPHERS = pytest.mark.parametrize(
    ("cipher", "epoch"),
    [("AES-256-GCM", False), ("AES-256-GCM", True), ("CHACHA20-POLY1305", False), ("AES-256-CBC", False)],
)


@CIPHERS
def bench_seal(benchmark: Benchmark, cipher: str, epoch: bool) -> None:
    client, _server = ends(cipher, epoch=epoch)
    assert len(benchmark(client.seal, HEAD, 0, [run()])) == 1


@CIPHERS
def bench_open(benchmark: Benchmark, cipher: str, epoch: bool) -> None:
    client, server = ends(cipher, epoch=epoch)

    def sealed() -> tuple[tuple[Any, ...], dict[str, Any]]:
        (item,) = client.seal(HEAD, 0, [run()])
        return (len(HEAD), 0, item), {}

    opened = benchmark.pedantic(server.open_run, setup=sealed, rounds=2000)
    assert opened


class Sink(Element):
    """Takes what comes."""

    arrived = 0

    def make_port(self) -> Port:
        return Port(self, offload=True)

    def receive(self, port: Port, burst: Burst) -> None:
        self.arrived += len(burst.frames)


@pytest.mark.parametrize("frames", [1, 64])
def bench_switch(benchmark: Benchmark, frames: int) -> None:
    async def body() -> None:
        switch = Switch("switch0", Switch.Arguments())
        stations = [Sink(f"station{number}", None) for number in range(8)]
        for station in stations:
            connect(station.port(), switch.port())
        await switch.open()
        for number, station in enumerate(stations):
            station.ports[0].send(Burst([b"\xff" * 6 + b"\2\0\0\0\0" + bytes((number,)) + bytes(48)]))
        burst = Burst([b"\2\0\0\0\0\1" + b"\2\0\0\0\0\0" + bytes(48) for _ in range(frames)])
        benchmark(stations[0].ports[0].send, burst)
        await switch.close()

    asyncio.run(body())


@pytest.mark.parametrize("size", [60, SIZE])
def bench_frame_a_stream(benchmark: Benchmark, size: int) -> None:
    item = run(size)
    assert len(benchmark(lambda: b"".join(framed([item])))) == PIECES * (size + 2)


@pytest.mark.parametrize("size", [60, SIZE])
def bench_cut_a_stream(benchmark: Benchmark, size: int) -> None:
    stream = b"".join(framed([run(size)]))
    framer = Framer()

    def cut() -> int:
        framer.room()[: len(stream)] = stream
        return len(framer.feed(len(stream)))

    assert benchmark(cut) == 1


def bench_put_a_super_frame_in_a_record(benchmark: Benchmark) -> None:
    records = SuperFrames(1522, 1522, Counter(), ip=False)
    item = SuperFrame(*Flow().super_frame(noise(45 * 1448), 1448))
    (record,) = benchmark(records.payloads, [item], list)
    assert records.open(record) == item


def bench_take_a_super_frame_from_a_record(benchmark: Benchmark) -> None:
    records = SuperFrames(1522, 1522, Counter(), ip=False)
    item = SuperFrame(*Flow().super_frame(noise(45 * 1448), 1448))
    (record,) = records.payloads([item], list)
    assert benchmark(records.open, record) == item


@pytest.mark.parametrize("statements", [100, 1000])
def bench_read_a_file(benchmark: Benchmark, statements: int) -> None:
    text = lab(statements // 2)
    assert len(benchmark(tmelink.load, text).elements) == statements
