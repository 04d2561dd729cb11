"""The LANCE, as a driver sees it."""

from __future__ import annotations

import zlib
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.devices.memory import Memory
from tests.support.fuzzing import examples
from tmelink.devices.am7990 import MAX_FRAME, RAP, RDP, Lance, logical_hash

MAC = bytes.fromhex("080020112233")
OTHER = bytes.fromhex("020000000002")
BLOCK, RX, TX, BUFFERS = 0x100, 0x200, 0x300, 0x1000
ROOM = 0x200
STOP, INIT, STRT, TDMD, INEA = 4, 1, 2, 8, 0x40
RINT, TINT, IDON, INTR, MERR, MISS, BABL, ERR = 0x400, 0x200, 0x100, 0x80, 0x800, 0x1000, 0x4000, 0x8000


class Driver:
    """Rings of four descriptors with buffers of 512 bytes: receive, then transmit."""

    def __init__(
        self,
        order: Literal["little", "big"] = "little",
        *,
        mode: int = 0,
        groups: int = 0,
        swap: bool = False,
    ) -> None:
        self.memory = Memory(0x8000, byteorder=order)
        self.chip = Lance(self.memory)
        put = self.memory.put_words
        put(BLOCK, mode, *(int.from_bytes(MAC[at : at + 2], "little") for at in (0, 2, 4)))
        put(BLOCK + 8, *(groups >> 16 * at & 0xFFFF for at in range(4)))
        put(BLOCK + 16, RX, 2 << 13, TX, 2 << 13)
        for number in range(4):
            self.give(number)
        self.csr(1, BLOCK)
        self.csr(2, 0)
        self.csr(3, 4 if swap else 0)
        self.csr(0, INIT)
        assert self.status == IDON | INTR | INIT
        self.csr(0, STRT | IDON | INEA)
        assert not self.memory.raised

    def csr(self, register: int, value: int) -> None:
        self.chip.write(RAP, register)
        self.chip.write(RDP, value)

    @property
    def status(self) -> int:
        self.chip.write(RAP, 0)
        return self.chip.read(RDP)

    def give(self, number: int) -> None:
        self.memory.put_words(RX + 8 * number, BUFFERS + ROOM * number, 0x8000, -ROOM & 0xFFFF, 0)

    def got(self, number: int) -> tuple[int, bytes]:
        """A receive descriptor's bits, and what is in its buffer."""
        at = RX + 8 * number
        length = self.memory.word(at + 6) & 0xFFF
        return self.memory.word(at + 2), self.memory.read(BUFFERS + ROOM * number, min(length, ROOM))

    def put(self, number: int, data: bytes, bits: int = 0x8300) -> None:
        at = BUFFERS + ROOM * (4 + number)
        self.memory.write(at, data)
        self.memory.put_words(TX + 8 * number, at, bits, -len(data) & 0xFFFF, 0xFFFF)


def frame(to: bytes = MAC, length: int = 60) -> bytes:
    return (to + OTHER + b"\x08\x00").ljust(length, b"x")


def test_a_frame_out() -> None:
    driver = Driver()
    driver.put(0, frame(OTHER))
    driver.csr(0, TDMD | INEA)
    assert driver.chip.out == [frame(OTHER)]
    assert driver.memory.word(TX + 2) == 0x0300
    assert driver.memory.word(TX + 6) == 0
    assert driver.status & (TINT | INTR) == TINT | INTR
    assert driver.memory.raised
    driver.csr(0, TINT | INEA)
    assert not driver.memory.raised


def test_a_frame_in() -> None:
    driver = Driver()
    driver.chip.receive(frame(length=20))
    bits, data = driver.got(0)
    padded = frame(length=20).ljust(60, b"\0")
    assert (bits, data) == (0x0300, padded + zlib.crc32(padded).to_bytes(4, "little"))
    assert driver.memory.raised
    assert driver.chip.ready(frame())
    assert driver.status == RINT | INTR | INEA | 0x30 | STRT | INIT


def test_frames_that_span_buffers() -> None:
    driver = Driver()
    driver.chip.receive(frame(length=1200))
    assert [driver.memory.word(RX + 8 * at + 2) for at in range(4)] == [0x0200, 0, 0x0100, 0x8000]
    assert driver.memory.word(RX + 22) == 1204
    assert driver.memory.read(BUFFERS, 1200) == frame(length=1200)
    for number, bits in ((0, 0x8200), (1, 0x8000), (2, 0x8100)):
        driver.put(number, frame(OTHER, ROOM) if not number else bytes([number]) * 100, bits)
    driver.csr(0, TDMD)
    assert driver.chip.out == [frame(OTHER, ROOM) + b"\1" * 100 + b"\2" * 100]


@pytest.mark.parametrize(("order", "swap"), [("big", True), ("little", True), ("big", False)])
def test_byte_order(order: Literal["little", "big"], swap: bool) -> None:
    driver = Driver(order, swap=swap)
    # On a 68000 the drivers set BSWP, and then bytes lie in memory as they are on the wire.
    straight = order == "big" and swap
    data = frame(OTHER, 64)
    crossed = data if straight else bytes(data[at ^ 1] for at in range(64))
    driver.put(0, crossed)
    driver.csr(0, TDMD)
    assert driver.chip.out == [data]
    driver.chip.receive(frame(length=64))
    _, got = driver.got(0)
    assert got[:64] == (frame(length=64) if straight else bytes(frame(length=64)[at ^ 1] for at in range(64)))


def test_the_address_filter() -> None:
    group, other_group = bytes.fromhex("01005e000001"), bytes.fromhex("333300000001")
    # From the data sheet's table of addresses that set each bit of the filter.
    assert logical_hash(bytes.fromhex("850000000000")) == 0
    assert logical_hash(bytes.fromhex("a50000000000")) == 1
    cases: list[tuple[dict[str, Any], list[bool]]] = [
        ({}, [True, False, True, False, False]),
        ({"groups": 1 << logical_hash(group)}, [True, False, True, True, False]),
        ({"mode": 0x8000}, [True, True, True, True, True]),
        ({"mode": 1}, [False] * 5),
    ]
    for arguments, accepted in cases:
        for to, taken in zip((MAC, OTHER, b"\xff" * 6, group, other_group), accepted, strict=True):
            driver = Driver(**arguments)
            driver.chip.receive(frame(to))
            assert bool(driver.status & RINT) == taken


def test_without_buffers() -> None:
    driver = Driver()
    for _ in range(4):
        assert driver.chip.ready(frame())
        driver.chip.receive(frame())
    assert not driver.chip.ready(frame())
    driver.chip.receive(frame())
    assert driver.status & (MISS | ERR) == MISS | ERR
    for number in (0, 1):
        driver.give(number)
    assert driver.chip.ready(frame(length=1000))
    assert not driver.chip.ready(frame(length=1500))
    assert driver.chip.ready(frame(OTHER, length=1500)), "it is not for this station"
    driver.chip.receive(frame(length=1500))
    assert [driver.got(number)[0] for number in (0, 1)] == [0x0200, 0x5400]
    assert driver.chip.drops == {"no buffer": 2}


def test_frames_that_are_none() -> None:
    driver = Driver()
    driver.put(0, frame(OTHER, 60), 0x8200)  # without an end
    driver.csr(0, TDMD)
    assert driver.memory.word(TX + 2) & 0xC000 == 0x4000
    assert driver.memory.word(TX + 6) == 0xC000
    assert not driver.chip.transmitting
    driver = Driver()
    for number, (data, bits) in enumerate([(frame(OTHER), 0x8100), (frame(OTHER)[:5], 0x8300)]):
        driver.put(number, data, bits)
    driver.csr(0, TDMD)
    assert driver.chip.out == []
    assert driver.chip.drops == {"short frame": 1}
    driver = Driver()
    for number, bits in enumerate((0x8200, 0x8000, 0x8000, 0x8100)):
        driver.put(number, bytes(ROOM), bits)
    driver.csr(0, TDMD)
    assert driver.status & BABL
    assert driver.chip.drops == {"babble": 1}
    assert 4 * ROOM > MAX_FRAME


def test_loopback_and_carrier() -> None:
    driver = Driver(mode=4)
    driver.put(0, frame(MAC, 32))
    driver.csr(0, TDMD)
    assert driver.got(0) == (0x0300, frame(MAC, 32) + zlib.crc32(frame(MAC, 32)).to_bytes(4, "little"))
    assert driver.chip.out == []
    driver = Driver()
    driver.chip.carrier = False
    driver.put(0, frame(OTHER))
    driver.csr(0, TDMD)
    assert (driver.memory.word(TX + 2), driver.memory.word(TX + 6)) == (0x4300, 0x0800)


def test_where_there_is_no_memory() -> None:
    driver = Driver()
    driver.memory.put_words(RX, 0, 0x80FF, -ROOM & 0xFFFF, 0)
    driver.chip.receive(frame())
    assert driver.status & (MERR | ERR | 0x30) == MERR | ERR
    assert driver.memory.raised
    driver.csr(0, STOP)
    assert driver.status == STOP
    driver.csr(2, 0xFF)
    driver.csr(0, INIT | STRT)
    assert driver.status & (MERR | IDON | 0x30) == MERR


def test_registers_while_it_runs() -> None:
    driver = Driver()
    driver.csr(1, 0x4444)
    assert driver.chip.read(RDP) == 0
    driver.csr(0, STOP | INIT | STRT)
    assert driver.status == STOP
    driver.chip.write(RAP, 1)
    assert driver.chip.read(RDP) == BLOCK
    assert driver.chip.read(RAP) == 1
    assert driver.chip.read(4) == 0


ACCESS = some.one_of(
    some.tuples(some.just("write"), some.sampled_from([RDP, RAP, 1, 7]), some.integers(0, 0xFFFF)),
    some.tuples(some.just("csr"), some.integers(0, 3), some.integers(0, 0xFFFF)),
    some.tuples(some.just("memory"), some.integers(0, 0x7F), some.binary(max_size=24)),
    some.tuples(some.just("frame"), some.integers(0, 5000), some.binary(max_size=14)),
    some.tuples(some.just("start"), some.integers(0, 0x7F), some.integers(0, 0xFFFF)),
)


@examples(300)
@given(
    some.lists(ACCESS, max_size=30),
    some.binary(min_size=128, max_size=128),
    some.sampled_from(["little", "big"]),
)
def test_anything_a_driver_may_do(
    accesses: list[tuple[str, int, Any]], memory: bytes, order: Literal["little", "big"]
) -> None:
    # Small memory, repeated, so that rings and buffers are often in it and often just outside.
    bus = Memory(0x180, byteorder=order)
    bus.data[:] = memory * 3
    chip = Lance(bus)
    for what, where, value in accesses:
        if what == "write":
            chip.write(where, value)
            chip.read(where)
        elif what == "csr":
            chip.write(RAP, where)
            chip.write(RDP, value)
            chip.read(RDP)
        elif what == "memory":
            bus.write(where, value)
        elif what == "frame":
            chip.receive(value.ljust(where, b"z"))
        else:
            # A block whose rings are in memory, of any length.
            bus.put_words(where & ~1, value, 0, 0, 0, value, 0, 0, 0, value & 0x1F8, value & 0xE000)
            bus.put_words((where & ~1) + 20, value >> 3 & 0x1F8, value << 3 & 0xE000)
            for register, number in ((0, STOP), (1, where), (2, 0), (3, value & 7), (0, 0x43)):
                chip.write(RAP, register)
                chip.write(RDP, number)
        chip.poll()
        assert chip.ready(bytes(1514)) in (True, False)
        assert all(len(sent) >= 14 for sent in chip.out)
        assert bus.raised == (chip.read(RDP) & 0xC0 == 0xC0 if chip.read(RAP) == 0 else bus.raised)
