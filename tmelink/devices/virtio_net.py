"""virtio-net on the MMIO transport (virtio 1.2, sections 4.2 and 5.1): registers, features, two queues.

Pure: the processor's accesses and frames come in by calls, and frames to send are left in `out` with their
labels. It has checksum and TCP segmentation offload in both directions, so super-frames cross whole, and
mergeable receive buffers. It has no control queue, so it takes every frame. A driver that breaks the rules
must reset the device.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from enum import IntFlag

from tmelink.devices.bus import Bus
from tmelink.devices.virtqueue import MOST, Queue, RingError, load, store
from tmelink.frame import MIN_FRAME, Frame, Gso
from tmelink.offload.virtio import NONE, TCP4, TCP6

RX, TX = 0, 1
MAX_FRAME = 14 + 8 + 65535
"""Bytes of the longest super-frame: an IP packet behind an Ethernet header with two tags."""


class Feature(IntFlag):
    """What the device offers, by bit (sections 5.1.3 and 6)."""

    CSUM = 1 << 0
    GUEST_CSUM = 1 << 1
    MAC = 1 << 5
    GUEST_TSO4 = 1 << 7
    GUEST_TSO6 = 1 << 8
    GUEST_ECN = 1 << 9
    HOST_TSO4 = 1 << 11
    HOST_TSO6 = 1 << 12
    HOST_ECN = 1 << 13
    MRG_RXBUF = 1 << 15
    STATUS = 1 << 16
    VERSION_1 = 1 << 32


_OFFERED = sum(Feature)
_NEEDS = (
    (Feature.GUEST_TSO4 | Feature.GUEST_TSO6, Feature.GUEST_CSUM),
    (Feature.HOST_TSO4 | Feature.HOST_TSO6, Feature.CSUM),
    (Feature.GUEST_ECN, Feature.GUEST_TSO4 | Feature.GUEST_TSO6),
    (Feature.HOST_ECN, Feature.HOST_TSO4 | Feature.HOST_TSO6),
)
"""Features, and those of which they need one (section 5.1.3.1)."""

# Device status (section 2.1) and interrupt status (section 4.2.2)
DRIVER_OK, FEATURES_OK, NEEDS_RESET = 4, 8, 64
USED_BUFFER, CONFIG_CHANGE = 1, 2

_MAGIC, _VERSION, _NETWORK_CARD, _VENDOR = 0x74726976, 2, 1, 0x6B6C6D74
_CONFIG = 0x100

_HEADER = struct.Struct("<BBHHHHH")
_NEEDS_CSUM, _ECN = 1, 0x80


class VirtioNetDevice:
    """The device. `out` holds frames to send and their labels; the caller takes them from there.

    `drops` counts frames lost in either direction, by reason.
    """

    def __init__(self, bus: Bus, mac: bytes) -> None:
        self.out: list[tuple[bytes, Gso | None]] = []
        self.drops: Counter[str] = Counter()
        self.features = Feature(0)
        self._bus = bus
        self._mac = mac
        self._link = True
        self._generation = 0
        self._interrupts = 0
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._offered_half = self._accepted_half = 0
        self._accepted = 0
        self._selected = 0
        self._queues = (Queue(), Queue())
        self.features = Feature(0)
        self._interrupt(0)

    # The processor's side

    def read(self, offset: int, size: int = 4) -> int:
        """Read `size` bytes (1, 2 or 4) at an offset of the device's page; registers are 4 bytes long."""
        if offset >= _CONFIG:
            config = struct.pack("<6sH", self._mac, self._link)
            return int.from_bytes(config[offset - _CONFIG : offset - _CONFIG + size], "little")
        queue = self._queue
        return {
            0x000: _MAGIC,
            0x004: _VERSION,
            0x008: _NETWORK_CARD,
            0x00C: _VENDOR,
            0x010: _OFFERED >> 32 * self._offered_half & 0xFFFFFFFF if self._offered_half < 2 else 0,
            0x034: MOST if queue is not None else 0,
            0x044: int(queue is not None and queue.ready),
            0x060: self._interrupts,
            0x070: self._status,
            # There are no shared memory regions: each has the length -1.
            0x0B0: 0xFFFFFFFF,
            0x0B4: 0xFFFFFFFF,
            0x0FC: self._generation,
        }.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write a 4-byte register; the operation is complete on return."""
        value &= 0xFFFFFFFF
        if offset == 0x014:
            self._offered_half = value
        elif offset == 0x020:
            if self._accepted_half < 2 and not self._status & FEATURES_OK:
                shift = 32 * self._accepted_half
                self._accepted = self._accepted & ~(0xFFFFFFFF << shift) | value << shift
        elif offset == 0x024:
            self._accepted_half = value
        elif offset == 0x030:
            self._selected = value
        elif offset == 0x050:
            if value == TX:
                self._guarded(self._send_all)
        elif offset == 0x064:
            self._interrupt(self._interrupts & ~value)
        elif offset == 0x070:
            self._set_status(value)
        elif self._queue is not None:
            self._set_queue(self._queue, offset, value)

    @property
    def _queue(self) -> Queue | None:
        return self._queues[self._selected] if self._selected < len(self._queues) else None

    @staticmethod
    def _set_queue(queue: Queue, offset: int, value: int) -> None:
        if offset == 0x044:
            queue.ready = bool(value & 1) and queue.sound
        elif queue.ready:
            return  # a queue in use keeps its address
        elif offset == 0x038:
            queue.size = value
        elif offset in (0x080, 0x084):
            queue.descriptors = _half(queue.descriptors, offset == 0x084, value)
        elif offset in (0x090, 0x094):
            queue.available = _half(queue.available, offset == 0x094, value)
        elif offset in (0x0A0, 0x0A4):
            queue.used = _half(queue.used, offset == 0x0A4, value)

    def _set_status(self, value: int) -> None:
        if not value:
            self._reset()
            return
        if value & FEATURES_OK and not self._status & FEATURES_OK:
            if self._agreeable(self._accepted):
                self.features = Feature(self._accepted)
            else:
                value &= ~FEATURES_OK
        if not value & FEATURES_OK:
            value &= ~DRIVER_OK
        self._status = value & 0xFF & ~NEEDS_RESET | self._status & NEEDS_RESET

    @staticmethod
    def _agreeable(features: int) -> bool:
        if features & ~_OFFERED or not features & Feature.VERSION_1:
            return False
        return all(not features & which or features & of for which, of in _NEEDS)

    def _interrupt(self, status: int) -> None:
        raised, self._interrupts = bool(self._interrupts), status
        if bool(status) != raised:
            self._bus.interrupt(bool(status))

    @property
    def running(self) -> bool:
        """Whether the driver is ready, and has broken no rule."""
        return self._status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK

    def set_link(self, up: bool) -> None:
        """Tell the driver that the cable was plugged in or pulled."""
        if up != self._link:
            self._link = up
            self._generation = self._generation + 1 & 0xFFFFFFFF
            if self.running:
                self._interrupt(self._interrupts | CONFIG_CHANGE)

    def _guarded(self, work: Callable[[], bool]) -> bool:
        """Do something with a queue; False if it is not done, or the driver has broken a rule."""
        if not self.running:
            return False
        try:
            return work()
        except RingError as error:
            self.drops[str(error)] += 1
            self._status |= NEEDS_RESET
            self._interrupt(self._interrupts | CONFIG_CHANGE)
            return False

    def _done(self, queue: Queue, done: list[tuple[int, int]]) -> None:
        queue.advance(self._bus, done)
        if queue.wants_interrupt(self._bus):
            self._interrupt(self._interrupts | USED_BUFFER)

    # Transmission

    def _send_all(self) -> bool:
        queue, bus = self._queues[TX], self._bus
        if not queue.ready:
            return False
        done = []
        for ahead in range(queue.waiting(bus)):
            chain = queue.chain(bus, ahead)
            length = sum(length for _, length in chain.readable)
            if length - _HEADER.size > MAX_FRAME:
                self.drops["too long"] += 1
            elif length - _HEADER.size < MIN_FRAME:
                self.drops["short frame"] += 1
            else:
                data = b"".join(load(bus, address, part) for address, part in chain.readable)
                self.out.append((data[_HEADER.size :], _label(data)))
            done.append((chain.head, 0))
        if done:
            self._done(queue, done)
        return True

    # Reception

    @property
    def takes_super_frames(self) -> bool:
        """Whether the driver takes TCP super-frames, for which it must take partial checksums too."""
        return bool(self.features & (Feature.GUEST_TSO4 | Feature.GUEST_TSO6))

    def takes(self, gso: Gso | None) -> bool:
        """Whether the driver takes a frame with this label as it is."""
        if gso is None:
            return True
        if not self.features & Feature.GUEST_CSUM or (gso.ecn and not self.features & Feature.GUEST_ECN):
            return False
        needed = {NONE: Feature.GUEST_CSUM, TCP4: Feature.GUEST_TSO4, TCP6: Feature.GUEST_TSO6}
        return bool(self.features & needed.get(gso.kind, 0))

    def receive(self, frame: Frame, gso: Gso | None = None) -> bool:
        """A frame from the wire, with a label that the driver `takes`; False while there is no room for it.

        True also where it was dropped, counted: one that no buffer of the driver's can ever hold.
        """
        return self._guarded(lambda: self._store(frame, gso))

    def _store(self, frame: Frame, gso: Gso | None) -> bool:
        queue, bus = self._queues[RX], self._bus
        if not queue.ready:
            return False
        mergeable = bool(self.features & Feature.MRG_RXBUF)
        needed = _HEADER.size + len(frame)
        chains, room = [], 0
        for ahead in range(queue.waiting(bus)):
            chains.append(queue.chain(bus, ahead))
            room += chains[-1].room
            if room >= needed or not mergeable:
                break
        if not chains:
            return False
        if room < needed:
            if mergeable and len(chains) < queue.size:
                return False
            self.drops["longer than the buffers"] += 1
            return True
        data = memoryview(_header(gso, len(chains)) + bytes(frame))
        done = []
        for chain in chains:
            written = 0
            for address, length in chain.writable:
                part = data[:length]
                store(bus, address, bytes(part))
                data = data[len(part) :]
                written += len(part)
            done.append((chain.head, written))
        self._done(queue, done)
        return True


def _half(whole: int, high: bool, value: int) -> int:
    return whole & 0xFFFFFFFF | value << 32 if high else whole & ~0xFFFFFFFF | value


def _label(data: bytes) -> Gso | None:
    flags, kind, length, size, start, offset, _ = _HEADER.unpack_from(data)
    if not flags & _NEEDS_CSUM:
        start = offset = 0
        if not kind:
            return None
    return Gso(kind & ~_ECN, size, length, start, offset, bool(kind & _ECN))


def _header(gso: Gso | None, buffers: int) -> bytes:
    if gso is None:
        return _HEADER.pack(0, 0, 0, 0, 0, 0, buffers)
    flags = _NEEDS_CSUM if gso.checksum_start or gso.checksum_offset else 0
    kind = gso.kind | _ECN if gso.ecn else gso.kind
    return _HEADER.pack(flags, kind, gso.header, gso.size, gso.checksum_start, gso.checksum_offset, buffers)
