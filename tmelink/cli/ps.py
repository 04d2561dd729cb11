"""`tmelink ps`: the labs that run."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tmelink.cli import labs
from tmelink.control import Client, ControlError, RunningLab, lab_names

NAME = "ps"
HELP = "list the labs that run"
EPILOG = labs.epilog(
    ("tmelink ps", "every lab of this user"),
    ("tmelink ps --json | jq -r '.[].name'", "their names, for a script"),
    more=" (never: the list is empty instead)",
)

ANSWER_SECONDS = 2.0
"""For each lab; the list is useful even if one of them is stuck."""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    lab_names.remove_ended()
    found = [_row(lab) for lab in lab_names.running()]
    if options.json:
        labs.dump(found)
        return 0
    if not found:
        print("no lab is running", file=sys.stderr)
        return 0
    rows = [
        (
            lab["name"],
            lab["file"],
            lab["host"] or "-",
            str(lab["pid"]),
            labs.ago(lab["since"]),
            "does not answer" if lab["up"] is None else f"{lab['up']}/{lab['total']}",
        )
        for lab in found
    ]
    print(labs.table(("NAME", "FILE", "HOST", "PID", "SINCE", "UP"), rows, right=(3,)))
    return 0


def _row(lab: RunningLab) -> dict[str, Any]:
    """What a lab says about itself; if it does not answer, what its lock file says."""
    try:
        with Client(lab, ANSWER_SECONDS) as client:
            summary: dict[str, Any] = client.call("summary")
            return summary
    except ControlError:
        return {
            "name": lab.name,
            "file": lab.file,
            "host": lab.host,
            "pid": lab.pid,
            "version": None,
            "since": lab.since,
            "up": None,
            "total": None,
        }
