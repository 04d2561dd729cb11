"""The command line: `tmelink COMMAND …`, one file a command.

The exit codes are in `tmelink.cli.exit_codes`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Any

from tmelink.cli import completers, exit_codes, streams
from tmelink.cli.parsers import CommandParser, unknown_command
from tmelink.control import ControlError, NotRunning
from tmelink.control.protocol import MISTAKES
from tmelink.errors import MachineError, TmelinkError, shortage
from tmelink.logs import configure

COMMANDS = (
    "run",
    "ps",
    "status",
    "top",
    "events",
    "doctor",
    "apply",
    "exec",
    "shell",
    "graph",
    "capture",
    "extcap",
    "impair",
    "web",
    "plug",
    "control",
    "stop",
    "restart",
    "service",
    "deploy",
    "destroy",
    "init",
    "check",
    "fmt",
    "lsp",
    "explain",
    "routes",
    "elements",
    "import",
    "ovpn",
    "genkey",
    "keygen",
    "passwd",
    "completion",
    "demo",
)
"""The modules of this package that are commands, by their names. Only the one that is called is imported: the
others' imports would take longer than most commands do."""


def _names_alone() -> argparse.ArgumentParser:
    """A command line whose commands take nothing, for a shell that completes their names at once."""
    top = CommandParser(prog="tmelink")
    top.add_argument("--version", action="store_true")
    commands = top.add_subparsers()
    for name in COMMANDS:
        commands.add_parser(name)
    return top


EPILOG = """first steps:
  tmelink demo                a small lab whose machines ping each other
  tmelink check lab.conf      every mistake in a file, with nothing started
  tmelink run lab.conf        run it until Ctrl-C
  tmelink COMMAND --help      options, examples and exit codes of a command"""


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line with the named commands."""
    top = CommandParser(
        prog="tmelink",
        description="One shared Ethernet for every emulator on every host, from one file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_VersionAction, nargs=0, help="the version, and what works here")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name in names:
        # `import` is a word of Python's, which no module can have as its name.
        command = import_module(f"tmelink.cli.{name}{'_' * iskeyword(name)}")
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP,
            epilog=getattr(command, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("-v", "--verbose", action="count", default=0, help="log more")
        sub.add_argument("-q", "--quiet", action="count", default=0, help="log less")
        command.declare(sub)
        sub.set_defaults(command=command)
    return top


class _VersionAction(argparse.Action):
    """Prints the version; what is installed is looked up then, and not at every start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from tmelink.cli import features

        streams.say(features.version_text())
        parser.exit()


def _needed(words: Sequence[str]) -> Sequence[str]:
    """The commands that these words need: all of them for the help, and to say what there is instead."""
    if words[:1] == ["--version"]:
        return ()
    return words[:1] if words and words[0] in COMMANDS else COMMANDS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Without `argv` it is this process's, with its streams."""
    if argv is None:
        streams.open_all()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
    except SystemExit as ended:
        # argparse's, after its help or a complaint about the usage.
        raise SystemExit(streams.finish(int(ended.code or 0))) from None
    except OSError as error:
        if why := shortage(error):
            streams.complain(f"tmelink: {why}")
        elif not streams.is_output(error):
            raise
        code = 1
    return streams.finish(code)


def _run(words: Sequence[str]) -> int:
    asked = completers.asked_words()
    if asked is not None:
        known = asked[:1] in [[name] for name in COMMANDS]
        completers.answer(parser(asked[:1]) if known else _names_alone())
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        streams.complain(unknown_command(words[0], COMMANDS))
        return exit_codes.USAGE
    options = parser(_needed(words)).parse_args(words)
    configure(options.verbose - options.quiet)
    try:
        if getattr(options, "all_hosts", False):
            # Only then, since it knows all elements and the files of hosts.
            from tmelink.cli.all_hosts import main as on_all_hosts

            return on_all_hosts(options, words)
        return int(options.command.main(options))
    except MachineError as error:
        streams.complain(error)
        return 1
    except NotRunning as error:
        streams.complain(f"tmelink: {error}")
        return exit_codes.NOT_RUNNING
    except TmelinkError as error:
        # Mistakes in a file begin with their place, as those of a file that is read here do.
        mistakes = isinstance(error, ControlError) and error.code == MISTAKES
        streams.complain(error if mistakes else f"tmelink: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return exit_codes.INTERRUPTED
