"""`tmelink impair NAME [ELEMENT at OTHER WORDS…]`: delay, lose and limit what crosses a connection, live."""

from __future__ import annotations

import argparse
import sys

from tmelink.cli import completers, exit_codes, labs

NAME = "impair"
HELP = "delay, lose, limit or reorder the frames of a connection while the lab runs, as tc-netem does"
EPILOG = labs.epilog(
    ("tmelink impair lab", "what is impaired"),
    ("tmelink impair lab le0 at link0 delay 50ms 10ms normal loss 1% burst 4", "both directions"),
    (
        "tmelink impair lab le0 at link0 rate 10mbit direction out",
        "limit what le0 sends, and change nothing else",
    ),
    (
        "tmelink impair lab le0 at link0 match 'udp port 53' drop every 2",
        "impair only frames that the filter matches",
    ),
    ("tmelink impair lab le0 at link0 clear", "remove the impairment"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser, required=True)
    labs.declare_all_hosts(parser)
    words = parser.add_argument(
        "words",
        metavar="ELEMENT at OTHER WORDS",
        nargs=argparse.REMAINDER,
        help="a connection and what happens to its frames; by default, show what is impaired",
    )
    completers.offer(words, completers.elements)


def main(options: argparse.Namespace) -> int:
    words = list(options.words)
    if "--json" in words:
        words.remove("--json")
        options.json = True
    with labs.control(options) as lab:
        if not words:
            _show(lab.call("impairments"), options.json)
            return 0
        if len(words) < 4 or words[1] != "at":
            print("tmelink impair: write ELEMENT at OTHER, then the impairment", file=sys.stderr)
            return exit_codes.USAGE
        holds = lab.call("impair", element=words[0], other=words[2], words=words[3:])
    if options.json:
        labs.dump(holds)
    else:
        for direction, text in holds.items():
            print(f"{direction:<3}  {text or 'not impaired'}")
    return 0


def _show(rows: list[dict[str, object]], as_json: bool) -> None:
    if as_json:
        labs.dump(rows)
    elif rows:
        cells = [[str(row[key]) for key in ("element", "other", "out", "in", "waiting")] for row in rows]
        print(labs.table(("ELEMENT", "AT", "OUT", "IN", "WAITING"), cells, right=(4,)))
