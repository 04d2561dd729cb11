"""`tmelink check FILE`: every mistake in a machine file, with nothing opened.

What can be run but certainly does not work as written is a warning; the exit code is still 0.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys

from tmelink.cli import files
from tmelink.cli.examples import epilog
from tmelink.errors import MachineError
from tmelink.proof.problems import problems
from tmelink.system import route_lookup

NAME = "check"
HELP = "report every mistake in a machine file, without starting anything"
EPILOG = epilog(
    ("tmelink check lab.conf", "each mistake with its line, and what to write instead"),
    ("tmelink check lab.conf --host one", "that host's part of the file"),
    ("tmelink check - --json < lab.conf", "for a program"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    files.declare(parser)
    parser.add_argument("--json", action="store_true", help="print the mistakes as JSON")


def main(options: argparse.Namespace) -> int:
    # Nearly everything that is made lives until the end, and the collector would visit it again and again.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _check(options)
    finally:
        if collects:
            gc.enable()


def _check(options: argparse.Namespace) -> int:
    try:
        machine = files.read(options)
    except MachineError as error:
        if options.json:
            print(json.dumps({"mistakes": [m.as_data() for m in error.mistakes]}, indent=2))
        else:
            print(error)
            print(f"{len(error.mistakes)} mistake{'s' * (len(error.mistakes) != 1)}", file=sys.stderr)
        return 1
    warnings = problems(machine, route_lookup.towards)
    if options.json:
        print(
            json.dumps(
                {
                    "mistakes": [],
                    "warnings": [warning.as_data() for warning in warnings],
                    "not_emulated": list(machine.not_emulated),
                },
                indent=2,
            )
        )
        return 0
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if note := files.not_emulated(machine):
        print(f"{options.file}: {note}", file=sys.stderr)
    return 0
