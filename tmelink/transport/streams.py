"""One stream connection that carries datagrams, each after its length.

The length counts what follows: `SHORT`, of 16 bits, is OpenVPN's TCP encapsulation, `SHORT_LITTLE` the same
with its low byte first, `LONG`, of 32 bits, QEMU's. This module does not know what is in a datagram, nor who
connects: `Framer` is the format without I/O, `Stream` the connected socket.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from tmelink import frame
from tmelink.frame import Counters, Frame, Run
from tmelink.transport.arena import arena

SHORT = struct.Struct("!H")
SHORT_LITTLE = struct.Struct("<H")
LONG = struct.Struct("!I")
"""How a length is written."""

FRAMINGS = {"be16": SHORT, "le16": SHORT_LITTLE, "be32": LONG}
"""The same, by the names in a machine file."""

PREFIX = SHORT.size

MAX_DATAGRAM = 65535
"""The longest datagram that a 16-bit length can announce."""

CHUNK = 256 * 1024
"""The bytes of one read: as many as a few super-frames, so that a read costs little for each frame."""

READS = 4
"""The most reads in one wakeup, so that a busy stream does not starve other elements."""

FEWEST = 6
"""The number of equal datagrams in a row from which numpy is faster than Python."""

LONGEST_RUN = 65_535
"""The most bytes of equal datagrams that are taken together: as many as a super-frame holds."""

MOST = 256
"""The most equal datagrams that one search looks at, so that it never costs more than it finds."""

HIGH_WATER = 1024 * 1024
"""Bytes waiting for the socket above which the sender is asked to stop (high water)."""

LOW_WATER = HIGH_WATER // 4
"""Bytes waiting at which the sender may continue (low water)."""

FULL = 4 * HIGH_WATER
"""Bytes waiting beyond which datagrams are dropped: not every sender can stop."""


class Framer:
    """Cuts a byte stream into datagrams; refuses lengths below `shortest` and beyond `limit`."""

    def __init__(
        self, limit: int = MAX_DATAGRAM, prefix: struct.Struct = SHORT, *, shortest: int = 1
    ) -> None:
        self.limit = limit
        self.shortest = shortest
        self.bad: int | None = None
        self._prefix = prefix
        self._arena = arena()
        self._left = b""
        """The beginning of a datagram whose rest has not arrived."""

    def room(self) -> memoryview:
        """A buffer of `CHUNK` bytes for the stream's next bytes; call `feed` before using another framer."""
        left = len(self._left)
        self._arena[:left] = self._left
        return self._arena[left : left + CHUNK]

    def feed(self, count: int) -> list[Frame | Run]:
        """The datagrams that `count` more bytes complete; views that the next `room` invalidates.

        Equal ones in a row are runs. A length that cannot be ends the stream: `bad` holds it, and nothing
        after it is a datagram.
        """
        view, at, end = self._arena, 0, len(self._left) + count
        shortest, limit = self.shortest, self.limit
        size, unpack = self._prefix.size, self._prefix.unpack_from
        datagrams: list[Frame | Run] = []
        while end - at >= size:
            (length,) = unpack(view, at)
            if not shortest <= length <= limit:
                self.bad = length
                break
            after = at + size + length
            if after > end:
                break
            far = at + (FEWEST - 1) * (after - at)
            if length and far + size <= end and view[far : far + size] == view[at : at + size]:
                run, at = self._run(at, length, end)
                datagrams.append(run)
            else:
                datagrams.append(view[at + size : after])
                at = after
        self._left = bytes(view[at:end]) if self.bad is None else b""
        return datagrams

    def _run(self, at: int, length: int, end: int) -> tuple[Run, int]:
        """The datagrams of `length` bytes from `at` on and a shorter one after them, and where they end."""
        view, size = self._arena, self._prefix.size
        stride = size + length
        most = min((end - at) // stride, MOST, max(1, LONGEST_RUN // length))
        order = "<" if self._prefix is SHORT_LITTLE else ">"
        lengths = np.ndarray((most,), f"{order}u{size}", view, at, (stride,))
        count = (lengths == length).tobytes().find(0)
        if count < 0:
            count = most
        after = at + count * stride
        tail = 0
        if count < MOST and end - after >= size:
            (tail,) = self._prefix.unpack_from(view, after)
            if not tail < length or after + size + tail > end:
                tail = 0
        data = np.empty(count * length + tail, np.uint8)
        rows = np.ndarray((count, stride), np.uint8, view, at)
        data[: count * length].reshape(count, length)[...] = rows[:, size:]
        if tail:
            data[count * length :] = np.frombuffer(view, np.uint8, tail, after + size)
            after += size + tail
        return Run(data.data, length), after


def framed(items: Sequence[Frame | Run], prefix: struct.Struct = SHORT) -> list[Frame]:
    """The items as bytes of the stream: each datagram preceded by its length, ready to be joined."""
    parts: list[Frame] = []
    pack = prefix.pack
    for item in items:
        if not isinstance(item, Run):
            parts.append(pack(len(item)))
            parts.append(item)
        elif len(item.data) >= FEWEST * item.size:
            parts.append(_framed_run(item, prefix))
        else:
            for piece in item.pieces():
                parts.append(pack(len(piece)))
                parts.append(piece)
    return parts


def _framed_run(run: Run, prefix: struct.Struct) -> Frame:
    data, size = run
    width = prefix.size
    stride, (count, tail) = width + size, divmod(len(data), size)
    out = np.empty(count * stride + (width + tail if tail else 0), np.uint8)
    rows = out[: count * stride].reshape(count, stride)
    rows[:, :width] = np.frombuffer(prefix.pack(size), np.uint8)
    rows[:, width:] = np.ndarray((count, size), np.uint8, data)
    if tail:
        out[count * stride :] = np.frombuffer(prefix.pack(tail) + bytes(data[count * size :]), np.uint8)
    return out.data


class Stream:
    """A connected TCP or unix stream socket on the running event loop.

    `receive(datagrams)` gets what arrived, in buffers reused once it returns; `closed(reason)` is called
    once, when the peer or an error ended the connection; `hold` when the queue passes its high and low water.
    `sent` and `received` are the caller's, so that they outlive the connection.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Callable[[list[Frame | Run]], None],
        closed: Callable[[str], None],
        hold: Callable[[bool], None],
        sent: Counters,
        received: Counters,
        *,
        limit: int = MAX_DATAGRAM,
        prefix: struct.Struct = SHORT,
        shortest: int = 1,
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.sent = sent
        self.received = received
        self._receive = receive
        self._closed = closed
        self._hold = hold
        self._framer = Framer(limit, prefix, shortest=shortest)
        self._prefix = prefix
        self._queue: deque[tuple[memoryview, int]] = deque()
        self._queued = 0
        self._held = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def open(self) -> bool:
        """Whether the connection is open."""
        return self.sock.fileno() >= 0

    @property
    def queued(self) -> int:
        """Bytes that wait for the socket to take them."""
        return self._queued

    def close(self, reason: str | None = None) -> None:
        """Close the connection; datagrams still queued count as lost. `reason` goes to `closed`, if any."""
        if not self.open:
            return
        self._loop.remove_reader(self.sock.fileno())
        self._loop.remove_writer(self.sock.fileno())
        self.sock.close()
        lost = sum(count for _data, count in self._queue)
        if lost:
            self.sent.frames -= lost
            self.sent.drops["lost with the connection"] += lost
        self._queue.clear()
        self._queued = 0
        self._release()
        if reason is not None:
            self._closed(reason)

    def reset(self, reason: str) -> None:
        """Close with a TCP reset, so that the peer learns at once that the stream is lost."""
        if self.open:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close(reason)

    def begin(self, head: bytes) -> None:
        """Take the first bytes of the stream, which were read elsewhere."""
        while head and self.open:
            room = self._framer.room()
            count = min(len(head), len(room))
            room[:count] = head[:count]
            head = head[count:]
            self._cut(count)

    def pause(self, paused: bool) -> None:
        """Stop reading, so that the peer finds the connection full, or continue."""
        if not self.open:
            return
        if paused:
            self._loop.remove_reader(self.sock.fileno())
        else:
            self._loop.add_reader(self.sock.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(READS):
            room = self._framer.room()
            try:
                count = self.sock.recv_into(room)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.close(error.strerror or "connection lost")
                return
            if count == 0:
                self.close("closed by the peer")
                return
            self._cut(count)
            if not self.open or count < len(room):
                return

    def _cut(self, count: int) -> None:
        """Hand on the datagrams that `count` more bytes complete."""
        framer = self._framer
        datagrams = framer.feed(count)
        if datagrams:
            self.received.frames += frame.count(datagrams)
            self.received.bytes += sum(len(d.data) if isinstance(d, Run) else len(d) for d in datagrams)
            self._receive(datagrams)
        if framer.bad is not None and self.open:
            self.received.drops["bad length"] += 1
            least, most = framer.shortest, framer.limit
            self.reset(f"a datagram of {framer.bad} bytes was announced, {least} to {most} can be")

    def send(self, items: Sequence[Frame | Run]) -> None:
        """Send or queue the items; drops and counts them where the queue is full or the stream closed."""
        count = frame.count(items)
        if not self.open:
            self.sent.drops["not connected"] += count
            return
        if self._queued > FULL:
            self.sent.drops["queue full"] += count
            return
        parts = framed(items, self._prefix)
        data = memoryview(b"".join(parts) if len(parts) > 1 else parts[0])
        self.sent.frames += count
        self.sent.bytes += len(data) - self._prefix.size * count
        if not self._queue:
            try:
                taken = self.sock.send(data)
            except (BlockingIOError, InterruptedError):
                taken = 0
            except OSError as error:
                self.sent.frames -= count
                self.sent.drops["lost with the connection"] += count
                # Not from here: a stream must not close while its sender is in `send`.
                self._loop.call_soon(self.close, error.strerror or "connection lost")
                return
            if taken == len(data):
                return
            data = data[taken:]
            self._loop.add_writer(self.sock.fileno(), self._write)
        self._queue.append((data, count))
        self._queued += len(data)
        if self._queued > HIGH_WATER and not self._held:
            self._held = True
            self._hold(True)

    def _write(self) -> None:
        while self._queue:
            data, count = self._queue[0]
            try:
                taken = self.sock.send(data)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.close(error.strerror or "connection lost")
                return
            self._queued -= taken
            if taken < len(data):
                self._queue[0] = (data[taken:], count)
                break
            self._queue.popleft()
        if not self._queue:
            self._loop.remove_writer(self.sock.fileno())
        if self._queued <= LOW_WATER:
            self._release()

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._hold(False)
