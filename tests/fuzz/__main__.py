"""Fuzzes every parser, guided by coverage: `python -m tests.fuzz [--seconds 60] [TARGET…]`.

Each target runs under atheris (libFuzzer) for its share of the time, beginning with what is in the corpus:
a file for each target with an input in each line, in hexadecimal. An input that raises what its parser does
not declare is printed and ends the run with exit code 1. `--keep` adds the inputs that reach something new
to the corpus, the shortest `MOST` of them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.corpus import CORPUS, inputs
from tests.fuzz.targets import TARGETS

MOST = 24
"""Inputs that are kept of a target."""

LONGEST = 200
"""Bytes of an input that is kept."""


def fuzz(name: str, seconds: float, *, keep: bool, seed: int) -> tuple[int, str]:
    """How many inputs were tried, and what was found."""
    with tempfile.TemporaryDirectory(prefix="tm-fuzz-") as folder:
        found, crashes = (Path(folder) / part for part in ("found", "crashes"))
        for each in (found, crashes):
            each.mkdir()
        for number, data in enumerate(inputs(name)):
            (found / str(number)).write_bytes(data)
        options = [f"-artifact_prefix={crashes}/", f"-seed={seed}", "-max_len=600", "-verbosity=1"]
        one = [sys.executable, "-m", "tests.fuzz.one", name]
        run = subprocess.run(
            [*one, f"-max_total_time={max(1, round(seconds))}", *options, str(found)],
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        done = re.search(r"Done (\d+) runs", run.stderr)
        trouble = ""
        if run.returncode or done is None:
            shown = [path.read_bytes().hex() for path in crashes.iterdir()]
            trouble = f"{name}: {shown}\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
        elif keep:
            # libFuzzer adds what reaches something new.
            reached = sorted(path.read_bytes() for path in found.iterdir())
            short = sorted((data for data in reached if 0 < len(data) <= LONGEST), key=len)
            several = short[:: max(1, len(short) // MOST)][:MOST]
            (CORPUS / f"{name}.txt").write_text("".join(f"{data.hex()}\n" for data in several))
        return int(done[1]) if done else 0, trouble


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together, so many at once")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="add what reaches something new to the corpus")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    at_once = options.at_once
    each = options.seconds * at_once / len(names)
    with ThreadPoolExecutor(at_once) as pool:
        results = dict(
            zip(
                names,
                pool.map(lambda name: fuzz(name, each, keep=options.keep, seed=options.seed), names),
                strict=True,
            )
        )
    for name, (count, _) in results.items():
        print(f"{count:>12,}  {name}")
    print(f"{sum(count for count, _ in results.values()):>12,}  inputs in all")
    trouble = [text for _, text in results.values() if text]
    for text in trouble:
        print(text, file=sys.stderr)
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
