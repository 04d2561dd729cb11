"""A split virtqueue (virtio 1.2, section 2.7) in a machine's memory, from the device's side.

The driver may write anything into the ring, so everything is checked each time; `RingError` for faults.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tmelink.devices.bus import Bus

MOST = 256
"""The most descriptors of a queue, as in QEMU's virtio-net."""

_NEXT, _WRITE = 1, 2
_NO_INTERRUPT = 1
_DESCRIPTOR = struct.Struct("<QIHH")
_USED = struct.Struct("<II")
_WORD = struct.Struct("<H")


class RingError(Exception):
    """A ring that breaks the rules; the device then needs a reset."""


@dataclass(slots=True)
class DescriptorChain:
    """One buffer that the driver made available: the pieces of it that the device reads, or writes."""

    head: int
    readable: list[tuple[int, int]] = field(default_factory=list)
    writable: list[tuple[int, int]] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Bytes that the device may write."""
        return sum(length for _, length in self.writable)


class Queue:
    """The three parts of a queue, at the addresses that the driver gave."""

    def __init__(self) -> None:
        self.size = 0
        self.ready = False
        self.descriptors = 0
        self.available = 0
        self.used = 0
        self._taken = 0
        self._returned = 0

    @property
    def sound(self) -> bool:
        """Whether the driver gave it a valid size."""
        return 0 < self.size <= MOST and not self.size & (self.size - 1)

    def waiting(self, bus: Bus) -> int:
        """The number of chains that the driver has made available and that were not taken."""
        count = self._word(bus, self.available + 2) - self._taken & 0xFFFF
        if count > self.size:
            raise RingError("more available than there are descriptors")
        return count

    def chain(self, bus: Bus, ahead: int) -> DescriptorChain:
        """The chain `ahead` places after the next one; it stays available until `advance`."""
        at = (self._taken + ahead) % self.size
        index = self._word(bus, self.available + 4 + 2 * at)
        chain = DescriptorChain(index)
        for _ in range(self.size):
            if index >= self.size:
                raise RingError("no such descriptor")
            place = self.descriptors + _DESCRIPTOR.size * index
            address, length, flags, index = _DESCRIPTOR.unpack(load(bus, place, _DESCRIPTOR.size))
            if not bus.holds(address, length):
                raise RingError("a buffer outside memory")
            (chain.writable if flags & _WRITE else chain.readable).append((address, length))
            if not flags & _NEXT:
                return chain
        raise RingError("a chain without an end")

    def advance(self, bus: Bus, done: list[tuple[int, int]]) -> None:
        """Take the next chains and return them to the driver, each as its head and the bytes written."""
        for head, length in done:
            at = self._returned % self.size
            store(bus, self.used + 4 + _USED.size * at, _USED.pack(head, length))
            self._returned = self._returned + 1 & 0xFFFF
        self._taken = self._taken + len(done) & 0xFFFF
        store(bus, self.used + 2, _WORD.pack(self._returned))

    def wants_interrupt(self, bus: Bus) -> bool:
        """Whether the driver wants an interrupt for returned chains."""
        return not self._word(bus, self.available) & _NO_INTERRUPT

    @staticmethod
    def _word(bus: Bus, address: int) -> int:
        (word,) = _WORD.unpack(load(bus, address, 2))
        return int(word)


def load(bus: Bus, address: int, length: int) -> bytes:
    """Read memory; `RingError` if there is none."""
    if not bus.holds(address, length):
        raise RingError("a ring outside memory")
    return bus.read(address, length)


def store(bus: Bus, address: int, data: bytes) -> None:
    """Write memory; `RingError` if there is none."""
    if not bus.holds(address, len(data)):
        raise RingError("a ring outside memory")
    bus.write(address, data)
