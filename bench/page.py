"""The page that shows a run: its tables between marks, and the picture of its ratios beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from bench import chart, report

GOALS, FIGURES = "goals", "figures"
"""What stands between two marks: the ratios that tmelink aims at, and what they were made of."""

PICTURE = "performance-ratios.svg"


def write(page: Path, record: dict[str, Any], recorded: Path | None) -> None:
    """Put a run's tables into the page, with a link to where all of it is `recorded`, and draw its ratios."""
    page.write_text(
        filled(page.read_text(), record, recorded and Path(os.path.relpath(recorded, page.parent)))
    )
    (page.parent / PICTURE).write_text(chart.ratios(record["medians"]))


def filled(text: str, record: dict[str, Any], recorded: Path | None) -> str:
    """The page's text with a run's tables in it; `recorded` is relative to the page."""
    plan, figures = record["plan"], record["medians"]
    shown = {name: found for name, found in figures.items() if name in report.NAMED}
    every = f"; [every figure of every round]({recorded.as_posix()})" if recorded is not None else ""
    length = f"medians of {plan['rounds']} rounds of {plan['seconds']:g} s"
    head, *rows = report.goals(figures)
    table = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    text = _between(
        text, GOALS, [f"{record['machine']}; {record['date'][:10]}, {length}{every}.", "", *table]
    )
    return _between(text, FIGURES, ["```", report.figures_table(shown, record.get("builds", {})), "```"])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _between(text: str, mark: str, lines: list[str]) -> str:
    begin, end = f"<!-- bench {mark}: begin -->", f"<!-- bench {mark}: end -->"
    return re.sub(
        f"{begin}.*?{end}", lambda _: "\n".join([begin, "", *lines, "", end]), text, flags=re.DOTALL
    )
