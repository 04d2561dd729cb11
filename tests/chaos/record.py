"""What a storm has measured: its table and its verdict; and the command line that all storms have."""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.recovery import PROMISED


@dataclass
class Record:
    """Seconds until links were back, by link and event, and everything that was wrong."""

    recoveries: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    def back(self, link: str, event: str, seconds: float, promised: float) -> None:
        """A link is back after an event."""
        self.recoveries[link, event].append(seconds)
        if seconds > promised:
            self.wrong.append(f"{link}: back {seconds:.1f} s after '{event}'")

    def table(self) -> str:
        """A row for each event with all links together, and one for each link."""
        lines = ["| event or link | times | back after, median | worst |", "|---|---|---|---|"]
        for which in (1, 0):
            groups = defaultdict[str, list[float]](list)
            for names, times in self.recoveries.items():
                groups[names[which]] += times
            for name, times in sorted(groups.items()):
                lines.append(f"| {name} | {len(times)} | {statistics.median(times):.2f} | {max(times):.2f} |")
        return "\n".join(lines)


def main(name: str, storm: Callable[[float, float, int], Record], praise: str) -> int:
    """Run a storm of so many seconds, with a promise in seconds and a seed; its exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.chaos.{name}")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--within", type=float, default=PROMISED, help="seconds, for links to be back")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    record = storm(options.seconds, options.within, options.seed)
    print(record.table())
    print()
    print("\n".join(record.wrong) or praise)
    return 1 if record.wrong else 0
