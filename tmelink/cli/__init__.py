"""The command line: `tmelink COMMAND …`, one file a command.

Exit codes: 0 done, 1 the machine file has mistakes or what it asks for failed, 2 wrong usage, 3 no such lab
runs, 4 (`status` alone) something is not up.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from importlib.metadata import version

from tmelink.cli import (
    apply,
    capture,
    check,
    demo,
    elements,
    events,
    exec,
    explain,
    extcap,
    genkey,
    graph,
    impair,
    keygen,
    labs,
    ovpn,
    passwd,
    ps,
    restart,
    routes,
    run,
    service,
    shell,
    status,
    stop,
    top,
)
from tmelink.control import ControlError, NotRunning
from tmelink.control.protocol import MISTAKES
from tmelink.errors import MachineError, TmelinkError
from tmelink.logs import configure

COMMANDS = (
    run,
    ps,
    status,
    top,
    events,
    apply,
    exec,
    shell,
    graph,
    capture,
    extcap,
    impair,
    stop,
    restart,
    service,
    check,
    explain,
    routes,
    elements,
    ovpn,
    genkey,
    keygen,
    passwd,
    demo,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line, also for the reference page."""
    top = argparse.ArgumentParser(
        prog="tmelink", description="One shared Ethernet for every emulator on every host, from one file."
    )
    top.add_argument("--version", action="version", version=f"tmelink {version('tmelink')}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(argv)
    configure(options.verbose - options.quiet)
    try:
        return int(options.command.main(options))
    except MachineError as error:
        print(error, file=sys.stderr)
        return 1
    except NotRunning as error:
        print(f"tmelink: {error}", file=sys.stderr)
        return labs.NOT_RUNNING
    except TmelinkError as error:
        if isinstance(error, ControlError) and error.code == MISTAKES:
            # Each begins with its place, as those of a file that is read here do.
            print(error, file=sys.stderr)
            return 1
        print(f"tmelink: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does: nothing is left to say and nobody to hear it.
        sys.stderr.close()
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
