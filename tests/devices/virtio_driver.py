"""A minimal virtio-net driver for the MMIO transport, written from virtio 1.2 alone.

It begins as section 3.1.1 says, lays out split rings as 2.7 does, and keeps all of its buffers of one size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.devices.memory import Memory

VERSION_1, MRG_RXBUF = 1 << 32, 1 << 15
OFFLOADS = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12
HEADER = 12


class Ring:
    """A queue of `size` buffers of `room` bytes each, all in guest memory from `base` on."""

    def __init__(self, memory: Memory, base: int, size: int, room: int) -> None:
        self.memory, self.size, self.room = memory, size, room
        self.descriptors, self.available = base, base + 16 * size
        self.used = (self.available + 6 + 2 * size + 3) & ~3
        self.buffers = (self.used + 6 + 8 * size + 15) & ~15
        self.end = self.buffers + size * room
        self.free = list(range(size))
        self.seen = 0

    def offer(self, *lengths: int, writable: bool) -> int:
        """Make a chain of that many free buffers available; returns its head."""
        heads = [self.free.pop(0) for _ in lengths]
        for at, (index, length) in enumerate(zip(heads, lengths, strict=True)):
            last = at == len(heads) - 1
            flags = (2 if writable else 0) | (0 if last else 1)
            entry = struct.pack(
                "<QIHH", self.buffers + index * self.room, length, flags, 0 if last else heads[at + 1]
            )
            self.memory.write(self.descriptors + 16 * index, entry)
        (index,) = struct.unpack("<H", self.memory.read(self.available + 2, 2))
        place = self.available + 4 + 2 * (index % self.size)
        self.memory.write(place, struct.pack("<H", heads[0]))
        self.memory.write(self.available + 2, struct.pack("<H", index + 1 & 0xFFFF))
        return heads[0]

    def returned(self) -> list[tuple[int, int]]:
        """What the device gave back since: heads and lengths."""
        (index,) = struct.unpack("<H", self.memory.read(self.used + 2, 2))
        found = []
        while self.seen != index:
            place = self.used + 4 + 8 * (self.seen % self.size)
            found.append(struct.unpack("<II", self.memory.read(place, 8)))
            self.seen = self.seen + 1 & 0xFFFF
        return found


class Driver:
    """Registers are reached by `read(offset)` and `write(offset, value)`."""

    def __init__(
        self,
        memory: Memory,
        read: Callable[[int], int],
        write: Callable[[int, int], None],
        features: int = OFFLOADS | MRG_RXBUF,
        room: int = 2048,
        size: int = 64,
    ) -> None:
        self.read, self.write = read, write
        assert (read(0), read(4), read(8)) == (0x74726976, 2, 1)
        write(0x70, 0)
        write(0x70, 1)
        write(0x70, 3)
        offered = 0
        for half in (0, 1):
            write(0x14, half)
            offered |= read(0x10) << 32 * half
        assert offered & VERSION_1
        self.features = features & offered | VERSION_1
        for half in (0, 1):
            write(0x24, half)
            write(0x20, self.features >> 32 * half & 0xFFFFFFFF)
        write(0x70, 11)
        assert read(0x70) == 11, "the features were refused"
        self.rx = Ring(memory, memory.base, size, room)
        self.tx = Ring(memory, self.rx.end, size, room)
        for number, ring in enumerate((self.rx, self.tx)):
            write(0x30, number)
            assert read(0x34) >= size
            write(0x38, size)
            for low, address in ((0x80, ring.descriptors), (0x90, ring.available), (0xA0, ring.used)):
                write(low, address & 0xFFFFFFFF)
                write(low + 4, address >> 32)
            write(0x44, 1)
            assert read(0x44) == 1
        for _ in range(size):
            self.rx.offer(room, writable=True)
        write(0x70, 15)
        write(0x50, 0)

    def send(self, frame: bytes, header: bytes = bytes(HEADER)) -> None:
        """Send in as many buffers as it takes."""
        data, ring = header + frame, self.tx
        parts = [data[at : at + ring.room] for at in range(0, len(data), ring.room)]
        order = list(ring.free)
        ring.offer(*map(len, parts), writable=False)
        for index, part in zip(order, parts, strict=False):
            ring.memory.write(ring.buffers + index * ring.room, part)
        self.write(0x50, 1)
        ring.free += order[: len(parts)]

    def receive(self) -> list[tuple[bytes, bytes]]:
        """Header and frame of what came since; the buffers are offered again."""
        found = []
        returned = self.rx.returned()
        while returned:
            pieces = []
            count = None
            while count is None or len(pieces) < count:
                head, length = returned.pop(0)
                pieces.append(self.rx.memory.read(self.rx.buffers + head * self.rx.room, length))
                self.rx.free.append(head)
                self.rx.offer(self.rx.room, writable=True)
                if count is None:
                    (count,) = struct.unpack_from("<H", pieces[0], 10)
            data = b"".join(pieces)
            found.append((data[:HEADER], data[HEADER:]))
        self.write(0x64, self.read(0x60))
        self.write(0x50, 0)
        return found
