"""The Am7990 LANCE (AMD data sheet 05698): registers, initialization block, descriptor rings, address filter.

Pure: the processor's accesses, frames and polls come in by calls, and frames to send are left in `out`. The
wire has no collisions, and both loopbacks are internal. The model treats whatever a driver writes as the chip
does: a ring or a buffer without memory behind it is a memory error, never an exception.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable

from tmelink import ethernet
from tmelink.devices.bus import Bus
from tmelink.frame import MIN_FRAME, Frame

RDP, RAP = 0, 2
"""Byte offsets of the two ports: the register's data, and which register that is."""

TRANSMIT_POLL = 0.0016
"""Seconds between two polls of the transmit ring, unless the driver sets TDMD."""

# CSR0
ERR, BABL, CERR, MISS, MERR = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
RINT, TINT, IDON, INTR, INEA = 0x0400, 0x0200, 0x0100, 0x0080, 0x0040
RXON, TXON, TDMD, STOP, STRT, INIT = 0x0020, 0x0010, 0x0008, 0x0004, 0x0002, 0x0001
_EVENTS = BABL | CERR | MISS | MERR | RINT | TINT | IDON
_ERRORS = BABL | CERR | MISS | MERR
_INTERRUPTS = BABL | MISS | MERR | RINT | TINT | IDON

# CSR3
BSWP, ACON, BCON = 0x0004, 0x0002, 0x0001

# The mode word
PROM, DTCR, LOOP, DTX, DRX = 0x8000, 0x0008, 0x0004, 0x0002, 0x0001

# Word 1 of a descriptor, and what is only in one kind of ring
OWN, ERROR, STP, ENP = 0x8000, 0x4000, 0x0200, 0x0100
RX_OFLO, RX_BUFF = 0x1000, 0x0400
# Word 3 of a transmit descriptor
TX_BUFF, TX_UFLO, TX_LCAR = 0x8000, 0x4000, 0x0800

_ADDRESSES = 0xFFFFFF
_INIT_BLOCK = 24
_DESCRIPTOR = 8
_FCS = 4
_MIN_ON_WIRE = 60
MAX_FRAME = 1518
"""Bytes of a frame with its check sequence (IEEE 802.3), and of a tagged one 4 more; longer is babble."""


class _Ring:
    """Descriptors in memory: where they begin, how many, and which is next."""

    def __init__(self, low: int, high: int) -> None:
        self.start = (high & 0xFF) << 16 | low & 0xFFF8
        self.length = 1 << (high >> 13)
        self.next = 0

    def address(self, ahead: int = 0) -> int:
        """The address of the next descriptor, or of one behind it."""
        return self.start + _DESCRIPTOR * ((self.next + ahead) % self.length) & _ADDRESSES

    def advance(self, count: int) -> None:
        self.next = (self.next + count) % self.length


class _MemoryError(Exception):
    """The driver gave an address without memory; reported as MERR."""


class Lance:
    """The chip. `out` holds frames to send, without check sequence; the caller takes them from there.

    `carrier` False is a cable without a signal: a transmission ends with loss of carrier. `drops` counts
    frames lost in either direction, by reason.
    """

    def __init__(self, bus: Bus) -> None:
        self.out: list[bytes] = []
        self.carrier = True
        self.drops: Counter[str] = Counter()
        self._bus = bus
        self._pin = False
        self._csr0 = self._csr1 = self._csr2 = self._csr3 = 0
        self.reset()

    def reset(self) -> None:
        """The RESET pin: stopped, with nothing initialized."""
        self._rap = 0
        self._mode = 0
        self._physical = bytes(6)
        self._logical = 0
        self._receive = _Ring(0, 0)
        self._transmit = _Ring(0, 0)
        self._stop()
        self._settle()

    # The processor's side

    def read(self, port: int) -> int:
        """Read the 16-bit port at byte offset RDP or RAP; 0 at any other."""
        if port == RAP:
            return self._rap
        if port != RDP:
            return 0
        if self._rap == 0:
            return self._csr0
        # The others can be reached only while the chip is stopped.
        return (self._csr1, self._csr2, self._csr3)[self._rap - 1] if self._csr0 & STOP else 0

    def write(self, port: int, value: int) -> None:
        """Write 16 bits to the port at byte offset RDP or RAP; the operation is complete on return."""
        if port == RAP:
            self._rap = value & 3
        elif port == RDP:
            if self._rap == 0:
                self._control(value)
            elif self._csr0 & STOP:
                if self._rap == 1:
                    self._csr1 = value & 0xFFFE
                elif self._rap == 2:
                    self._csr2 = value & 0x00FF
                else:
                    self._csr3 = value & (BSWP | ACON | BCON)
        self._settle()

    def poll(self) -> None:
        """Poll the transmit ring, as the chip does every `TRANSMIT_POLL` seconds while it is on."""
        self._guarded(self._send_all)

    @property
    def transmitting(self) -> bool:
        """Whether it polls its transmit ring."""
        return bool(self._csr0 & TXON)

    def _control(self, value: int) -> None:
        self._csr0 &= ~(value & _EVENTS)
        if value & STOP:
            self._stop()
            return
        if value & INIT and self._csr0 & STOP:
            self._csr0 = self._csr0 & ~STOP | INIT
            self._guarded(self._initialize)
        if value & STRT and not self._csr0 & (STRT | MERR):
            self._csr0 = self._csr0 & ~STOP | STRT
            self._csr0 |= (0 if self._mode & DRX else RXON) | (0 if self._mode & DTX else TXON)
        if not self._csr0 & STOP:
            self._csr0 = self._csr0 & ~INEA | value & INEA
        if value & TDMD or value & STRT:
            self.poll()

    def _stop(self) -> None:
        self._csr0 = STOP
        self._csr3 = 0

    def _initialize(self) -> None:
        address = self._csr2 << 16 | self._csr1
        words = self._words(address, _INIT_BLOCK // 2)
        self._mode = words[0]
        # An address's first byte is in the low half of the word, whatever the byte order in memory.
        self._physical = b"".join(word.to_bytes(2, "little") for word in words[1:4])
        self._logical = sum(word << 16 * at for at, word in enumerate(words[4:8]))
        self._receive = _Ring(words[8], words[9])
        self._transmit = _Ring(words[10], words[11])
        self._csr0 |= IDON

    def _settle(self) -> None:
        """Update the summary bits and the interrupt line."""
        csr0 = self._csr0 & ~(ERR | INTR)
        if csr0 & _ERRORS:
            csr0 |= ERR
        if csr0 & _INTERRUPTS:
            csr0 |= INTR
        self._csr0 = csr0
        pin = csr0 & (INTR | INEA) == INTR | INEA
        if pin != self._pin:
            self._pin = pin
            self._bus.interrupt(pin)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except _MemoryError:
            self._csr0 = (self._csr0 | MERR) & ~(RXON | TXON)
        self._settle()

    # Memory

    def _words(self, address: int, count: int) -> list[int]:
        data = self._load(address, 2 * count)
        order = self._bus.byteorder
        return [int.from_bytes(data[at : at + 2], order) for at in range(0, len(data), 2)]

    def _store_word(self, address: int, value: int) -> None:
        self._store(address, value.to_bytes(2, self._bus.byteorder))

    def _load(self, address: int, length: int) -> bytes:
        if address + length > _ADDRESSES + 1 or not self._bus.holds(address, length):
            raise _MemoryError
        return self._bus.read(address, length)

    def _store(self, address: int, data: bytes) -> None:
        if address + len(data) > _ADDRESSES + 1 or not self._bus.holds(address, len(data)):
            raise _MemoryError
        self._bus.write(address, data)

    @property
    def _crossed(self) -> bool:
        """Whether a buffer's bytes are exchanged in pairs: BSWP is for a bus with the high byte first."""
        return bool(self._csr3 & BSWP) != (self._bus.byteorder == "big")

    def _load_buffer(self, address: int, length: int) -> bytes:
        if not self._crossed:
            return self._load(address, length)
        skip = address & 1
        return _exchanged(self._load(address - skip, length + skip + 1 & ~1))[skip : skip + length]

    def _store_buffer(self, address: int, data: bytes) -> None:
        if not self._crossed or not data:
            self._store(address, data)
            return
        begin, end = address & ~1, address + len(data) + 1 & ~1
        around = bytearray(_exchanged(self._load(begin, end - begin)))
        around[address - begin : address - begin + len(data)] = data
        self._store(begin, _exchanged(around))

    # Transmission

    def _send_all(self) -> None:
        # One pass is enough: what a loopback puts into the ring must not keep the chip busy for ever.
        for _ in range(self._transmit.length):
            if not self._csr0 & TXON or not self._send_next():
                return

    def _send_next(self) -> bool:
        """Send the frame that begins at the ring's next descriptor; False if the chip owns none."""
        ring = self._transmit
        data = bytearray()
        for used in range(1, ring.length + 1):
            at = ring.address(used - 1)
            low, status, count, _ = self._words(at, 4)
            if not status & OWN:
                if used == 1:
                    return False
                # The frame has no end: the transmitter runs dry, and is turned off.
                self._finish_sending(ring.address(used - 2), ERROR, TX_BUFF | TX_UFLO)
                self._csr0 &= ~TXON
                ring.advance(used - 1)
                return True
            if used == 1 and not status & STP:
                self._store_word(at + 2, status & ~OWN)
                ring.advance(1)
                return True
            length = 0x1000 - (count & 0x0FFF)
            data += self._load_buffer((status & 0xFF) << 16 | low, length)
            if status & ENP:
                self._put_on_wire(bytes(data), at)
                ring.advance(used)
                return True
            self._store_word(at + 2, status & ~OWN)
        self._finish_sending(at, ERROR, TX_BUFF | TX_UFLO)
        self._csr0 &= ~TXON
        return True

    def _put_on_wire(self, data: bytes, last: int) -> None:
        with_fcs = data if self._mode & DTCR else data + _fcs(data)
        tagged = data[12:14] in (b"\x81\x00", b"\x88\xa8")
        if len(with_fcs) > MAX_FRAME + 4 * tagged:
            self._csr0 |= BABL
            self.drops["babble"] += 1
        elif self._mode & LOOP:
            self._finish_sending(last, 0, 0)
            if self._accepts(data):
                self._store_frame(with_fcs)
            return
        elif not self.carrier:
            self.drops["no carrier"] += 1
            self._finish_sending(last, ERROR, TX_LCAR)
            return
        elif len(with_fcs) < MIN_FRAME + _FCS:
            self.drops["short frame"] += 1
        else:
            self.out.append(with_fcs[:-_FCS])
        self._finish_sending(last, 0, 0)

    def _finish_sending(self, descriptor: int, error: int, details: int) -> None:
        _, status, _, _ = self._words(descriptor, 4)
        self._store_word(descriptor + 6, details)
        self._store_word(descriptor + 2, status & ~(OWN | ERROR) | error)
        self._csr0 |= TINT

    # Reception

    def ready(self, frame: Frame) -> bool:
        """Whether the receiver is on and has as many buffers as the frame needs, or need not have them.

        A frame that is longer than all buffers of the ring together does not wait for more.
        """
        if not self._csr0 & RXON:
            return False
        if self._mode & LOOP or not self._accepts(frame):
            return True
        missing = max(len(frame), _MIN_ON_WIRE) + _FCS
        for ahead in range(self._receive.length):
            at = self._receive.address(ahead)
            if not self._bus.holds(at, _DESCRIPTOR):
                return True  # it ends in the memory error that it must
            _, status, count, _ = self._words(at, 4)
            if not status & OWN:
                return False
            missing -= 0x1000 - (count & 0x0FFF)
            if missing <= 0:
                return True
        return True

    @property
    def receiving(self) -> bool:
        """Whether the receiver is on."""
        return bool(self._csr0 & RXON)

    def receive(self, frame: Frame) -> None:
        """A frame from the wire, without check sequence, for the ring if it passes the address filter.

        A frame without a buffer is lost, which MISS reports to the driver.
        """
        if not self._csr0 & RXON or self._mode & LOOP:
            self.drops["receiver off"] += 1
            return
        if not self._accepts(frame):
            return
        data = bytes(frame).ljust(_MIN_ON_WIRE, b"\0")
        if len(data) + _FCS > 0x0FFF:
            self.drops["too long"] += 1
            return
        self._guarded(lambda: self._store_frame(data + _fcs(data)))

    def _accepts(self, frame: Frame) -> bool:
        """The address filter: by physical address, by the hash of a group's, all of them with PROM."""
        destination = bytes(frame[:6])
        if len(destination) < 6:
            return False
        if self._mode & PROM or destination in (self._physical, ethernet.BROADCAST):
            return True
        return ethernet.is_group(destination) and bool(self._logical >> logical_hash(destination) & 1)

    def _store_frame(self, data: bytes) -> None:
        """Write a frame with its check sequence into as many buffers as it needs."""
        ring = self._receive
        at = 0
        for used in range(1, ring.length + 1):
            descriptor = ring.address(used - 1)
            low, status, count, _ = self._words(descriptor, 4)
            if not status & OWN:
                break
            room = 0x1000 - (count & 0x0FFF)
            part = data[at : at + room]
            self._store_buffer((status & 0xFF) << 16 | low, part)
            at += len(part)
            status = status & 0xFF | (STP if used == 1 else 0)
            if at == len(data):
                self._store_word(descriptor + 6, len(data))
                self._store_word(descriptor + 2, status | ENP)
                ring.advance(used)
                self._csr0 |= RINT
                return
            following = ring.address(used)
            if used == ring.length or not self._words(following, 4)[1] & OWN:
                # There is no buffer for the rest.
                self._store_word(descriptor + 2, status | ERROR | RX_BUFF | RX_OFLO)
                ring.advance(used)
                self._csr0 |= RINT
                self.drops["no buffer"] += 1
                return
            self._store_word(descriptor + 2, status)
        self._csr0 |= MISS
        self.drops["no buffer"] += 1


def logical_hash(group: bytes) -> int:
    """The bit of the 64-bit logical address filter for a group address."""
    return (zlib.crc32(group) ^ 0xFFFFFFFF) >> 26


def _fcs(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def _exchanged(data: bytes | bytearray) -> bytes:
    """The data with the two bytes of each pair exchanged."""
    swapped = bytearray(len(data))
    swapped[::2], swapped[1::2] = data[1::2], data[::2]
    return bytes(swapped)
