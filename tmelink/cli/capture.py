"""`tmelink capture NAME [CONNECTION…]`: frames of a running lab, as a pcapng file or in lines."""

from __future__ import annotations

import argparse
import base64
import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from tmelink.cli import completers, exit_codes, labs
from tmelink.control import Client, ControlError
from tmelink.control.protocol import StreamItem
from tmelink.errors import TmelinkError
from tmelink.inline import pcapng
from tmelink.inline.capture import SNAPLEN

NAME = "capture"
HELP = "capture the frames of a running lab's connections, without privilege"
EPILOG = labs.epilog(
    ("tmelink capture lab le0:link0", "show them with tcpdump, until Ctrl-C"),
    ("tmelink capture lab -w lab.pcapng", "capture every connection, each as an interface of the file"),
    (
        "tmelink capture lab le0 -f 'udp port 53' -c 10 -w dns.pcapng",
        "capture the first ten frames that match",
    ),
    (
        "tmelink capture lab link0 --wire --keylog keys -w out.pcapng",
        "capture the link's packets on the network, and its keys",
    ),
    ("tmelink capture lab le0 -w - | wireshark -k -i -", "live in Wireshark"),
    ("tmelink capture lab.conf --all-hosts -w lab.pcapng", "a file for each host: lab.north.pcapng, …"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser, required=True)
    labs.declare_all_hosts(parser)
    connections = parser.add_argument(
        "connections",
        metavar="CONNECTION",
        nargs="*",
        help="ELEMENT:OTHER, or ELEMENT for all of its connections; by default, every connection of the lab",
    )
    completers.offer(connections, completers.connections)
    parser.add_argument("-w", metavar="FILE", dest="file", help="write pcapng, - for standard output")
    parser.add_argument(
        "-f", metavar="EXPRESSION", dest="filter", default="", help="a pcap-filter(7) expression"
    )
    parser.add_argument("-c", metavar="N", dest="count", type=int, default=0, help="stop after N frames")
    parser.add_argument(
        "-s",
        metavar="BYTES",
        dest="snaplen",
        type=int,
        default=SNAPLEN,
        help="keep at most this much of each frame",
    )
    parser.add_argument(
        "--direction",
        choices=("in", "out", "both"),
        default="both",
        help="'out' is what the first element of the connection sends",
    )
    parser.add_argument(
        "--super-frames",
        action="store_true",
        help="keep super-frames of up to 64 KiB whole",
    )

    parser.add_argument(
        "--wire", action="store_true", help="CONNECTION is a link: capture its packets on the network"
    )
    parser.add_argument(
        "--keylog",
        metavar="FILE",
        type=Path,
        help="with --wire: write the TLS secrets to this file, in NSS key log format; "
        "a client starts a new session",
    )


def main(options: argparse.Namespace) -> int:
    if options.wire and len(options.connections) != 1:
        print("tmelink capture: --wire takes the name of one link", file=sys.stderr)
        return exit_codes.USAGE
    if options.keylog is not None and not options.wire:
        print("tmelink capture: --keylog needs --wire", file=sys.stderr)
        return exit_codes.USAGE
    try:
        with labs.control(options) as lab, _output(options.file) as output:
            write(lab, output, options)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        where = "standard output" if options.file == "-" else options.file
        raise TmelinkError(f"{where}: {error.strerror}") from error
    return 0


def items(lab: Client, options: argparse.Namespace) -> Iterator[StreamItem]:
    """What the lab captures, items as the control socket has them; keys go to their file."""
    asked = {name: getattr(options, name) for name in ("filter", "direction", "snaplen", "count")}
    if not options.wire:
        yield from lab.stream(
            "capture", connections=options.connections, super_frames=options.super_frames, **asked
        )
        return
    keylog = options.keylog
    with contextlib.ExitStack() as stack:
        keys = None if keylog is None else stack.enter_context(_private(keylog))
        for item in lab.stream("capture_wire", link=options.connections[0], keylog=keys is not None, **asked):
            if keys is not None and "keys" in item.value:
                keys.write("".join(f"{line}\n" for line in item.value["keys"]))
                keys.flush()
            else:
                yield item


def _private(path: Path) -> IO[str]:
    """A file to append to, which only its owner can read."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w")


class Captured:
    """The frames written from a capture, and how many of each connection were seen and written."""

    def __init__(self, output: IO[bytes], begun: Callable[[int], None] = lambda connections: None) -> None:
        self._output = output
        self._begun = begun
        self._seen: list[int] = []
        self._before: list[int] = []
        self._written: list[int] = []

    @property
    def connections(self) -> int:
        """How many connections are captured; 0 before the capture has begun."""
        return len(self._seen)

    def follow(self, items: Iterable[StreamItem]) -> None:
        """Write items as they come; if the capture continues in the same file, without its header."""
        again = bool(self._seen)
        self._before = list(self._seen)
        for number, item in enumerate(items):
            value = item.value
            if number == 0 and again:
                continue
            if not self._seen:
                self._written = self._before = [0] * len(value["seen"])
                self._begun(len(value["seen"]))
            self._seen = _sums(self._before, value["seen"])
            self._written = _sums(self._written, value["frames"])
            self._output.write(base64.b64decode(value["pcapng"]))
            self._output.flush()

    def end(self) -> None:
        """Write how many frames there were."""
        with contextlib.suppress(OSError):
            for number, (seen, written) in enumerate(zip(self._seen, self._written, strict=True)):
                self._output.write(pcapng.statistics(number, time.time_ns(), seen, seen - written))
            self._output.flush()

    def text(self) -> str:
        """The same in words."""
        dropped = sum(self._seen) - sum(self._written)
        return f"{labs.counted(sum(self._written), 'frame')} captured, {dropped} dropped"


def _sums(some: list[int], more: list[int]) -> list[int]:
    return [a + b for a, b in zip(some, more, strict=True)]


def write(lab: Client, output: IO[bytes], options: argparse.Namespace) -> None:
    """Write the capture until it ends, and how many frames were seen and how many are missing."""

    def begun(connections: int) -> None:
        plural = "s" if connections != 1 else ""
        print(f"capturing {connections} connection{plural}, until Ctrl-C", file=sys.stderr, flush=True)

    captured = Captured(output, begun)
    try:
        captured.follow(items(lab, options))
    except KeyboardInterrupt:
        pass
    except ControlError as error:
        if not captured.connections:
            raise
        print(f"tmelink capture: {error}", file=sys.stderr)
    finally:
        captured.end()
    print(captured.text(), file=sys.stderr)


@contextlib.contextmanager
def _output(file: str | None) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdout.buffer
    elif file is not None:
        with open(file, "wb") as output:
            yield output
    elif shutil.which("tcpdump") is None:
        raise TmelinkError(
            "capture shows frames with tcpdump, which is not installed; install it, or use -w FILE"
        )
    else:
        command = ["tcpdump", "-n", "-e", "-l", "-r", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as shown:
            assert shown.stdin is not None
            try:
                yield shown.stdin
            finally:
                with contextlib.suppress(BrokenPipeError):
                    shown.stdin.close()
                shown.wait()
