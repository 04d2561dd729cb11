"""`tmelink plug NAME ELEMENT`: a cable from standard input and output to an element of a running lab."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from tmelink.cli import completers, labs
from tmelink.cli import exec as statements
from tmelink.control import Client
from tmelink.errors import TmelinkError
from tmelink.transport.streams import FRAMINGS

NAME = "plug"
HELP = "connect standard input and output to an element of a running lab, as a cable"
EPILOG = labs.epilog(
    ("tmelink plug lab sw0", "frames, each after its length in 16 bits, as with vde_plug"),
    ("dpipe tmelink plug lab sw0 = vde_plug", "a cable from the lab to a VDE switch"),
    ("there at sw0: tmelink/process stdio ssh HOST tmelink plug lab sw0", "in a machine file: over ssh"),
)

CONNECT_SECONDS = 10.0
"""How long the lab may take to connect its new element."""

CHUNK = 65536


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser, required=True)
    element = parser.add_argument(
        "element", metavar="ELEMENT", help="what the cable leads to, such as a switch"
    )
    completers.offer(element, completers.elements)
    parser.add_argument(
        "--framing",
        choices=[*FRAMINGS],
        default="be16",
        help="how the length before a frame is written (be16)",
    )


def main(options: argparse.Namespace) -> int:
    # As whoever started it asks: what was made is removed.
    signal.signal(signal.SIGTERM, lambda number, stack: sys.exit(0))
    folder = Path(tempfile.mkdtemp(prefix="tmelink-plug-"))
    path = folder / "frames"
    name = f"plug-{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as listening, labs.control(options) as lab:
            listening.bind(str(path))
            listening.listen()
            listening.settimeout(CONNECT_SECONDS)
            text = f'{name} at {options.element}: tmelink/stream connect "{path}" framing {options.framing}'
            _done(lab, text)
            try:
                _carry(listening)
            finally:
                _done(lab, f"rm {name}")
    finally:
        shutil.rmtree(folder)
    return 0


def _done(lab: Client, text: str) -> None:
    failed = statements.run(lab, text, "/")["failed"]
    if failed:
        raise TmelinkError("; ".join(f"{element}: {reason}" for element, reason in failed.items()))


def _carry(listening: socket.socket) -> None:
    """Carry bytes both ways until one side has ended."""
    try:
        sock, _ = listening.accept()
    except TimeoutError:
        raise TmelinkError("the lab cannot connect to the plug: run both as the same user") from None
    over = threading.Event()

    def copy(source: int, write: Callable[[bytes], object]) -> None:
        try:
            while data := os.read(source, CHUNK):
                write(data)
        except OSError:
            # A broken pipe is the other side's end.
            pass
        finally:
            over.set()

    def out(data: bytes) -> None:
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]

    with sock:
        # Reading standard input cannot be interrupted: this thread ends with the process.
        for source, write in ((sys.stdin.fileno(), sock.sendall), (sock.fileno(), out)):
            threading.Thread(target=copy, args=(source, write), daemon=True).start()
        over.wait()
        sock.shutdown(socket.SHUT_RDWR)
