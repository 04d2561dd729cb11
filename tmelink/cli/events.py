"""`tmelink events [NAME]`: what happens in a lab."""

from __future__ import annotations

import argparse
import json
import re
import time
from typing import Any

from tmelink.cli import files, labs

NAME = "events"
HELP = "show what happens in a running lab: links up and down, clients, processes, changes"
EPILOG = labs.epilog(
    ("tmelink events lab", "follow, until Ctrl-C"),
    ("tmelink events --since 10m", "the last ten minutes, then follow"),
    ("tmelink events --since 1d --no-follow --json", "JSON, one event per line"),
)

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def declare(parser: argparse.ArgumentParser) -> None:
    labs.declare(parser)
    labs.declare_all_hosts(parser)
    parser.add_argument(
        "--since",
        metavar="AGO|TIME",
        type=files.argument(moment),
        help="start with the events since then: 90s, 10m, 2h, 1d, or 2026-11-27T03:00",
    )
    parser.add_argument("--no-follow", action="store_true", help="stop after the events until now")


def main(options: argparse.Namespace) -> int:
    since = options.since
    if since is None and not options.no_follow:
        since = time.time()
    with labs.control(options) as lab:
        for item in lab.stream("events", since=since, follow=not options.no_follow):
            if item.dropped:
                _print(options, {"time": time.time(), "kind": "dropped", "element": "", "data": {},
                    "detail": f"{item.dropped} events, since this end read too slowly"})  # fmt: skip
            _print(options, item.value)
    return 0


def _print(options: argparse.Namespace, event: dict[str, Any]) -> None:
    if options.json:
        print(json.dumps(event), flush=True)
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    words = (when, event["element"] or "-", event["kind"], event["detail"])
    print("  ".join(filter(None, words)), flush=True)


def moment(text: str) -> float:
    """A time, or how long ago it is, in seconds since the epoch; `ValueError`."""
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|min|h|d)", text):
        return time.time() - float(ago[1]) * _UNITS[ago[2]]
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        try:
            return time.mktime(time.strptime(text, form))
        except ValueError:
            continue
    raise ValueError(f"{text!r} is not a valid time: write 90s, 10m, 2h, 1d or 2026-11-27T03:00")
