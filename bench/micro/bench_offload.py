"""What the fast path's computing costs, in isolation.

    python -m pytest bench/micro/bench_offload.py

Sizes are those of a bulk TCP stream through a TAP with an MTU of 1500: super-frames of 64 KB. Look at the
medians; the mean is other programs' doing.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.packets import Flow, noise
from tmelink.frame import Burst, Counters, Frame, Gso, Run
from tmelink.offload import cut, segment
from tmelink.offload.checksum import complete_checksum
from tmelink.offload.coalesce import coalesce
from tmelink.offload.headers import locate
from tmelink.offload.mss import clamp_mss
from tmelink.offload.virtio import decode_header, encode_header

Benchmark = Any

SHAPES = {
    "45 of 1448": (Flow(4), 45 * 1448, 1448),
    "44 of 1448 and one of 700": (Flow(4, flags="PA"), 44 * 1448 + 700, 1448),
    "44 of 1447 and one of 700": (Flow(4, flags="PA"), 44 * 1447 + 700, 1447),
    "45 of 1428 over IPv6": (Flow(6), 45 * 1428, 1428),
    "45 of 1448, tagged": (Flow(4, tags=1), 45 * 1448, 1448),
    "10 of 1448": (Flow(4), 10 * 1448, 1448),
    "45 datagrams of 1400": (Flow(4, udp=True), 45 * 1400, 1400),
}
shapes = pytest.mark.parametrize("shape", SHAPES)


def built(shape: str) -> tuple[memoryview, Gso, list[bytes]]:
    flow, length, size = SHAPES[shape]
    payload = noise(length)
    frame, gso = flow.super_frame(payload, size)
    return memoryview(bytearray(frame)), gso, flow.pieces(payload, size)


@shapes
def bench_segment(benchmark: Benchmark, shape: str) -> None:
    frame, gso, pieces = built(shape)
    run = benchmark(segment, frame, gso)
    assert [bytes(piece) for piece in run.pieces()] == pieces


@shapes
def bench_coalesce_run(benchmark: Benchmark, shape: str) -> None:
    _, gso, pieces = built(shape)
    run = Run(memoryview(b"".join(pieces)), len(pieces[0]))
    assert benchmark(coalesce, [run], udp=True).gso == [gso]


@shapes
def bench_coalesce_frames(benchmark: Benchmark, shape: str) -> None:
    _, gso, pieces = built(shape)
    assert benchmark(coalesce, pieces, udp=True).gso == [gso]


@pytest.mark.parametrize("as_run", [True, False], ids=["run", "frames"])
@pytest.mark.parametrize("length", [22, 1400])
def bench_coalesce_what_cannot_be(benchmark: Benchmark, length: int, as_run: bool) -> None:
    pieces = Flow(udp=True).pieces(noise(45 * length), length)
    items: list[Frame | Run] = [Run(memoryview(b"".join(pieces)), len(pieces[0]))] if as_run else [*pieces]
    assert benchmark(coalesce, items).gso is None


@pytest.mark.parametrize("length", [22, 700, 1448])
def bench_complete_checksum(benchmark: Benchmark, length: int) -> None:
    frame, gso = Flow(udp=True).super_frame(noise(length), length)
    assert benchmark(complete_checksum, memoryview(frame), gso._replace(kind=0)) is not None


@pytest.mark.parametrize("flags", ["A", "S"])
def bench_clamp_mss(benchmark: Benchmark, flags: str) -> None:
    [frame] = Flow(flags=flags).pieces(b"", 1)
    assert len(benchmark(clamp_mss, frame, 1300, 1280)) == len(frame)


@pytest.mark.parametrize("version", [4, 6])
def bench_locate(benchmark: Benchmark, version: int) -> None:
    [frame] = Flow(version).pieces(b"", 1)
    assert benchmark(locate, frame) is not None


def bench_decode_header(benchmark: Benchmark) -> None:
    header = bytearray(encode_header(Gso(1, 1448, 66, 34, 16)) + bytes(100))
    assert benchmark(decode_header, memoryview(header)) is not None


def bench_encode_header(benchmark: Benchmark) -> None:
    assert benchmark(encode_header, Gso(1, 1448, 66, 34, 16))


def bench_cut_small_frames(benchmark: Benchmark) -> None:
    frame, gso = Flow(udp=True).super_frame(noise(22), 22)
    burst = Burst([frame] * 64, [gso._replace(kind=0)] * 64)
    assert len(benchmark(cut, burst, Counters())) == 1
