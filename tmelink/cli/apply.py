"""`tmelink apply FILE`: change a running lab into what a file says, and touch nothing else."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from tmelink.cli import colours, completers, labs, streams
from tmelink.control import ControlError, connect, lab_names

NAME = "apply"
HELP = "change only what differs between a running lab and a file; everything else keeps running"
EPILOG = labs.epilog(
    ("tmelink apply lab.conf", "change the lab that runs the file"),
    ("tmelink apply lab.conf --dry-run", "show what would change, and check the file"),
    ("tmelink apply next.conf --lab lab", "apply another file; the lab keeps its name"),
)

_COLOURS = {"add": "green", "connect": "green", "remove": "red", "disconnect": "red"}


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the machine file, or - for standard input")
    lab = parser.add_argument(
        "--lab",
        metavar="NAME",
        help="the running lab (by default, the one that runs the file or has its name)",
    )
    completers.offer(lab, completers.labs)
    parser.add_argument(
        "--all-hosts",
        action="store_true",
        help="restore the deployed state of FILE on each of its hosts, over ssh",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    given = {"text": streams.read()} if options.file == "-" else {"file": os.path.abspath(options.file)}
    with connect(options.lab or _lab(options.file)) as lab:
        done = lab.call("apply", wait=None, dry_run=options.dry_run, **given)
    if options.json:
        labs.dump(done)
    else:
        show(done)
    return 1 if done["failed"] else 0


def show(done: dict[str, Any]) -> None:
    """Print changes, one per line, and those that failed."""
    for change in done["changes"]:
        why = f"  ({change['why']})" if change["why"] else ""
        kind = colours.paint(f"{change['kind']:<10}", _COLOURS.get(change["kind"], "yellow"))
        print(f"{kind}  {change['what']}{why}")
    if not done["changes"]:
        print("nothing differs")
    for name, error in done["failed"].items():
        print(f"tmelink: {name}: {error}", file=sys.stderr)


def _lab(file: str) -> str | None:
    """The name of the lab that runs a file; None if only one lab runs at all."""
    running = lab_names.running()
    same = [lab.name for lab in running if os.path.abspath(lab.file) == os.path.abspath(file)]
    if len(same) > 1:
        raise ControlError(f"{len(same)} labs run {file}, so say which with --lab: {', '.join(same)}")
    if same:
        return same[0]
    name = lab_names.name_of(file, None)
    return name if any(lab.name == name for lab in running) else None
