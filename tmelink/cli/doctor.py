"""`tmelink doctor [NAME|FILE]`: why nothing flows, most likely first."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from tmelink.cli import colours, completers, exit_codes, files, labs
from tmelink.control import connect
from tmelink.control.data import as_data
from tmelink.control.protocol import Json

NAME = "doctor"
HELP = "find out why nothing flows in a running lab or a file, with the evidence and the remedy"

MEASURING_SECONDS = 60.0
"""For a lab whose links are measured, which takes ten seconds if large packets do not arrive."""

EPILOG = labs.epilog(
    ("tmelink doctor", "the only lab that runs"),
    ("tmelink doctor lab", "a running lab"),
    ("tmelink doctor lab.conf", "a file, before it runs"),
    more=f"\n  {exit_codes.FOUND}  something was found",
)


def declare(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_argument(
        "subject", metavar="NAME|FILE", nargs="?", help="a lab's name, or a machine file"
    )
    completers.offer(subject, completers.labs_and_files)
    files.declare_host(parser, "with a file: only the part for this host")
    parser.add_argument("--json", action="store_true", help="print JSON")
    labs.declare_all_hosts(parser)


def main(options: argparse.Namespace) -> int:
    found = _of_file(options) if _is_file(options.subject) else _of_lab(options.subject)
    if options.json:
        labs.dump(found)
    elif not found:
        print("nothing found")
    for number, finding in enumerate([] if options.json else found, 1):
        where = f"{finding['element']}: " if finding["element"] else ""
        print(f"{number}. {colours.bold(finding['kind'])}: {where}{finding['text']}")
        print(f"   evidence: {finding['evidence']}")
        if finding["remedy"]:
            print(f"   remedy:   {finding['remedy']}")
    return exit_codes.FOUND if found else 0


def _is_file(subject: str | None) -> bool:
    return subject is not None and ("/" in subject or Path(subject).is_file())


def _of_lab(name: str | None) -> list[Json]:
    with connect(name) as lab:
        found: list[Json] = lab.call("doctor", wait=MEASURING_SECONDS)
        return found


def _of_file(options: argparse.Namespace) -> list[Json]:
    # A lab's doctor needs none of this.
    from tmelink.control.all_findings import findings
    from tmelink.control.findings import Subject
    from tmelink.machine import load

    machine = load(Path(options.subject), host=options.host, network_only=True)
    return [as_data(finding) for finding in asyncio.run(findings(Subject(machine, running=False)))]
