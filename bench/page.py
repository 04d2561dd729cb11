"""The page that shows a run: its tables between two marks, and the picture of its ratios beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from bench import chart, report

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

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
    lines = [
        BEGIN,
        "",
        f"{record['machine']}; {record['date'][:10]}, {length}{every}.",
        "",
        "```",
        report.goals_table(figures),
        "",
        report.figures_table(shown, record.get("builds", {})),
        "```",
        "",
        END,
    ]
    return re.sub(f"{BEGIN}.*?{END}", lambda _: "\n".join(lines), text, flags=re.DOTALL)
