"""`tmelink status [NAME] [ELEMENT]`: what is up, what is not, since when and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from tmelink.cli import colours, completers, exit_codes, labs
from tmelink.control.protocol import Json

NAME = "status"
HELP = "show what is up in a running lab and what is not, since when and why, with counters and rates"
EPILOG = labs.epilog(
    ("tmelink status", "the only lab that runs"),
    ("tmelink status lab link0", "show all details of one element"),
    ("tmelink status lab --watch", "again every 2 s"),
    ("tmelink status lab --json | jq .up", "for a script"),
    more="\n  4  something is not up",
)

PERIOD = 2.0
"""Seconds between two refreshes of --watch."""

_CLEAR = "\x1b[H\x1b[2J"


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser)
    labs.declare_all_hosts(parser)
    element = parser.add_argument(
        "element", metavar="ELEMENT", nargs="?", help="one element, with all its details"
    )
    completers.offer(element, completers.elements)
    parser.add_argument("--watch", action="store_true", help=f"refresh every {PERIOD:g} s, until Ctrl-C")


def main(options: argparse.Namespace) -> int:
    with labs.control(options) as lab:
        while True:
            status = lab.call("status", element=options.element)
            if options.watch and not options.json and colours.wanted():
                print(_CLEAR, end="")
            if options.json:
                labs.dump(status)
            else:
                print("\n".join(lines(status, whole=options.element is not None)), flush=True)
            if not options.watch:
                break
            time.sleep(PERIOD)
    return 0 if all(row["state"] == "up" for row in status["elements"]) else exit_codes.FOUND


def lines(status: Json, *, whole: bool) -> Iterator[str]:
    """The status as a person reads it, with `whole` all details."""
    host = f" on host {status['host']}" if status["host"] else ""
    yield (
        f"{status['name']}: {status['file']}{host}, process {status['pid']}, "
        f"for {labs.ago(status['since'])}, {status['up']} of {status['total']} up"
    )
    yield ""
    rows = [
        (
            row["name"],
            row["module"],
            colours.condition(row["state"]),
            labs.ago(row["since"]),
            row["reason"] if row["state"] != "up" else row["summary"] or row["reason"],
        )
        for row in status["elements"]
    ]
    yield labs.table(("ELEMENT", "MODULE", "STATE", "FOR", ""), rows)
    if whole:
        for row in status["elements"]:
            yield from _details(row["details"])
    counted = list(_counted(status))
    if counted:
        yield ""
        heads = ("FROM", "TO", "FRAMES", "BYTES", "FRAMES/S", "RATE", "DROPPED")
        yield labs.table(heads, counted, right=(2, 3, 4, 5))


def _details(details: Json | None) -> Iterator[str]:
    if not details:
        return
    yield ""
    known = ((name, value) for name, value in details.items() if value not in (None, [], ""))
    plain = [(name, value) for name, value in known if not _is_table(value)]
    width = max((len(name) for name, _ in plain), default=0)
    for name, value in plain:
        yield f"{name.replace('_', ' '):<{width}}  {_text(name, value)}"
    for name, value in details.items():
        if _is_table(value):
            yield ""
            yield colours.bold(name.replace("_", " "))
            heads = tuple(value[0])
            rows = [tuple(_text(key, row[key]) for key in heads) for row in value]
            yield labs.table(tuple(head.replace("_", " ").upper() for head in heads), rows)


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _text(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float | int) and name.endswith("since"):
        return f"{labs.ago(value)} ago"
    if isinstance(value, float) and name == "round_trip":
        return f"{value * 1000:.3g} ms"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text("", item) for item in value) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counted(status: Json) -> Iterator[tuple[str, ...]]:
    """A row for each direction of each connection, then for the elements' own counters."""
    for row in status["connections"]:
        yield (row["from"], row["to"], *_counters(row["sent"]))
        if row["from"] != row["to"]:
            yield (row["to"], row["from"], *_counters(row["received"]))
    for row in status["elements"]:
        for name, counters in row["counters"].items():
            yield (row["name"], name, *_counters(counters))


def _counters(counters: Json) -> tuple[str, ...]:
    rate = counters["frames_per_second"]
    return (
        f"{counters['frames']:,}",
        f"{counters['bytes']:,}",
        "-" if rate is None else f"{rate:,.0f}",
        labs.quantity(counters["bits_per_second"], "bit/s"),
        ", ".join(f"{count:,} {reason}" for reason, count in counters["drops"].items()),
    )
