"""`tmelink restart NAME`: read a lab's file again, close everything and open it anew."""

from __future__ import annotations

import argparse
import contextlib
import time

from tmelink.cli import labs, streams
from tmelink.control import Client, ControlError, NotRunning, connect, lab_names

NAME = "restart"
HELP = "check a running lab's file again, then close everything and open what the file says now"
EPILOG = labs.epilog(
    ("tmelink restart lab", "in the same process; a file with mistakes changes nothing"),
    ("tmelink apply lab.conf", "change only what differs, which is usually better"),
)

WAIT_SECONDS = 20.0
"""For a lab to close, which takes 2 s at most, and to answer again."""

LOOK_SECONDS = 0.02


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser)
    labs.declare_all_hosts(parser)


def main(options: argparse.Namespace) -> int:
    with labs.control(options) as lab:
        before = lab.call("summary")["since"]
        lab.call("restart", wait=None)
        name = lab.lab.name
    with _again(name, before) as lab:
        failed = _until_open(lab)
        summary = lab.call("summary")
    if options.json:
        labs.dump({**summary, "failed": failed})
    else:
        print(f"lab '{name}' has restarted: {labs.counted(summary['total'], 'element')}")
        for element, why in failed.items():
            streams.complain(f"tmelink: {element}: {why}")
    return 1 if failed else 0


def _again(name: str, before: float) -> Client:
    """The lab once it listens again, while its elements are opened."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        # It listens again in a moment.
        with contextlib.suppress(ControlError):
            lab = connect(name)
            try:
                if lab.call("summary")["since"] > before:
                    return lab
            except BaseException:
                lab.close()
                raise
            lab.close()
        if lab_names.find(name) is None:
            raise NotRunning(f"lab '{name}' has ended instead of restarting; its log says why")
        time.sleep(LOOK_SECONDS)
    raise ControlError(f"lab '{name}' has not restarted within {WAIT_SECONDS:g} s")


def _until_open(lab: Client) -> dict[str, str]:
    """The elements that could not be opened, with the reasons, once all others are open.

    Raises `ControlError` if the lab ends for them.
    """
    failed: dict[str, str] = {}
    try:
        for item in lab.stream("events"):
            event = item.value
            if event["kind"] == "running":
                break
            if event["kind"] == "failed":
                failed[event["element"]] = event["detail"]
    except ControlError as error:
        why = "; ".join(f"{element}: {detail}" for element, detail in failed.items())
        raise ControlError(f"{error} instead of restarting{f': {why}' if why else ''}") from error
    return failed
