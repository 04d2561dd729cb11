"""virtio-net, as a driver written from the specification sees it."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from tests.devices.memory import Memory
from tests.devices.virtio_driver import HEADER, MRG_RXBUF, OFFLOADS, Driver
from tests.support.fuzzing import examples
from tmelink.devices.virtio_net import VirtioNetDevice as Device
from tmelink.element import connect
from tmelink.elements.builtin.virtio_net import VirtioNet
from tmelink.frame import Burst, Gso

MAC = bytes.fromhex("020000000001")
BASE = 1 << 33
"""Above 4 GiB, where both halves of an address count."""

SUPER = Gso(1, 1448, 66, 34, 16)


def machine(features: int = OFFLOADS | MRG_RXBUF, **options: Any) -> tuple[Memory, Device, Driver]:
    memory = Memory(1 << 20, BASE)
    device = Device(memory, MAC)
    return memory, device, Driver(memory, device.read, device.write, features, **options)


def frame(length: int = 60, seed: int = 0) -> bytes:
    return bytes((at + seed) & 0xFF for at in range(length))


def super_frame(payload: int) -> bytes:
    """A TCP segment that is to be cut, with a partial checksum."""
    ip = bytes.fromhex("4500") + (40 + payload).to_bytes(2) + bytes.fromhex("000140004006") + bytes(2)
    ip += bytes((10, 0, 0, 1, 10, 0, 0, 2))
    tcp = bytes.fromhex("0001000200000001000000015018ffff00000000")
    return bytes(12) + b"\x08\x00" + ip + tcp + bytes(payload)


def test_frames_both_ways() -> None:
    memory, device, driver = machine()
    assert bytes(device.read(0x100 + at, 1) for at in range(6)) == MAC
    assert device.read(0x106, 2) == 1
    driver.send(frame())
    driver.send(frame(100))
    assert device.out == [(frame(), None), (frame(100), None)]
    assert len(driver.tx.returned()) == 2
    assert memory.raised
    device.write(0x64, device.read(0x60))
    assert not memory.raised
    for number in range(200):
        assert device.receive(frame(60 + number, number))
        assert memory.raised
        assert driver.receive() == [(struct.pack("<10xH", 1), frame(60 + number, number))]
    assert not memory.raised


def test_super_frames_cross_whole() -> None:
    _, device, driver = machine()
    whole = super_frame(60000)
    header = struct.pack("<BBHHHHH", 1, 1, 66, 1448, 34, 16, 0)
    driver.send(whole, header)
    assert device.out == [(whole, SUPER)]
    assert device.takes(SUPER)
    assert device.receive(whole, SUPER)
    ((got, data),) = driver.receive()
    assert (got, data) == (header[:10] + (30).to_bytes(2, "little"), whole)


def test_without_mergeable_buffers() -> None:
    _, device, driver = machine(0)
    assert device.receive(frame(2048 - HEADER))
    assert device.receive(frame(2049 - HEADER))
    assert len(driver.receive()) == 1
    assert device.drops == {"longer than the buffers": 1}
    assert not device.takes(SUPER)
    assert not device.takes_super_frames


def test_a_frame_waits_for_buffers() -> None:
    _, device, driver = machine(size=4)
    assert all(device.receive(frame(seed=number)) for number in range(4))
    assert not device.receive(frame(seed=4))
    assert len(driver.receive()) == 4
    assert device.receive(frame(seed=4))


def test_features_that_do_not_go_together() -> None:
    for features in (0, 1 << 32 | 1 << 7, 1 << 32 | 1 << 11, 1 << 32 | 1 << 50):
        device = Device(Memory(64), MAC)
        for half in (0, 1):
            device.write(0x24, half)
            device.write(0x20, features >> 32 * half & 0xFFFFFFFF)
        device.write(0x70, 15)
        assert device.read(0x70) == 3


def test_a_broken_ring_needs_a_reset() -> None:
    memory, device, driver = machine(size=4)
    memory.write(driver.tx.available + 2, struct.pack("<H", 100))
    device.write(0x50, 1)
    assert device.read(0x70) == 15 | 64
    assert device.read(0x60) & 2
    assert not device.receive(frame())
    device.write(0x70, 0)
    assert (device.read(0x70), device.read(0x60), memory.raised) == (0, 0, False)
    # A chain that bites its tail, a buffer outside memory, a descriptor that there is not.
    for entry in ((BASE, 10, 1, 0), (0, 10, 0, 0), (BASE, 10, 1, 9)):
        memory, device, driver = machine(size=4)
        driver.tx.offer(60, writable=False)
        memory.write(driver.tx.descriptors, struct.pack("<QIHH", *entry))
        device.write(0x50, 1)
        assert device.read(0x70) & 64


def test_the_link() -> None:
    memory, device, _ = machine()
    device.set_link(False)
    assert device.read(0x106, 2) == 0
    assert (device.read(0x60), device.read(0xFC), memory.raised) == (2, 1, True)


def test_the_element() -> None:
    a, b = (VirtioNet(name, VirtioNet.Arguments()) for name in "ab")
    connect(a.port(), b.port())
    drivers = []
    for element, features in ((a, OFFLOADS | MRG_RXBUF), (b, OFFLOADS | MRG_RXBUF)):
        memory = Memory(1 << 20)
        element.attach(memory)
        drivers.append(Driver(memory, element.read, element.write, features))
    header = struct.pack("<BBHHHHH", 1, 1, 66, 1448, 34, 16, 0)
    whole = super_frame(30000)
    drivers[0].send(whole, header)
    assert [data for _, data in drivers[1].receive()] == [whole]
    # One that takes no super-frames gets them cut, with whole checksums.
    memory = Memory(1 << 20)
    b.attach(memory)
    plain = Driver(memory, b.read, b.write, 0)
    drivers[0].send(whole, header)
    got = plain.receive()
    assert len(got) == 21
    assert {head for head, _ in got} == {struct.pack("<10xH", 1)}
    # More than its 64 buffers wait until it offers them again.
    b.receive(b.ports[0], Burst([frame(seed=number) for number in range(100)]))
    assert [data for _, data in plain.receive() + plain.receive()] == [frame(seed=at) for at in range(100)]
    b.receive(b.ports[0], Burst([frame()] * 400))
    assert b.received.drops == {"queue full": 400 - 256}
    b.device = None
    b.receive(b.ports[0], Burst([frame()]))
    assert b.ports[0].sent.drops == {"driver not ready": 1}


REGISTERS = some.sampled_from([*range(0, 0x110, 4), 1, 0x103, 0x200])
ACCESS = some.one_of(
    some.tuples(some.just("write"), REGISTERS, some.integers(0, 0xFFFFFFFF) | some.integers(0, 64)),
    some.tuples(some.just("memory"), some.integers(0, 200), some.binary(min_size=1, max_size=40)),
    some.tuples(some.just("notify"), some.integers(0, 1), some.just(None)),
    some.tuples(some.just("frame"), some.integers(14, 300), some.booleans()),
    some.tuples(
        some.just("descriptor"),
        some.integers(0, 7),
        some.tuples(
            some.integers(-64, 0x340), some.integers(0, 400), some.integers(0, 3), some.integers(0, 5)
        ),
    ),
    some.tuples(some.just("broken"), some.integers(0, 3), some.integers(0, 0xFFFF)),
)


@examples(300)
@given(some.lists(ACCESS, max_size=30), some.booleans())
def test_anything_a_driver_may_do(accesses: list[tuple[str, int, Any]], mergeable: bool) -> None:
    # Rings and buffers of 16 bytes close together, so that wild writes hit them.
    memory = Memory(0x300, BASE)
    device = Device(memory, MAC)
    driver = Driver(
        memory, device.read, device.write, OFFLOADS | (MRG_RXBUF if mergeable else 0), room=16, size=4
    )
    for what, where, value in accesses:
        if what == "write":
            device.write(where, value)
            device.read(where)
        elif what == "memory":
            memory.write(BASE + where, value)
        elif what == "notify":
            device.write(0x50, where)
        elif what == "frame":
            device.receive(frame(where), SUPER if value else None)
        elif what == "descriptor":
            ring, index = (driver.rx, driver.tx)[where >> 2], where & 3
            address, length, flags, following = value
            entry = struct.pack("<QIHH", BASE + address, length, flags, following)
            memory.write(ring.descriptors + 16 * index, entry)
            made = int.from_bytes(memory.read(ring.available + 2, 2), "little")
            memory.write(ring.available + 4 + 2 * (made % 4), struct.pack("<H", index))
            memory.write(ring.available + 2, struct.pack("<H", made + 1 & 0xFFFF))
            device.write(0x50, 1)
        else:
            # One more than is right, in any of the numbers of the rings.
            place = (driver.rx.available, driver.tx.available, driver.tx.descriptors, driver.rx.used)[where]
            memory.write(place + 2, struct.pack("<H", value & 7 if value & 8 else value))
        assert all(len(data) >= 14 for data, _ in device.out)
        assert memory.raised == bool(device.read(0x60))
