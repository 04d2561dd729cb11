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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tmelink.cli import completers, labs
from tmelink.control import Client, ControlError
from tmelink.errors import TmelinkError
from tmelink.inline import pcapng
from tmelink.inline.capture import SNAPLEN

NAME = "capture"
HELP = "capture the frames of a running lab's connections, without privilege"
EPILOG = labs.epilog(
    ("tmelink capture lab le0:link0", "shown by tcpdump, until Ctrl-C"),
    ("tmelink capture lab -w lab.pcapng", "every connection, each an interface of the file"),
    ("tmelink capture lab le0 -f 'udp port 53' -c 10 -w dns.pcapng", "the first ten that match"),
    ("tmelink capture lab link0 --wire --keylog keys -w out.pcapng", "what the link has outside"),
    ("tmelink capture lab le0 -w - | wireshark -k -i -", "live in Wireshark"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser, required=True)
    connections = parser.add_argument(
        "connections",
        metavar="CONNECTION",
        nargs="*",
        help="ELEMENT:OTHER, or ELEMENT for all of its connections; without, every connection of the lab",
    )
    completers.offer(connections, completers.connections)
    parser.add_argument("-w", metavar="FILE", dest="file", help="write pcapng, - for standard output")
    parser.add_argument(
        "-f", metavar="EXPRESSION", dest="filter", default="", help="a pcap-filter(7) expression"
    )
    parser.add_argument("-c", metavar="N", dest="count", type=int, default=0, help="end after N frames")
    parser.add_argument(
        "-s", metavar="BYTES", dest="snaplen", type=int, default=SNAPLEN, help="keep so much of each frame"
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
        help="keep packets of up to 64 KiB whole",
    )

    parser.add_argument(
        "--wire", action="store_true", help="CONNECTION is a link: capture what it sends and receives outside"
    )
    parser.add_argument(
        "--keylog",
        metavar="FILE",
        type=Path,
        help="with --wire: write TLS' secrets there, in NSS's key log format; a client begins a new session",
    )


def main(options: argparse.Namespace) -> int:
    if options.wire and (len(options.connections) != 1 or options.filter or options.count):
        print("tmelink capture: --wire takes the name of one link, and neither -f nor -c", file=sys.stderr)
        return 2
    if options.keylog is not None and not options.wire:
        print("tmelink capture: --keylog is for --wire", file=sys.stderr)
        return 2
    try:
        with labs.control(options) as lab, _output(options.file) as output:
            write(lab, output, options)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        where = "standard output" if options.file == "-" else options.file
        raise TmelinkError(f"{where}: {error.strerror}") from error
    return 0


def _items(lab: Client, options: argparse.Namespace) -> Iterator[Any]:
    """What the lab captures, items as the control socket has them; keys go to their file."""
    if not getattr(options, "wire", False):
        yield from lab.stream(
            "capture",
            connections=options.connections,
            filter=options.filter,
            direction=options.direction,
            snaplen=options.snaplen,
            count=options.count,
            super_frames=options.super_frames,
        )
        return
    keylog = options.keylog
    with contextlib.ExitStack() as stack:
        keys = None if keylog is None else stack.enter_context(_private(keylog))
        for item in lab.stream(
            "capture_wire", link=options.connections[0], keylog=keys is not None, snaplen=options.snaplen
        ):
            if keys is not None and "keys" in item.value:
                keys.write("".join(f"{line}\n" for line in item.value["keys"]))
                keys.flush()
            else:
                yield item


def _private(path: Path) -> IO[str]:
    """A file that its owner alone can read, to be added to."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w")


def write(lab: Client, output: IO[bytes], options: argparse.Namespace) -> None:
    """Write what is captured, and at the end how many frames were seen and how many are missing."""
    seen: list[int] = []
    written: list[int] = []
    try:
        for item in _items(lab, options):
            value = item.value
            if not seen:
                count = len(value["seen"])
                connections = f"{count} connection" + ("s" if count != 1 else "")
                print(f"capturing {connections}, until Ctrl-C", file=sys.stderr, flush=True)
            seen = value["seen"]
            written = [a + b for a, b in zip(written or [0] * len(seen), value["frames"], strict=True)]
            output.write(base64.b64decode(value["pcapng"]))
            output.flush()
    except KeyboardInterrupt:
        pass
    except ControlError as error:
        if not seen:
            raise
        print(f"tmelink capture: {error}", file=sys.stderr)
    finally:
        with contextlib.suppress(OSError):
            for number, count in enumerate(seen):
                output.write(pcapng.statistics(number, time.time_ns(), count, count - written[number]))
            output.flush()
    print(f"{sum(written)} frames captured, {sum(seen) - sum(written)} dropped", file=sys.stderr)


@contextlib.contextmanager
def _output(file: str | None) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdout.buffer
    elif file is not None:
        with open(file, "wb") as output:
            yield output
    elif shutil.which("tcpdump") is None:
        raise TmelinkError("capture shows frames through tcpdump, which is not installed; use -w FILE")
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
