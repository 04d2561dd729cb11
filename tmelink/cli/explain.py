"""`tmelink explain FILE`: a packet's path through a machine file, with nothing started and no privilege.

Exit code 0 if every path shown arrives or leaves the file, 1 if one ends before that.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tmelink import values
from tmelink.cli import completers, files
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.proof import choice, loops, picture, text
from tmelink.proof.topology import Topology
from tmelink.proof.trace import prove
from tmelink.sizes import PingSize
from tmelink.system import route_lookup

NAME = "explain"
HELP = "follow a packet through a machine file: each hop with its headers and sizes, and what decides"
EPILOG = epilog(
    ("tmelink explain lab.conf", "from the first element that can send to every other"),
    ("tmelink explain lab.conf --from le0 --to 10.0.77.3 --df", "a packet that must not be fragmented"),
    ("tmelink explain lab.conf --svg paths.svg", "the paths as a picture"),
)

FULL = 1472
"""Bytes of data in a ping that makes an IPv4 packet of 1500 bytes, the largest on an Ethernet."""

MOST = 65507
"""Bytes of data that an IPv4 packet with an ICMP header holds."""


def declare(parser: argparse.ArgumentParser) -> None:
    files.declare(parser)
    source = parser.add_argument(
        "--from",
        dest="source",
        metavar="ELEMENT|ADDRESS",
        help="the sender (by default, the first element that can send)",
    )
    target = parser.add_argument(
        "--to",
        dest="target",
        metavar="ELEMENT|ADDRESS",
        help="the destination (by default, every other one in the file)",
    )
    for end in (source, target):
        completers.offer(end, completers.elements_of_file)
    parser.add_argument(
        "--size",
        type=_size,
        default=FULL,
        metavar="N",
        help=f"bytes of data in the ping, as ping -s counts them ({FULL}: a packet of 1500)",
    )
    parser.add_argument(
        "--path-mtu",
        type=_mtu,
        metavar="N",
        help="the largest IP packet on every underlay path (else the MTU of the interface that leads there, "
        "where the file or this computer knows it, or 1500)",
    )
    parser.add_argument("--df", action="store_true", help="forbid fragmentation (ping -M do)")
    parser.add_argument("--json", action="store_true", help="print the paths as JSON")
    parser.add_argument("--svg", metavar="PICTURE", help="also draw the paths to this file")


def main(options: argparse.Namespace) -> int:
    topology = Topology(files.read(options), route_lookup.towards, options.path_mtu)
    proofs = [
        prove(topology, journey, PingSize(choice.version(journey), options.size, options.df))
        for journey in choice.chosen(topology, options.source, options.target)
    ]
    if options.svg is not None:
        try:
            Path(options.svg).write_text(picture.svg(proofs))
        except OSError as error:
            raise TmelinkError(f"--svg {options.svg}: {error.strerror}") from error
    for warning in loops.tunnels(topology):
        print(f"warning: {warning}", file=sys.stderr)
    if options.json:
        print(json.dumps([text.data(proof) for proof in proofs], indent=2))
    else:
        print("\n\n".join("\n".join(text.lines(proof)) for proof in proofs))
    return 0 if all(proof.verdict != "dropped" for proof in proofs) else 1


def _mtu(word: str) -> int:
    try:
        return values.mtu(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _size(word: str) -> int:
    try:
        return values.integer(0, MOST, "size")(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
