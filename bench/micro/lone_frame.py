"""What one lone frame costs an end: Python's calls, and processor time, from the TAP to the socket and back.

    python -m bench.micro.lone_frame [--calls] [--rounds N]

A link without keys, one with TLS, and servers in tap and tun mode stand in one process, each with its peer
over the loopback. A frame is sent at one machine, and the peer's reader is called for it at once: as in an
idle tunnel, where every frame comes alone, but without waiting and without caches that have gone cold. What
is shown is the first end's, which is the server's. `--calls` lists the calls of Python's and of C's
functions, in their order.
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
from tmelink.element import Element, Port, connect
from tmelink.frame import Burst, Frame, Kind
from tmelink.openvpn.tls import keygen
from tmelink.system.event_loop import new_event_loop

HERE, THERE = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")
"""The machines' MAC addresses."""

SETTLE_SECONDS = 3.0

EACH = 200
"""Frames in a row of which the time is taken."""

MODES = {
    "plaintext": ("tap", ("", "")),
    "AES-256-GCM": ("tap", ("--tls-server --dh none", "--tls-client")),
    "server, tap": ("tap", ("--server 10.9.0.0 255.255.255.0", "--client")),
    "server, tun": ("tun", ("--server 10.9.0.0 255.255.255.0 --topology subnet", "--client")),
}
"""The device of both ends, and the options by which they differ."""


class Machine(Element):
    """The machine at one end."""

    def __init__(self, kind: Kind) -> None:
        super().__init__("machine", None)
        self._kind: Kind = kind

    def make_port(self) -> Port:
        return Port(self, kind=self._kind)

    def receive(self, port: Port, burst: Burst) -> None:
        """Take frames."""

    def receive_one(self, port: Port, frame: Frame) -> None:
        """Take one."""


def ping(kind: Kind, source: int, destination: int) -> bytes:
    """As long as a ping of 56 bytes; 1 is the first end's machine, 2 the second's."""
    macs = {1: HERE, 2: THERE}
    ends = bytes((10, 9, 0, source)) + bytes((10, 9, 0, destination))
    packet = bytes((0x45, 0, 0, 84, 0, 0, 0, 0, 64, 1, 0, 0)) + ends + bytes(64)
    return packet if kind == "ip" else macs[destination] + macs[source] + b"\x08\x00" + packet


def free_port() -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine(directory: Path, device: str, options: tuple[str, str]) -> str:
    """Two ends that are each other's peers."""
    ports = free_port(), free_port()
    names = ("one", "two")
    ends = [keygen.generate(name, time.time()) for name in names]
    text = ""
    for number, name in enumerate(names):
        own, other, words = ends[number], ends[1 - number], options[number]
        module = "server" if "--server " in words else "link"
        words += f" --dev {device} --local 127.0.0.1 --lport {ports[number]}"
        if module == "link":
            words += f" --remote 127.0.0.1 {ports[1 - number]}"
        if options[number]:
            for kind, content in (("key", own.private_key), ("crt", own.certificate)):
                path = directory / f"{name}.{kind}"
                path.touch(0o600)
                path.write_bytes(content)
            words += f" --key {directory}/{name}.key --cert {directory}/{name}.crt"
            words += f" --peer-fingerprint {other.fingerprint}"
        text += f"{name}: tme/host/openvpn/socket/{module} {words}\n"
    return text


class End:
    """An end with its machine, and what it sends and reads."""

    def __init__(self, element: Any, kind: Kind, frame: bytes) -> None:
        self.inlet = Machine(kind).port()
        connect(self.inlet, element.port())
        self._send = self.inlet.send_one
        self._frame = frame
        leases = element._listeners._leases if hasattr(element, "_listeners") else [element.peer._wire]
        self.datagrams = leases[0]._port.datagrams
        self._read: Callable[[], None] = self.datagrams._read

    def send(self) -> None:
        """What the process does once its TAP has given it the frame."""
        self._send(self._frame)

    def receive(self) -> None:
        """What the process does once epoll has named the socket."""
        self.datagrams._read_at = 0.0
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


def timed(sender: End, receiver: End) -> tuple[float, float]:
    """Microseconds of processor time for sending, and for receiving."""
    clock = time.thread_time
    sending = receiving = 0.0
    for _ in range(EACH):
        at = clock()
        sender.send()
        between = clock()
        receiver.receive()
        receiving += clock() - between
        sending += between - at
    return sending / EACH * 1e6, receiving / EACH * 1e6


async def measured(mode: str, *, rounds: int, show: bool) -> None:
    """Print what the first end of a mode costs."""
    device, options = MODES[mode]
    kind: Kind = "ip" if device == "tun" else "ethernet"
    with tempfile.TemporaryDirectory() as directory:
        async with tmelink.load(machine(Path(directory), device, options)).run() as lab:
            # Until both have said all that they say at first; without keys a frame says that they are there.
            await asyncio.sleep(SETTLE_SECONDS)
            own, other = End(lab["one"], kind, ping(kind, 1, 2)), End(lab["two"], kind, ping(kind, 2, 1))
            other.send()
            own.receive()
            own.send()
            other.receive()
            assert lab["one"].up
            assert lab["two"].up
            timed(other, own)
            timed(own, other)
            calls = {"send": traced(own.send)}
            other.receive()
            other.send()
            calls["receive"] = traced(own.receive)
            sending, receiving = [], []
            for _ in range(rounds):
                sending.append(timed(own, other)[0])
                receiving.append(timed(other, own)[1])
            for what, times in (("send", sending), ("receive", receiving)):
                found = calls[what]
                python = sum(not call.startswith(" ") for call in found)
                figures = f"{statistics.median(times):>8.2f} {min(times):>8.2f}"
                print(f"{mode:<12} {what:<8}{python:>6} {len(found) - python:>6} {figures}")
                if show:
                    print("\n".join(f"    {call}" for call in found))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.micro.lone_frame", description=__doc__)
    parser.add_argument("--calls", action="store_true", help="list the calls")
    parser.add_argument("--rounds", type=int, default=50, help="of which medians and minima are shown")
    options = parser.parse_args()
    print(f"{'':<21}{'Python':>6} {'C':>6} {'us':>8} {'least':>8}")
    loop = new_event_loop()
    for mode in MODES:
        loop.run_until_complete(measured(mode, rounds=options.rounds, show=options.calls))
    loop.close()


if __name__ == "__main__":
    main()
