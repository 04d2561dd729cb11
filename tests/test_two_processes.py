"""Two Python programs that embed the threaded form, joined by a link: what a user's two emulators are."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

import tmelink

SECONDS = 30
"""That nothing here takes."""

ECHO = """
import sys, tmelink

with tmelink.start(sys.argv[1]) as lab:
    nic = lab.nic("le0")
    print("running", flush=True)
    for frame in nic:
        nic.send(frame[6:12] + frame[:6] + frame[12:14] + frame[:13:-1])
"""
"""A machine that sends every frame back with its payload reversed."""

LAB = (
    "le0: tmelink/nic queue 500 full block\n"
    "link0 at le0: tme/host/openvpn/socket/link --keepalive 1 4 --connect-retry 1 "
)


def free_ports(kind: socket.SocketKind) -> tuple[int, int]:
    with socket.socket(type=kind) as a, socket.socket(type=kind) as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


@contextlib.contextmanager
def echo(lab: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", ECHO, lab]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "running\n"
            yield child
        finally:
            child.kill()


def labs(proto: str) -> tuple[str, str]:
    """What either program runs."""
    here, there = free_ports(socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM)
    if proto == "udp":
        both = f"{LAB}--local 127.0.0.1 --remote 127.0.0.1"
        return f"{both} --lport {here} --rport {there}\n", f"{both} --lport {there} --rport {here}\n"
    client = f"{LAB}--proto tcp-client --nobind --remote 127.0.0.1 --rport {here}\n"
    return f"{LAB}--proto tcp-server --local 127.0.0.1 --lport {here}\n", client


def answered(nic: tmelink.ThreadedNic, seed: int) -> None:
    """Every frame of a few hundred comes back as it should, in order."""
    rand = random.Random(seed)
    for _ in range(20):
        frames = [bytes(12) + b"\x90\x00" + rand.randbytes(rand.randint(46, 1500)) for _ in range(20)]
        for frame in frames:
            nic.send(frame)
        for frame in frames:
            back = nic.recv(SECONDS)
            assert back is not None
            assert bytes(back) == frame[:14] + frame[:13:-1]


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_frames_cross_and_a_killed_program_is_missed_until_it_is_back(proto: str) -> None:
    here, there = labs(proto)
    states: SimpleQueue[bool] = SimpleQueue()
    with tmelink.start(here) as lab:
        nic = lab.nic("le0")
        nic.on_link(states.put)
        assert states.get(timeout=SECONDS) is False
        with echo(there) as child:
            assert states.get(timeout=SECONDS) is True
            answered(nic, 1)
            child.send_signal(signal.SIGKILL)
            assert states.get(timeout=SECONDS) is False
        with echo(there):
            assert states.get(timeout=SECONDS) is True
            answered(nic, 2)
