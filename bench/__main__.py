"""`python -m bench`: measure, print tables, and write JSON and a picture where asked."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import chart, costs, loads, page, report, rounds
from bench.tunnels import TUNNELS, Tunnel

QUICK = loads.Plan(rounds=3, seconds=2, frames_seconds=0.6, lossy_seconds=2, streams=(1,), loaded=True)
FULL = loads.Plan(rounds=5, seconds=4, frames_seconds=2, lossy_seconds=5, streams=(1, 4), loaded=True)


def main() -> int:
    options = _parser().parse_args()
    if options.recorded:
        record = json.loads(options.recorded.read_text())
        if options.page:
            page.write(options.page, record, options.recorded)
        else:
            draw(record["medians"], options.svg or Path("docs"))
        return 0
    if os.geteuid() != 0:
        print("python -m bench needs root, for network namespaces", file=sys.stderr)
        return 2
    # Through every `finally` on the way out, also where a script has started it in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return costs.main(options.rounds, options.seconds) if options.costs else _compare(options)
    except KeyboardInterrupt:
        print("\ninterrupted; everything has been cleaned up", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="only what the table of ratios needs: 10 minutes"
    )
    parser.add_argument("--only", metavar="TEXT", action="append", help="tunnels whose name contains TEXT")
    parser.add_argument("--rounds", type=int, help="measure every tunnel so many times")
    parser.add_argument("--seconds", type=float, help="how long each transfer lasts")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure of every round")
    parser.add_argument(
        "--svg", type=Path, metavar="FOLDER", help="draw the medians there, as docs/ has them"
    )
    parser.add_argument(
        "--page", type=Path, metavar="PATH", help="put the ratios into this page, and their picture beside it"
    )
    parser.add_argument(
        "--recorded", type=Path, metavar="PATH", help="draw those of this --json, and measure nothing"
    )
    parser.add_argument(
        "--costs", action="store_true", help="what captures, impairments and so on cost when on"
    )
    return parser


def _compare(options: argparse.Namespace) -> int:
    plan = QUICK if options.quick else FULL
    if options.rounds:
        plan = loads.Plan(**{**vars(plan), "rounds": options.rounds})
    if options.seconds:
        plan = loads.Plan(**{**vars(plan), "seconds": options.seconds})
    wanted = [tunnel for tunnel in TUNNELS if not options.quick or tunnel.name in report.NAMED]
    if options.only:
        wanted = [tunnel for tunnel in TUNNELS if any(text in tunnel.name for text in options.only)]
    missing = {tunnel.name: tunnel.missing() for tunnel in wanted}
    results, failures = rounds.measured([t for t in wanted if not missing[t.name]], plan)
    figures = rounds.medians(results)
    print(f"{_machine()}; medians of {plan.rounds} rounds, {plan.seconds:g} s each\n")
    print(report.figures_table(figures, _builds(wanted)))
    print()
    print(report.goals_table(figures))
    for name, program in missing.items():
        if program:
            print(f"not measured: {name}: {program} is not installed")
    for name in failures:
        print(f"not measured: {name}: failed, see above")
    record = _record(plan, wanted, results, figures)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.svg:
        draw(figures, options.svg)
    if options.page:
        page.write(options.page, record, options.json)
    return 1 if failures else 0


def draw(figures: report.Figures, folder: Path) -> None:
    """Write every picture of a whole run."""
    for name, text in chart.pictures(figures).items():
        (folder / name).write_text(text)


def _machine() -> str:
    model = "unknown processor"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return (
        f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"
    )


def _builds(tunnels: Sequence[Tunnel]) -> dict[str, str]:
    """What ran, by tunnel: a program and its version, tmelink with what runs it."""
    versions = dict(_versions(tunnels))
    runs = f"{platform.python_implementation()} {platform.python_version()}"
    own = f"{version('tmelink').partition('.d2')[0]}, {runs}"
    builds = {}
    for tunnel in tunnels:
        used = [program for program in versions if program in tunnel.name or program == tunnel.program]
        parts = [f"{program} {versions[program]}" for program in used]
        if "tmelink" in tunnel.name:
            parts.append(f"tmelink {own}")
        builds[tunnel.name] = " + ".join(parts) or f"Linux {platform.release().partition('-')[0]}"
    return builds


def _versions(tunnels: Sequence[Tunnel]) -> Iterator[tuple[str, str]]:
    for program in sorted({tunnel.program for tunnel in tunnels if tunnel.program and not tunnel.missing()}):
        said = subprocess.run(
            [program, "-V" if program == "socat" else "--version"],
            capture_output=True,
            text=True,
            check=False,
        )
        number = re.search(r"\d+(?:\.\d+)+|\bv\d+(?!\.)", said.stdout + said.stderr)
        yield program, number.group() if number else ""


def _record(
    plan: loads.Plan, tunnels: Sequence[Tunnel], results: rounds.Results, figures: report.Figures
) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "builds": _builds(tunnels),
        "plan": vars(plan),
        "units": {what: unit for what, _title, unit, _places in report.COLUMNS},
        "medians": figures,
        "rounds": results,
        "ratios": {goal.work: goal.ratio(figures) for goal in report.GOALS},
    }


if __name__ == "__main__":
    sys.exit(main())
