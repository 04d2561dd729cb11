"""One UDP socket that carries a link's datagrams, many in each call.

This module does not know what is in a datagram, nor which senders are accepted: it hands on what arrives with
the sender's address, and sends to the address that it is given. Equal-sized datagrams share a system call
through UDP_SEGMENT and arrive together through UDP_GRO, where the kernel has them (Linux 4.18 and 5.0, `man 7
udp`). A first attempt shows whether it does; `segment=False` and `gro=False` switch them off.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from time import monotonic

from tmelink import frame
from tmelink.frame import Counters, Frame, Run
from tmelink.standing_queue import BULK, StandingQueue
from tmelink.transport import reply_address, undelivered
from tmelink.transport.arena import SIZE, arena
from tmelink.transport.reply_address import Address as Address
from tmelink.transport.reply_address import AncillaryItem
from tmelink.transport.udp_offload import UDP_GRO, UDP_SEGMENT
from tmelink.transport.undelivered import Undelivered

Receive = Callable[[list[Frame | Run], Address], object]
"""Takes the items that arrived and the sender's address; the returned value is ignored."""

ReceiveOne = Callable[[Frame, Address], object]
"""Takes a datagram that arrived alone."""

_GRO_ROOM, _PKTINFO_ROOM = 32, 128
"""Bytes for what the kernel tells beside a datagram: the size of a run's pieces, and this end's address."""

DATAGRAM = 65536
"""Room for the longest datagram, or the longest run of them that one call delivers."""

READS = 64
"""The most system calls in one wakeup, so that small datagrams do not starve other elements either."""

BUSY_SECONDS = 100e-6
"""Where something arrives so soon after the last was handled, more is likely to wait. Otherwise only one is
read: a call that finds nothing costs as much again, most of it for Python's exception."""

LONG = 1000
"""Bytes of the datagrams that fill it: those of streams, not of keystrokes, voices or old protocols."""

MAX_RUN = 65507 - 20
"""The most bytes of one UDP_SEGMENT call: IPv4's largest UDP payload, less IPv6's longer header."""

MAX_SEGMENTS = 64
"""The most datagrams of one UDP_SEGMENT call (UDP_MAX_SEGMENTS of Linux before 6.9)."""


class Datagrams:
    """A bound UDP socket on the running event loop.

    `receive(items, address)` is called for what arrives; the buffers are reused once it returns. `hold(True)`
    is called when the socket's send buffer is full and `hold(False)` when there is room again. `sent` and
    `received` are the caller's, so that they outlive the socket; they and `receive` may be replaced. A
    datagram that arrives alone goes to `receive_one` instead, where that is set. A socket that is bound to no
    address sends to each peer from the address that the peer has sent to.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive,
        hold: Callable[[bool], None],
        log: logging.Logger,
        sent: Counters,
        received: Counters,
        *,
        segment: bool = True,
        gro: bool = True,
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.sent = sent
        self.received = received
        self.receive = receive
        self.receive_one: ReceiveOne | None = None
        self._hold = hold
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._arena = arena()
        self._lone = [self._arena[:DATAGRAM]]
        self._waiting = False
        self._read_at = 0.0
        self._queue = StandingQueue()
        self._too_long: int | None = None
        self._segment = segment and sys.platform == "linux" and _accepts(sock, UDP_SEGMENT, 0)
        gro = gro and sys.platform == "linux" and _accepts(sock, UDP_GRO, 1)
        self._replies = reply_address.of(sock)
        self._errors = undelivered.of(sock)
        self.undelivered = self._count_undelivered
        self._room = _PKTINFO_ROOM if self._replies is not None else _GRO_ROOM if gro else 0
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def local(self) -> Address:
        """The address that the socket is bound to."""
        address: Address = self.sock.getsockname()
        return address

    def close(self) -> None:
        """Stop reading and writing, and close the socket."""
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.sock.fileno())
            self._loop.remove_writer(self.sock.fileno())
            self.sock.close()

    # Reading

    def _read(self) -> None:
        if monotonic() < self._read_at + BUSY_SECONDS:
            self._read_many(READS)
        elif self.receive_one is None or self._replies is not None:
            self._read_many(1)
        else:
            self._read_lone(self.receive_one)
        self._read_at = monotonic()

    def _read_lone(self, receive_one: ReceiveOne) -> None:
        """Read a datagram that is likely to be alone: the same as `_read_many`, with fewer steps."""
        try:
            length, control, _flags, address = self.sock.recvmsg_into(self._lone, self._room)
        except BlockingIOError:
            self._read_errors()
            return
        except OSError as error:
            self._late_error(error)
            return
        received = self.received
        received.bytes += length
        data = self._lone[0][:length]
        if control and 0 < (size := _segment_size(control)) < length:
            received.frames += math.ceil(length / size)
            self.receive([Run(data, size)], address)
        else:
            received.frames += 1
            receive_one(data, address)

    def _read_many(self, reads: int) -> None:
        """Read what has come, and hand it on by sender: what one has sent stays in its order."""
        arena, at = self._arena, 0
        by_sender: dict[Address, list[Frame | Run]] = {}
        sender: Address | None = None
        items: list[Frame | Run] = []
        room, replies = self._room, self._replies
        recvmsg_into = self.sock.recvmsg_into
        for _ in range(reads):
            try:
                length, control, _flags, address = recvmsg_into([arena[at : at + DATAGRAM]], room)
            except BlockingIOError:
                if not by_sender:
                    self._read_errors()
                break
            except OSError as error:
                self._late_error(error)
                continue
            if address != sender:
                sender = address
                items = by_sender.setdefault(address, [])
            data = arena[at : at + length]
            size = length
            for item in control:
                if item[1] == UDP_GRO and item[0] == socket.IPPROTO_UDP:
                    size = struct.unpack_from("=i", item[2])[0]
                elif replies is not None:
                    replies.heard(address, item)
            items.append(Run(data, size) if 0 < size < length else data)
            at += length
            if at + DATAGRAM > SIZE:
                break
        bulk = at >= BULK
        stands = bulk and self._queue.must_drop(monotonic())
        for sender, items in by_sender.items():
            received = self.received  # whom it is for may change under way
            received.frames += frame.count(items)
            received.bytes += frame.size(items)
            if stands:
                stands = not self._drop_one(items)
            if len(items) == 1 and self.receive_one is not None and not isinstance(items[0], Run):
                self.receive_one(items[0], sender)
            else:
                self.receive(items, sender)
        if bulk:
            self._queue.handed_on(monotonic())

    def _drop_one(self, items: list[Frame | Run]) -> bool:
        """Drop the first of a stream's long datagrams; returns whether there was one."""
        for at, item in enumerate(items):
            if isinstance(item, Run) and LONG <= item.size < len(item.data):
                items[at] = Run(item.data[item.size :], item.size)
                self.received.drops["queue too long"] += 1
                return True
        return False

    # What the network says of what was sent

    def _count_undelivered(self, report: Undelivered) -> None:
        self.sent.drops[report.reason] += 1

    def _read_errors(self) -> None:
        """Nothing was there to read: the socket may have been ready because its error queue is not empty."""
        if self._errors is not None:
            for report in self._errors.read():
                self.undelivered(report)

    def _late_error(self, error: OSError) -> None:
        """A call failed with what became of an earlier datagram, or of this one."""
        if self._errors is None:
            self.sent.drops[undelivered.reason(error)] += 1
        else:
            self._read_errors()

    def _again(
        self, error: OSError, buffers: Sequence[Frame], own: Sequence[AncillaryItem], address: Address
    ) -> OSError | None:
        """Send what a call has refused once more, if the error may be about an earlier datagram.

        Returns what is wrong with this one, None if it has been sent.
        """
        if self._errors is None or error.errno not in undelivered.LATE:
            return error
        self._read_errors()
        try:
            self.sock.sendmsg(buffers, own, 0, address)
        except OSError as now:
            return now
        return None

    # Writing

    def send(self, items: Sequence[Frame | Run], address: Address) -> None:
        """Send each item to `address`; items that the socket does not take are dropped and counted."""
        groups = groupby(items, _size) if self._segment and len(items) > 1 else ((0, items),)
        for size, group in groups:
            if size:
                self._send_equal([item for item in group if not isinstance(item, Run)], size, address)
                continue
            for item in group:
                if isinstance(item, Run):
                    self._send_run(item, address)
                else:
                    self._send_one(item, address)

    def _send_one(self, datagram: Frame, address: Address) -> None:
        replies = self._replies
        own: Sequence[AncillaryItem] = ()
        try:
            if replies is None or not (own := replies.towards(address)):
                self.sock.sendto(datagram, address)
            else:
                self.sock.sendmsg([datagram], own, 0, address)
        except OSError as late:
            error = self._again(late, [datagram], own, address)
            if error is not None:
                if replies is not None and replies.refused(address, error):
                    self._send_one(datagram, address)
                else:
                    self._refused(error, 1)
                return
        self.sent.frames += 1
        self.sent.bytes += len(datagram)

    def _send_equal(self, datagrams: list[Frame], size: int, address: Address) -> None:
        if len(datagrams) == 1 or not self._fits(size):
            for datagram in datagrams:
                self._send_one(datagram, address)
            return
        most = min(MAX_SEGMENTS, MAX_RUN // size)
        for at in range(0, len(datagrams), most):
            self._send_buffers(datagrams[at : at + most], size, address)

    def _send_run(self, run: Run, address: Address) -> None:
        data, size = run
        if not (self._segment and self._fits(size)):
            for piece in run.pieces():
                self._send_one(piece, address)
            return
        most = size * min(MAX_SEGMENTS, MAX_RUN // size)
        if len(data) <= most:
            self._send_buffers([data], size, address)
            return
        # Two halves instead of a full call and a small rest: the other end then gets two even super-frames.
        calls = math.ceil(len(data) / most)
        step = size * math.ceil(len(data) / size / calls)
        for at in range(0, len(data), step):
            self._send_buffers([data[at : at + step]], size, address)

    def _send_buffers(self, buffers: Sequence[Frame], size: int, address: Address) -> None:
        total = sum(map(len, buffers))
        count = math.ceil(total / size)
        replies = self._replies
        ancillary: list[AncillaryItem] = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]
        if replies is not None:
            ancillary += replies.towards(address)
        try:
            self.sock.sendmsg(buffers, ancillary, 0, address)
        except OSError as late:
            error = self._again(late, buffers, ancillary, address)
            if error is not None:
                self._not_in_one_call(error, buffers, size, count, address)
                return
        self.sent.frames += count
        self.sent.bytes += total

    def _not_in_one_call(
        self, error: OSError, buffers: Sequence[Frame], size: int, count: int, address: Address
    ) -> None:
        """The kernel has refused many datagrams in one call."""
        if self._replies is not None and self._replies.refused(address, error):
            self._send_buffers(buffers, size, address)
        elif error.errno not in (errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT):
            self._refused(error, count)
        else:
            self._fall_back(error, size)
            for buffer in buffers:
                for piece in Run(memoryview(buffer), size).pieces():
                    self._send_one(piece, address)

    def _fits(self, size: int) -> bool:
        return self._too_long is None or size < self._too_long

    def _fall_back(self, error: OSError, size: int) -> None:
        """The kernel refused one call for many datagrams: send that size, and larger ones, one by one."""
        if self._too_long is None:
            why = error.strerror or str(error)
            self._log.info("datagrams of %d bytes and more go one by one: the kernel says '%s'", size, why)
        self._too_long = size if self._too_long is None else min(size, self._too_long)

    def _refused(self, error: OSError, count: int) -> None:
        self.sent.drops[undelivered.reason(error)] += count
        if isinstance(error, BlockingIOError) and not self._waiting:
            self._waiting = True
            self._hold(True)
            self._loop.add_writer(self.sock.fileno(), self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self.sock.fileno())
        self._waiting = False
        self._hold(False)


def _segment_size(control: Sequence[AncillaryItem]) -> int:
    """The size of a run's pieces, from what the kernel tells beside it; 0 for a single datagram."""
    for level, kind, value in control:
        if kind == UDP_GRO and level == socket.IPPROTO_UDP:
            return int(struct.unpack_from("=i", value)[0])
    return 0


def _size(item: Frame | Run) -> int:
    """By which datagrams share a call: their length, and 0 for a run, which is a call of its own."""
    return 0 if isinstance(item, Run) else len(item)


def _accepts(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(socket.IPPROTO_UDP, option, value)
    except OSError:
        return False
    return True
