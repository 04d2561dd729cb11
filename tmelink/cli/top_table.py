"""What `tmelink top` shows, without a terminal: a row for each element, and its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tmelink.cli import labs

Look = Callable[[str | None], dict[str, Any]]
"""The status of the lab, or of one element."""

TopRow = tuple[str, str, float, str, float, float, int]

HEADS = ("ELEMENT", "STATE", "FOR", "", "FRAMES/S", "RATE", "DROPPED")


def rows(status: dict[str, Any]) -> list[TopRow]:
    """A row for each element: state and why, and the traffic through all of its connections."""
    traffic: dict[str, list[float]] = {row["name"]: [0.0, 0.0, 0] for row in status["elements"]}
    for row in status["connections"]:
        for direction, end in (("sent", "from"), ("received", "to")):
            counters = row[direction]
            sums = traffic.setdefault(row[end], [0.0, 0.0, 0])
            sums[0] += counters["frames_per_second"] or 0.0
            sums[1] += counters["bits_per_second"] or 0.0
            sums[2] += sum(counters["drops"].values())
    for row in status["elements"]:
        for counters in row["counters"].values():
            traffic[row["name"]][2] += sum(counters["drops"].values())
    return [
        (
            row["name"],
            row["state"],
            row["since"],
            row["reason"] if row["state"] != "up" else row["summary"] or row["reason"],
            traffic[row["name"]][0],
            traffic[row["name"]][1],
            int(traffic[row["name"]][2]),
        )
        for row in status["elements"]
    ]


def shown(row: TopRow) -> tuple[str, ...]:
    """A row as text."""
    name, state, since, why, frames, bits, drops = row
    return (name, state, labs.ago(since), why, f"{frames:,.0f}", labs.quantity(bits, "bit/s"), f"{drops:,}")
