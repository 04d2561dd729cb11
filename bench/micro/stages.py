"""Where a link's processor time goes: microseconds a packet, stage by stage, by how many come together.

    python -m bench.micro.stages [--rounds N]

A super-frame of so many TCP segments goes through a link with AES-256-GCM over the loopback, from the
machine's side of the first end to the machine's side of the second. Every stage is measured by itself too,
with the same bytes; the rest is what the elements between them cost. Warm, without waiting, and without a
TAP: reading and writing one costs what the kernel's system calls do. Processor time, the quickest tenth of
the rounds, so that others on the computer count little.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tmelink
from bench.micro.lone_frame import MODES, SETTLE_SECONDS, End, machine, ping
from tests.support.packets import Flow, noise
from tmelink.frame import Burst, Frame, Gso, Run
from tmelink.offload import coalesce, segment
from tmelink.system.event_loop import new_event_loop
from tmelink.transport.udp_offload import UDP_GRO, UDP_SEGMENT

SEGMENT = 1350
"""Bytes of payload, as --mssfix leaves them."""

TOGETHER = (1, 2, 8, 45)

PARTS = {"sending": ("cut", "seal", "send"), "receiving": ("receive", "open", "join")}
"""The stages that are measured by themselves."""

Step = Callable[[], Any]


def quickest(steps: list[tuple[str, Step]], rounds: int) -> dict[str, float]:
    """Microseconds of processor time of each step, which follow each other round after round."""
    clock = time.thread_time
    times: dict[str, list[float]] = {name: [] for name, _ in steps}
    for _ in range(rounds):
        for name, step in steps:
            at = clock()
            step()
            times[name].append(clock() - at)
    return {name: statistics.quantiles(each, n=10)[0] * 1e6 for name, each in times.items()}


class Wire:
    """A pair of sockets, one of which sends a run in a call and the other receives one."""

    def __init__(self) -> None:
        self.out, self.into = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.into.bind(("127.0.0.1", 0))
        self.into.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self._room = [memoryview(bytearray(65536))]
        self._to = self.into.getsockname()

    def send(self, data: Frame, size: int) -> None:
        self.out.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0, self._to)

    def receive(self) -> None:
        self.into.recvmsg_into(self._room, 32)

    def close(self) -> None:
        self.out.close()
        self.into.close()


def alone(own: Any, other: Any, frame: Frame, gso: Gso, rounds: int) -> dict[str, float]:
    """Each stage by itself, under the keys of two sessions."""
    sealing, opening = own.peer.session._keyring, other.peer.session._keyring
    wire = Wire()
    held: dict[str, Any] = {}

    def cut() -> None:
        held["run"] = segment(frame, gso)

    def seal() -> None:
        held["sealed"] = sealing.seal([held["run"]])

    def send() -> None:
        for item in held["sealed"]:
            wire.send(*(item if isinstance(item, Run) else (item, len(item))))

    def receive() -> None:
        for _ in held["sealed"]:
            wire.receive()

    def open() -> None:
        items = held["sealed"]
        packets = items[0] if isinstance(items[0], Run) else items
        first = packets.data[0] if isinstance(packets, Run) else packets[0][0]
        held["opened"] = opening.open(first, packets, 1.0)

    def join() -> None:
        coalesce(held["opened"])

    steps: list[tuple[str, Step]] = [(step.__name__, step) for step in (cut, seal, send, receive, open, join)]
    try:
        return quickest(steps, rounds)
    finally:
        wire.close()


def through(own: End, other: End, burst: Burst, rounds: int) -> dict[str, float]:
    """The whole path at either end."""
    waiting = other.datagrams.sock

    def receive() -> None:
        while True:
            try:
                waiting.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return
            other.receive()

    port = own.inlet
    return quickest([("sending end", lambda: port.send(burst)), ("receiving end", receive)], rounds)


async def measured(rounds: int) -> None:
    """Print the table."""
    device, options = MODES["AES-256-GCM"]
    with tempfile.TemporaryDirectory() as directory:
        async with tmelink.load(machine(Path(directory), device, options)).run() as lab:
            await asyncio.sleep(SETTLE_SECONDS)
            first, second = lab["one"], lab["two"]
            own = End(first, "ethernet", ping("ethernet", 1, 2))
            other = End(second, "ethernet", ping("ethernet", 2, 1))
            for sender, receiver in ((other, own), (own, other)):
                sender.send()
                receiver.receive()
            columns = []
            for count in TOGETHER:
                frame, gso = Flow(4).super_frame(noise(count * SEGMENT), SEGMENT)
                whole = through(own, other, Burst([memoryview(frame)], [gso]), rounds)
                stages = alone(first, second, frame, gso, rounds)
                for end, parts in PARTS.items():
                    whole[f"{end}: the rest"] = whole[f"{end} end"] - sum(stages[part] for part in parts)
                columns.append({name: us / count for name, us in {**stages, **whole}.items()})
            print(f"{'packets together':<22}" + "".join(f"{count:>8}" for count in TOGETHER))
            for end, parts in PARTS.items():
                for name in (*parts, f"{end}: the rest", f"{end} end"):
                    print(f"{name:<22}" + "".join(f"{column[name]:>8.1f}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.micro.stages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    loop = new_event_loop()
    loop.run_until_complete(measured(options.rounds))
    loop.close()


if __name__ == "__main__":
    main()
