"""One unix datagram socket that carries frames to a peer on the same computer, many in each wakeup.

This module does not know what is in a datagram, nor how the socket gets its peer: it is connected, or will
be. The queue of a unix socket is short (net.unix.max_dgram_qlen, commonly 10), so what the peer does not take
at once waits here, up to a bound.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence

from tmelink.frame import Counters, Frame, Run

DATAGRAM = 65536
"""Room for the longest frame that a peer sends."""

READS = 64
"""The most frames read in one wakeup, so that a busy peer does not starve other elements."""

QUEUE = 1024
"""The most frames that wait for the peer, 1.5 MB at full size. More are dropped and counted."""

HIGH_WATER = QUEUE // 2
"""Frames waiting above which the sender is asked to stop (high water)."""

LOW_WATER = QUEUE // 8
"""Frames waiting at which the sender may continue (low water)."""


class UnixDatagrams:
    """A unix datagram socket on the running event loop.

    `receive(frames)` is called for what arrives, in buffers reused once it returns; `hold` when the queue
    passes its high and low water. `sent` and `received` are the caller's, so that they outlive the socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Callable[[Sequence[Frame | Run]], None],
        hold: Callable[[bool], None],
        sent: Counters,
        received: Counters,
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.sent = sent
        self.received = received
        self._receive = receive
        self._hold = hold
        self._held = False
        self._queue: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        memory = memoryview(bytearray(READS * DATAGRAM))
        self._buffers = [memory[at : at + DATAGRAM] for at in range(0, len(memory), DATAGRAM)]
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def open(self) -> bool:
        """Whether the socket is open."""
        return self.sock.fileno() >= 0

    def close(self) -> None:
        """Stop reading and writing, close the socket; frames still queued count as lost."""
        if not self.open:
            return
        self._loop.remove_reader(self.sock.fileno())
        self._loop.remove_writer(self.sock.fileno())
        self.sock.close()
        self._lose("lost with the socket")

    def pause(self, paused: bool) -> None:
        """Stop reading, so that the peer finds the socket full, or continue."""
        if not self.open:
            return
        if paused:
            self._loop.remove_reader(self.sock.fileno())
        else:
            self._loop.add_reader(self.sock.fileno(), self._read)

    def _read(self) -> None:
        frames: list[Frame | Run] = []
        recv_into, received = self.sock.recv_into, self.received
        for buffer in self._buffers:
            try:
                length = recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.sent.drops[_reason(error)] += 1
                break
            frames.append(buffer[:length])
            received.bytes += length
        if frames:
            received.frames += len(frames)
            self._receive(frames)

    def send(self, items: Sequence[Frame | Run]) -> None:
        """Send or queue each item; what the peer or the queue does not take is dropped and counted."""
        for item in items:
            if isinstance(item, Run):
                for piece in item.pieces():
                    self._send(piece)
            else:
                self._send(item)

    def _send(self, frame: Frame) -> None:
        if self._queue:
            self._wait(frame)
            return
        try:
            self.sock.send(frame)
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self.sock.fileno(), self._write)
            self._wait(frame)
        except OSError as error:
            self.sent.drops[_reason(error)] += 1
        else:
            self.sent.frames += 1
            self.sent.bytes += len(frame)

    def _wait(self, frame: Frame) -> None:
        if len(self._queue) >= QUEUE:
            self.sent.drops["queue full"] += 1
            return
        self._queue.append(bytes(frame))
        if len(self._queue) > HIGH_WATER and not self._held:
            self._held = True
            self._hold(True)

    def _write(self) -> None:
        queue, sent = self._queue, self.sent
        while queue:
            try:
                self.sock.send(queue[0])
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                # The peer is gone; the other frames would fail too.
                self._lose(_reason(error))
                break
            sent.frames += 1
            sent.bytes += len(queue.popleft())
        if not queue:
            self._loop.remove_writer(self.sock.fileno())
        if len(queue) <= LOW_WATER:
            self._release()

    def _lose(self, reason: str) -> None:
        if self._queue:
            self.sent.drops[reason] += len(self._queue)
            self._queue.clear()
        self._release()

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._hold(False)


_REASONS = {
    errno.ECONNREFUSED: "peer gone",
    errno.ECONNRESET: "peer gone",
    errno.EPIPE: "peer gone",
    errno.ENOTCONN: "no peer yet",
    errno.EDESTADDRREQ: "no peer yet",
    errno.ENOBUFS: "socket full",
    errno.EMSGSIZE: "too long for the socket",
    errno.EPERM: "the peer is connected elsewhere",
}


def _reason(error: OSError) -> str:
    """A counter's name for a socket error; from a fixed set, so that counters stay few."""
    return _REASONS.get(error.errno or 0, "socket error")
