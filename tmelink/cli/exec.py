"""`tmelink exec NAME 'STATEMENT'`: run statements of the language in a running lab."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from tmelink.cli import exit_codes, labs, streams
from tmelink.cli.apply import show
from tmelink.control import Client

NAME = "exec"
HELP = "run statements of the language in a running lab"
EPILOG = labs.epilog(
    ("tmelink exec lab 'le0 ping 10.0.77.2'", "give an element a command, like 'command le0 ping …'"),
    ("tmelink exec lab 'le2 at sw0: tmelink/host'", "add an element"),
    ("tmelink exec lab 'disconnect le2'", "disconnect it"),
    ("tmelink exec lab < more.conf", "a file of statements"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser, required=True)
    labs.declare_all_hosts(parser)
    parser.add_argument(
        "statements",
        metavar="STATEMENT",
        nargs="*",
        help="each statement in quotes, or a single one as words; by default, read from standard input",
    )
    parser.add_argument(
        "--in", dest="directory", metavar="DIR", default="/", help="the directory in which they start"
    )


def main(options: argparse.Namespace) -> int:
    text = lines(options.statements) if options.statements else streams.read()
    with labs.control(options) as lab:
        done = run(lab, text, options.directory)
    if options.json:
        labs.dump(done)
    else:
        tell(done)
    if done["interrupted"]:
        return exit_codes.INTERRUPTED
    return 1 if done["failed"] else 0


def lines(statements: Sequence[str]) -> str:
    """Statements as lines of text; if no word contains a space, the words form one unquoted statement."""
    return ("\n" if any(" " in statement for statement in statements) else " ").join(statements)


def run(lab: Client, text: str, directory: str) -> dict[str, Any]:
    """Carry statements out; raises `ControlError`. Ctrl-C ends what they wait for, such as a ping."""
    done: dict[str, Any] = lab.call_interruptibly("exec", text=text, directory=directory)
    return done


def tell(done: dict[str, Any]) -> None:
    """Print what statements printed, and what they changed."""
    for text in done["output"]:
        print(text)
    if done["changes"]:
        show(done)
