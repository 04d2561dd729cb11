"""A program of its own that sends small frames into an interface, as many as come out at the other end.

    python -m bench.flood INTERFACE DESTINATION PID OTHER SECONDS

Sends 64-byte frames (with the check sequence that the kernel does not count) to the MAC address DESTINATION,
and reads from the namespace of process PID how many the interface OTHER has received. No more than WINDOW
are under way, so that nobody's queue overflows and no time is spent on frames that would be dropped. Prints
frames a second.
"""

from __future__ import annotations

import os
import socket
import sys
import time

SIZE = 60
ETHERTYPE = b"\x88\xb5"
"""IEEE 802's EtherType for local experiments: the receiving kernel drops it at once."""

WINDOW = 512
"""Frames under way: half of what a TAP's queue holds by default."""

BATCH = 64
"""Frames sent before the counter is looked at, which costs as much as several frames."""

LOST_SECONDS = 0.05
"""Without a frame arriving for so long, those under way are lost."""


def flood(interface: str, destination: bytes, pid: int, other: str, seconds: float) -> float:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((interface, 0))
    frame = destination + b"\x02\x00\x00\x00\x00\x01" + ETHERTYPE
    frame += bytes(SIZE - len(frame))
    counter = os.open(f"/proc/{pid}/net/dev", os.O_RDONLY)
    mark = f"{other}:".encode()

    def received() -> int:
        text = os.pread(counter, 65536, 0)
        return int(text[text.index(mark) + len(mark) :].split(maxsplit=2)[1])

    send, clock = sock.send, time.perf_counter
    sent = first = seen = received()
    begun = moved = clock()
    while (now := clock()) < begun + seconds:
        count = received()
        if count != seen:
            seen, moved = count, now
        elif now - moved > LOST_SECONDS:
            sent, moved = seen, now
        if sent - seen > WINDOW - BATCH:
            time.sleep(0.0001)
            continue
        for _ in range(BATCH):
            send(frame)
        sent += BATCH
    return (received() - first) / (clock() - begun)


def main(interface: str, destination: str, pid: str, other: str, seconds: str) -> None:
    mac = bytes.fromhex(destination.replace(":", ""))
    print(flood(interface, mac, int(pid), other, float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
