"""A path that loses and delays datagrams: a program of its own between two ends, in user space.

    python -m bench.relay ADDRESS PORT FIRST_ADDRESS FIRST_PORT SECOND_ADDRESS SECOND_PORT LOSS DELAY [LATE]

What the first end sends to ADDRESS and PORT goes on to the second from there, and the other way about. Each
datagram is lost with the probability LOSS, whatever the others do, and arrives DELAY seconds later. With the
probability LATE it is overtaken by what follows within a millisecond, and as often it comes a second time
then. Many datagrams share a system call where the kernel has UDP_GRO and UDP_SEGMENT, so that the relay is
quicker than what it joins.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import sys
import time
from collections import deque

UDP_SEGMENT, UDP_GRO = 103, 104

BUFFER = 8 << 20
"""Bytes of its socket's buffers: it loses what it is asked to lose, and nothing else."""

MOST_WAITING = 16_384
"""Runs of datagrams under way; what comes then is lost, as in any queue."""

READS = 64

LATE_SECONDS = 0.001
"""By how much a datagram is late that is overtaken or comes again."""

SEED = 17

Address = tuple[str, int]


class Relay:
    """`loss` and `late` are probabilities, `delay` in seconds."""

    def __init__(
        self, own: Address, first: Address, second: Address, loss: float, delay: float, late: float = 0.0
    ) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            forced = option + 25  # SO_RCVBUFFORCE and SO_SNDBUFFORCE
            self._sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
        self._sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self._sock.bind(own)
        self._sock.setblocking(False)
        self._towards = {first: second, second: first}
        self._loss, self._delay, self._late = loss, delay, late
        self._chance = random.Random(SEED)
        self._waiting: deque[tuple[float, bytes, int, Address]] = deque()
        self._overtaken: deque[tuple[float, bytes, int, Address]] = deque()

    def run(self) -> None:
        """Relay until it is ended."""
        while True:
            due = [queue[0][0] for queue in (self._waiting, self._overtaken) if queue]
            wait = max(0.0, min(due) - time.monotonic()) if due else None
            if select.select([self._sock], [], [], wait)[0]:
                self._receive()
            now = time.monotonic()
            for queue in (self._waiting, self._overtaken):
                while queue and queue[0][0] <= now:
                    _at, data, size, address = queue.popleft()
                    self._send(data, size, address)

    def _receive(self) -> None:
        for _ in range(READS):
            try:
                data, control, _flags, sender = self._sock.recvmsg(65536, 64)
            except BlockingIOError:
                return
            address = self._towards.get(sender)
            if address is None or len(self._waiting) >= MOST_WAITING:
                continue
            size = len(data)
            for _level, kind, value in control:
                if kind == UDP_GRO:
                    size = struct.unpack_from("=i", value)[0]
            at = time.monotonic() + self._delay
            data, late = self._divided(data, size)
            if data:
                self._waiting.append((at, data, size, address))
            self._overtaken += [(at + LATE_SECONDS, each, size, address) for each in late]

    def _divided(self, data: bytes, size: int) -> tuple[bytes, list[bytes]]:
        """What arrives in time of equal datagrams end to end, the last of which may be shorter; and late."""
        if not (self._loss or self._late) or not size:
            return data, []
        chance, late = self._chance.random, self._late
        kept, overtaken = [], []
        for at in range(0, len(data), size):
            if chance() < self._loss:
                continue
            piece = data[at : at + size]
            behind = late and chance() < late
            if not behind:
                kept.append(piece)
            if behind or (late and chance() < late):
                overtaken.append(piece)
        return b"".join(kept), overtaken

    def _send(self, data: bytes, size: int, address: Address) -> None:
        ancillary = [] if len(data) <= size else [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]
        try:
            self._sock.sendmsg([data], ancillary, 0, address)
        except OSError:
            # An end that is not there yet, or not any more.
            pass


def main(arguments: list[str]) -> None:
    places = [(arguments[at], int(arguments[at + 1])) for at in (0, 2, 4)]
    relay = Relay(places[0], places[1], places[2], *map(float, arguments[6:]))
    print("relays", flush=True)
    relay.run()


if __name__ == "__main__":
    main(sys.argv[1:])
