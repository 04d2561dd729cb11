"""`tmelink restart NAME`: read a lab's file again, close everything and open it anew."""

from __future__ import annotations

import argparse
import time
from typing import Any

from tmelink.cli import labs
from tmelink.control import ControlError, NotRunning, connect

NAME = "restart"
HELP = "check a running lab's file again, then close everything and open what the file says now"
EPILOG = labs.epilog(
    ("tmelink restart lab", "in the same process; a file with mistakes changes nothing"),
    ("tmelink apply lab.conf", "changes only what differs, which is mostly better"),
)

WAIT_SECONDS = 20.0
"""For a lab to close, which takes 2 s at most, and to answer again."""

LOOK_SECONDS = 0.02


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser)


def main(options: argparse.Namespace) -> int:
    with labs.control(options) as lab:
        before = lab.call("summary")["since"]
        lab.call("restart", wait=None)
        name = lab.lab.name
    summary = _answer(name, before)
    if options.json:
        labs.dump(summary)
    else:
        print(f"lab '{name}' has begun anew: {summary['total']} elements")
    return 0


def _answer(name: str, before: float) -> dict[str, Any]:
    """The summary of the lab once it has begun anew."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            with connect(name) as lab:
                summary: dict[str, Any] = lab.call("summary")
                if summary["since"] > before:
                    return summary
        except NotRunning:
            raise
        except ControlError:
            # It listens again in a moment.
            pass
        time.sleep(LOOK_SECONDS)
    raise ControlError(f"lab '{name}' has not begun anew within {WAIT_SECONDS:g} s")
