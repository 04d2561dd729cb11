"""`tmelink stop NAME`: end a lab, and wait until it has ended."""

from __future__ import annotations

import argparse
import time

from tmelink.cli import labs
from tmelink.control import ControlError, lab_names

NAME = "stop"
HELP = "stop a running lab, and wait until it has undone its changes"
EPILOG = labs.epilog(("tmelink stop lab", "as Ctrl-C in its terminal does"))

WAIT_SECONDS = 10.0
"""For a lab to end: it has 2 s to close."""

LOOK_SECONDS = 0.02


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser)
    labs.declare_all_hosts(parser)


def main(options: argparse.Namespace) -> int:
    with labs.control(options) as lab:
        lab.call("stop")
        name, pid = lab.lab.name, lab.lab.pid
    end = time.monotonic() + WAIT_SECONDS
    while (still := lab_names.find(name)) is not None and still.pid == pid:
        if time.monotonic() > end:
            raise ControlError(f"lab '{name}' (process {pid}) has not ended within {WAIT_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    if options.json:
        labs.dump({"name": name, "pid": pid})
    else:
        print(f"lab '{name}' (process {pid}) has ended")
    return 0
