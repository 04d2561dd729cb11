"""A program of its own that sends small frames into an interface, as many as come out at the other end.

    python -m bench.flood INTERFACE SECONDS DESTINATION PID OTHER [DESTINATION PID OTHER ...]

Sends 64-byte frames (with the check sequence that the kernel does not count) to the MAC address DESTINATION
or, where that is an IPv4 address, IP packets of that length; to several in turn. It reads from the namespace
of process PID how many the interface OTHER has received. No more than WINDOW are under way, so that nobody's
queue overflows and no time is spent on frames that would be dropped. Prints frames a second.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence

SIZE = 60
ETHERTYPE = b"\x88\xb5"
"""IEEE 802's EtherType for local experiments: the receiving kernel drops it at once."""

EXPERIMENT = 253
"""The protocol number for experiments (RFC 3692), which a kernel does not know either."""

WINDOW = 512
"""Frames under way: half of what a TAP's queue holds by default."""

BATCH = 64
"""Frames sent before the counters are looked at, which costs as much as several frames."""

LOST_SECONDS = 0.05
"""Without a frame arriving for so long, those under way are lost."""


def small_frame(destination: str, source: str) -> bytes:
    """A frame, or an IP packet."""
    if ":" in destination:
        frame = bytes.fromhex(destination.replace(":", "")) + b"\x02\x00\x00\x00\x00\x01" + ETHERTYPE
        return frame + bytes(SIZE - len(frame))
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, SIZE, 0, 0, 1, EXPERIMENT, 0) + ends
    total = sum(struct.unpack("!10H", header))
    check = ~(total + (total >> 16)) & 0xFFFF
    return header[:10] + struct.pack("!H", check) + header[12:] + bytes(SIZE - len(header))


def counter(pid: str, interface: str) -> Callable[[], int]:
    """What tells how many frames an interface in a process's namespace has received."""
    descriptor = os.open(f"/proc/{pid}/net/dev", os.O_RDONLY)
    mark = f"{interface}:".encode()

    def received() -> int:
        text = os.pread(descriptor, 65536, 0)
        return int(text[text.index(mark) + len(mark) :].split(maxsplit=2)[1])

    return received


def flood(
    interface: str, seconds: float, frames: Sequence[bytes], counters: Sequence[Callable[[], int]]
) -> float:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    # A TUN takes what is said to be an IP packet; a TAP does not mind.
    sock.bind((interface, 0x0800))

    def received() -> int:
        return sum([count() for count in counters])

    send, clock, window = sock.send, time.perf_counter, WINDOW * len(frames)
    batch = [frame for frame in frames for _ in range(BATCH)]
    sent = first = seen = received()
    begun = moved = clock()
    while (now := clock()) < begun + seconds:
        count = received()
        if count != seen:
            seen, moved = count, now
        elif now - moved > LOST_SECONDS:
            sent, moved = seen, now
        if sent - seen > window - len(batch):
            time.sleep(0.0001)
            continue
        for frame in batch:
            send(frame)
        sent += len(batch)
    return (received() - first) / (clock() - begun)


def own_address(interface: str) -> str:
    """An interface's IPv4 address."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, 0x8915, struct.pack("256s", interface.encode()))  # SIOCGIFADDR
    return socket.inet_ntoa(answer[20:24])


def main(interface: str, seconds: str, *targets: str) -> None:
    source = "" if ":" in targets[0] else own_address(interface)
    frames = [small_frame(destination, source) for destination in targets[::3]]
    counters = [counter(pid, other) for pid, other in zip(targets[1::3], targets[2::3], strict=True)]
    print(flood(interface, float(seconds), frames, counters))


if __name__ == "__main__":
    main(*sys.argv[1:])
