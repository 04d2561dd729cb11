"""Tables of counters for people to read."""

from __future__ import annotations

from collections.abc import Iterable

from tmelink.frame import Counters


def table(rows: Iterable[tuple[str, Counters]]) -> str:
    """Frames, bytes and drops by reason, a line for each row of counters; empty without rows."""
    lines = [
        (
            name,
            f"{c.frames:,}",
            f"{c.bytes:,}",
            ", ".join(f"{n:,} {why}" for why, n in c.drops.most_common() if n),
        )
        for name, c in rows
    ]
    if not lines:
        return ""
    heads = ("connection", "frames", "bytes", "dropped")
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {frames:>{widths[1]}}  {size:>{widths[2]}}  {drops}".rstrip()
        for name, frames, size, drops in (heads, *lines)
    )
