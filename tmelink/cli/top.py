"""`tmelink top [NAME]`: a lab's elements and traffic, live in a terminal.

Textual draws it, where it is installed (`pip install tmelink[tui]`); without it `tmelink status --watch`
shows the same line by line.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from tmelink.cli import labs
from tmelink.errors import UnsupportedHere

NAME = "top"
HELP = "watch a running lab: elements and traffic, live, sorted as you like"
EPILOG = labs.epilog(
    ("tmelink top lab", "keys: s sort, r reverse, p pause, Enter one element, Escape back, q quit"),
    ("tmelink status lab --watch", "the same without a terminal's comfort"),
)

Look = Callable[[str | None], dict[str, Any]]
"""The status of the lab, or of one element."""

TopRow = tuple[str, str, float, str, float, float, int]

HEADS = ("ELEMENT", "STATE", "FOR", "", "FRAMES/S", "RATE", "DROPPED")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="the lab's name, as 'tmelink ps' lists it (the only one that runs)",
    )
    parser.add_argument(
        "--interval", metavar="SECONDS", type=float, default=1.0, help="between two looks (1)"
    )


def main(options: argparse.Namespace) -> int:
    try:
        from tmelink.cli.top_screen import TopScreen
    except ImportError as error:
        raise UnsupportedHere(
            "top needs textual: install it with pip install 'tmelink[tui]', or use 'tmelink status --watch'"
        ) from error
    with labs.control(options) as lab:
        TopScreen(lambda element: lab.call("status", element=element), max(0.1, options.interval)).run()
    return 0


def rows(status: dict[str, Any]) -> list[TopRow]:
    """A row for each element: state and why, and the traffic through all of its connections."""
    traffic: dict[str, list[float]] = {row["name"]: [0.0, 0.0, 0] for row in status["elements"]}
    for row in status["connections"]:
        for direction, end in (("sent", "from"), ("received", "to")):
            counters = row[direction]
            sums = traffic.setdefault(row[end], [0.0, 0.0, 0])
            sums[0] += counters["frames_per_second"] or 0.0
            sums[1] += counters["bits_per_second"] or 0.0
            sums[2] += sum(counters["drops"].values())
    for row in status["elements"]:
        for counters in row["counters"].values():
            traffic[row["name"]][2] += sum(counters["drops"].values())
    return [
        (
            row["name"],
            row["state"],
            row["since"],
            row["reason"] if row["state"] != "up" else row["summary"] or row["reason"],
            traffic[row["name"]][0],
            traffic[row["name"]][1],
            int(traffic[row["name"]][2]),
        )
        for row in status["elements"]
    ]


def shown(row: TopRow) -> tuple[str, ...]:
    """A row as text."""
    name, state, since, why, frames, bits, drops = row
    return (name, state, labs.ago(since), why, f"{frames:,.0f}", labs.quantity(bits, "bit/s"), f"{drops:,}")
