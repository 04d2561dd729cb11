"""`tmelink top [NAME]`: a lab's elements and traffic, live in a terminal.

Textual draws it, where it is installed (`pip install tmelink[tui]`); without it `tmelink status --watch`
shows the same line by line.
"""

from __future__ import annotations

import argparse

from tmelink.cli import completers, labs
from tmelink.errors import UnsupportedHere

NAME = "top"
HELP = "watch a running lab: elements and traffic, live, sorted as you like"
EPILOG = labs.epilog(
    ("tmelink top lab", "keys: s sort, r reverse, p pause, Enter one element, Escape back, q quit"),
    ("tmelink top lab.conf --all-hosts", "the labs of all hosts of a deployed file in one table"),
    ("tmelink status lab --watch", "the same as plain text"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="the lab's name, as 'tmelink ps' lists it (the only one that runs)",
    )
    completers.offer(name, completers.labs)
    labs.declare_all_hosts(parser)
    parser.add_argument("--interval", metavar="SECONDS", type=float, default=1.0, help="between updates (1)")


def main(options: argparse.Namespace) -> int:
    try:
        from tmelink.cli.top_screen import TopScreen
    except ImportError as error:
        raise UnsupportedHere(
            "top needs textual: install it with pip install 'tmelink[tui]', or use 'tmelink status --watch'"
        ) from error
    with labs.connector(options)() as lab:
        TopScreen(lambda element: lab.call("status", element=element), max(0.1, options.interval)).run()
    return 0
