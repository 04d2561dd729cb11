"""`python -m bench.nic`: frames a second through the threaded NIC, beside the same through plain UDP sockets.

Two processes on this computer. With the NIC, each runs a lab in a thread, and two links over loopback UDP
join them; one process's main thread calls `send` for each frame, the other's `recv`. Beside it the same loop
calls `sendto` and `recv_into` of a socket for each frame. What is counted is what arrives.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import tmelink

QUEUE = 8192
"""Frames: what a receiver's thread may be behind while the other thread has the interpreter."""

HOST = "127.0.0.1"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.nic", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each measurement lasts")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is repeated; medians are shown")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 1514], help="bytes of a frame")
    options = parser.parse_args()
    print(f"{'frame':>7}  {'way':<14}{'received/s':>12}{'sent/s':>12}{'lost':>8}")
    for size in options.sizes:
        for name, sender, receiver in WAYS:
            rounds = [measure(sender, receiver, size, options.seconds) for _ in range(options.rounds)]
            sent, received = (statistics.median(figures) for figures in zip(*rounds, strict=True))
            print(f"{size:>7}  {name:<14}{received:>12,.0f}{sent:>12,.0f}{1 - received / sent:>8.1%}")
            sys.stdout.flush()
    return 0


def measure(sender: Side, receiver: Side, size: int, seconds: float) -> tuple[float, float]:
    """Frames sent and received a second."""
    context = multiprocessing.get_context("spawn")
    ports = free_port(), free_port()
    ends, processes = [], []
    for side, (here, there) in ((receiver, ports), (sender, ports[::-1])):
        end, other = context.Pipe()
        process = context.Process(target=side, args=(other, here, there, size, seconds))
        process.start()
        # A process that fails is then an end of file here.
        other.close()
        ends.append(end)
        processes.append(process)
        assert end.recv() == "ready"
    for end in ends:
        end.send("go")
    received, sent = (end.recv() for end in ends)
    for process in processes:
        process.join()
    return sent / seconds, received / seconds


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def lab(here: int, there: int) -> tmelink.ThreadedLab:
    return tmelink.start(
        f"le0: tmelink/nic queue {QUEUE} full block\n"
        f"link0 at le0: tme/host/openvpn/socket/link --local {HOST} --lport {here} --remote {HOST} "
        f"--rport {there}\n"
    )


def nic_sends(control: Connection, here: int, there: int, size: int, seconds: float) -> None:
    with lab(here, there) as running:
        nic = running.nic("le0")
        send_for(control, nic.send, bytes(size), seconds)


def nic_receives(control: Connection, here: int, there: int, size: int, seconds: float) -> None:
    with lab(here, there) as running:
        nic = running.nic("le0")
        receive_for(control, lambda: nic.recv(0.5), seconds)


def socket_sends(control: Connection, here: int, there: int, size: int, seconds: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, here))
        sock.connect((HOST, there))
        send_for(control, sock.send, bytes(size), seconds)


def socket_receives(control: Connection, here: int, there: int, size: int, seconds: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, here))
        sock.settimeout(0.5)
        buffer = bytearray(2048)

        def receive() -> int | None:
            try:
                return sock.recv_into(buffer)
            except TimeoutError:
                return None

        receive_for(control, receive, seconds)


def send_for(control: Connection, send: Callable[[bytes], object], frame: bytes, seconds: float) -> None:
    control.send("ready")
    control.recv()
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            send(frame)
        count += 100
    control.send(count)


def receive_for(control: Connection, receive: Callable[[], object], seconds: float) -> None:
    """Count until the sender has long been silent."""
    control.send("ready")
    control.recv()
    count, end = 0, time.monotonic() + seconds + 1
    while time.monotonic() < end:
        if receive() is not None:
            count += 1
    control.send(count)


Side = Callable[[Connection, int, int, int, float], None]

WAYS: list[tuple[str, Side, Side]] = [
    ("threaded NIC", nic_sends, nic_receives),
    ("UDP socket", socket_sends, socket_receives),
]

if __name__ == "__main__":
    sys.exit(main())
