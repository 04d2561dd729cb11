"""What one lone frame costs an end of a link: Python's calls, and processor time, from the TAP to the socket.

    python -m bench.micro.lone_frame [--calls] [--rounds N]

A link without keys and one with TLS stand in one process, each with its peer over the loopback. A frame is
sent at one machine, and the peer's reader is called for it at once: as in an idle tunnel, where every frame
comes alone, but without waiting and without caches that have gone cold. `--calls` lists the calls of Python's
and of C's functions, in their order.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import tmelink
from tmelink.element import Element, Port
from tmelink.frame import Burst, Frame
from tmelink.openvpn.tls import keygen
from tmelink.system.event_loop import new_event_loop

FRAME = bytes.fromhex("02000000000a02000000000b0800") + bytes([0x45, 0, 0, 84, 0, 0, 0, 0, 64, 1]) + bytes(74)
"""As long as a ping of 56 bytes."""

SETTLE_SECONDS = 3.0

EACH = 200
"""Frames in a row of which the time is taken."""


class Sink(Element):
    """The machine at the far end."""

    def receive(self, port: Port, burst: Burst) -> None:
        """Take frames."""

    def receive_one(self, port: Port, frame: Frame) -> None:
        """Take one."""


def free_port() -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine(directory: Path, *, tls: bool) -> str:
    """Two links that are each other's peers."""
    ports = free_port(), free_port()
    names = ("one", "two")
    ends = [keygen.generate(name, time.time()) for name in names]
    text = ""
    for number, name in enumerate(names):
        own, other = ends[number], ends[1 - number]
        words = f"--dev tap --local 127.0.0.1 --lport {ports[number]} --remote 127.0.0.1 {ports[1 - number]}"
        if tls:
            for kind, content in (("key", own.private_key), ("crt", own.certificate)):
                path = directory / f"{name}.{kind}"
                path.touch(0o600)
                path.write_bytes(content)
            role = "--tls-client" if number else "--tls-server --dh none"
            words += f" {role} --key {directory}/{name}.key --cert {directory}/{name}.crt"
            words += f" --peer-fingerprint {other.fingerprint}"
        text += f"host{number}: tmelink/host inet 10.9.0.{number + 1}/24\n"
        text += f"link{number} at host{number}: tme/host/openvpn/socket/link {words}\n"
    return text


class FramePath:
    """From the machine of the first link to that of the second."""

    def __init__(self, lab: tmelink.Lab) -> None:
        first, second = lab["link0"], lab["link1"]
        inlet = first.ports[0].peer
        assert inlet is not None
        self._send = inlet.send_one
        second.ports[0].peer = Port(Sink("sink", None))
        wire: Any = second.peer  # type: ignore[attr-defined]
        datagrams = wire._wire._port.datagrams
        self._read: Callable[[], None] = datagrams._read
        self._datagrams = datagrams

    def send(self) -> None:
        """What the sending process does once its TAP has given it the frame."""
        self._send(FRAME)

    def receive(self) -> None:
        """What the receiving process does once epoll has named the socket."""
        self._datagrams._read_at = 0.0
        self._read()


def traced(step: Callable[[], None]) -> list[str]:
    """The functions that a step calls, Python's and C's."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_qualname)
        elif event == "c_call":
            calls.append(f"  {argument.__qualname__}")

    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(None)
    return calls[1:-1]


def timed(path: FramePath) -> tuple[float, float]:
    """Microseconds of processor time for sending, and for receiving."""
    clock = time.thread_time
    sending = receiving = 0.0
    for _ in range(EACH):
        at = clock()
        path.send()
        between = clock()
        path.receive()
        receiving += clock() - between
        sending += between - at
    return sending / EACH * 1e6, receiving / EACH * 1e6


async def measured(*, tls: bool, rounds: int, show: bool) -> None:
    """Print what a link costs."""
    with tempfile.TemporaryDirectory() as directory:
        async with tmelink.load(machine(Path(directory), tls=tls)).run() as lab:
            # Until both are up and their hosts have announced themselves.
            await asyncio.sleep(SETTLE_SECONDS)
            assert lab["link0"].up
            assert lab["link1"].up
            path = FramePath(lab)
            timed(path)
            calls = [traced(path.send), traced(path.receive)]
            times = [timed(path) for _ in range(rounds)]
            name = "AES-256-GCM" if tls else "plaintext"
            for what, found, each in zip(("send", "receive"), calls, zip(*times, strict=True), strict=True):
                own = sum(not call.startswith(" ") for call in found)
                figures = f"{own:>6} {len(found) - own:>6} {statistics.median(each):>8.2f} {min(each):>8.2f}"
                print(f"{name:<12} {what:<8}{figures}")
                if show:
                    print("\n".join(f"    {call}" for call in found))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.micro.lone_frame", description=__doc__)
    parser.add_argument("--calls", action="store_true", help="list the calls")
    parser.add_argument("--rounds", type=int, default=50, help="of which medians and minima are shown")
    options = parser.parse_args()
    print(f"{'':<21}{'Python':>6} {'C':>6} {'us':>8} {'least':>8}")
    loop = new_event_loop()
    for tls in (False, True):
        loop.run_until_complete(measured(tls=tls, rounds=options.rounds, show=options.calls))
    loop.close()


if __name__ == "__main__":
    main()
