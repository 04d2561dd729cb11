"""Figures as pictures, in SVG that a page shows in light and dark: bars, points on a logarithmic axis, lines.

Each picture says one thing. Columns of names are as wide as their longest name, and points stand where bars
of very different lengths would hide the short ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from bench.report import GOALS, Figures, Goal

WIDTH = 760
BAR, GAP, TITLE, FOOT = 15, 5, 60, 30
CHARACTER = 7.6
"""Pixels of a character at 12 px, generously: what is estimated too long is not clipped."""

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px } .note { fill: #57606a } .strong { font-weight: 600 }
line { stroke: #d0d7de } polyline { fill: none; stroke: #1a7f37; stroke-width: 2 }
.ours { fill: #1a7f37 } .more { fill: #4ac26b } .openvpn { fill: #bf8700 } .other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #c9d1d9 } .note { fill: #8b949e } line { stroke: #30363d }
.ours { fill: #3fb950 } .more { fill: #1a7f37 } .openvpn { fill: #d29922 }
}
"""

MODES = ("udp plain", "udp AES-256-GCM", "tcp plain", "tcp AES-256-GCM", "udp AES-256-CBC")
"""Those in which both programs were measured."""

SERIES = (
    ("openvpn", "", "OpenVPN"),
    ("ours", "", "tmelink"),
    ("more", ", --super-frames", "with --super-frames"),
)
"""Class, what the name of the tunnel ends with, what it is called."""

OTHERS = {
    "bare veth": "no tunnel: the wire itself",
    "kernel VXLAN": "VXLAN, in the kernel",
    "tmelink udp plain": "tmelink",
    "tmelink udp AES-256-GCM": "tmelink, AES-256-GCM",
    "fastd null": "fastd, null",
    "fastd salsa2012": "fastd, salsa2012",
    "tinc": "tinc",
    "socat udp": "socat",
    "openvpn udp plain": "OpenVPN",
    "openvpn udp AES-256-GCM": "OpenVPN, AES-256-GCM",
}
"""Tunnels over UDP, and what they are called in a picture."""


class Row(NamedTuple):
    """One bar or point: its name, the class of its colour, its value, and what is written behind it."""

    name: str
    kind: str
    value: float
    text: str


def pictures(figures: Figures) -> Mapping[str, str]:
    """Every picture of a run, by the name of its file."""
    streams = {name: found["tcp 1"] for name, found in figures.items() if "tcp 1" in found}
    frames = {name: found["frames"] / 1000 for name, found in figures.items() if "frames" in found}
    trips = {name: found["rtt"] for name, found in figures.items() if "rtt" in found}
    others = [
        Row(said, _kind(name), streams[name], f"{streams[name]:.2f}")
        for name, said in OTHERS.items()
        if name in streams
    ]
    waits = [
        Row(f"{mode}, {said}", kind, trips[name], f"{trips[name]:.2f}")
        for mode in MODES
        for kind, end, said in SERIES[:2]
        if (name := _tunnel(kind, mode, end)) in trips
    ]
    return {
        "performance.svg": bars(
            f"tmelink carries {_ratios(streams)} times what OpenVPN does",
            "Gbit/s, one TCP stream through the tunnel; more is better", streams, 2,
        ),
        "performance-others.svg": points(
            "Beside other tunnels over UDP", "Gbit/s, one TCP stream; each line is ten times the last", others
        ),
        "performance-frames.svg": bars(
            f"Of small frames it carries {_ratios(frames)} times as many",
            "thousands of frames of 64 bytes a second; more is better", frames, 0,
        ),
        "performance-rtt.svg": points(
            "Round trip of an idle tunnel", "ms; less is better; each line is ten times the last", waits
        ),
    }  # fmt: skip


def _ratios(values: Mapping[str, float]) -> str:
    """How many times OpenVPN's figures tmelink's are, from the least to the most."""
    found = [
        values[name] / values[f"openvpn {mode}"]
        for mode in MODES
        for kind, end, _said in SERIES[1:]
        if (name := _tunnel(kind, mode, end)) in values and f"openvpn {mode}" in values
    ]
    return f"{min(found):.1f} to {max(found):.1f}" if found else "?"


def _kind(name: str) -> str:
    return {"tmelink": "ours", "openvpn": "openvpn"}.get(name.split()[0], "other")


def _tunnel(kind: str, mode: str, end: str) -> str:
    return f"{'openvpn' if kind == 'openvpn' else 'tmelink'} {mode}{end}"


def bars(title: str, note: str, values: Mapping[str, float], places: int) -> str:
    """For each mode a bar of OpenVPN's and those of tmelink's, with how many times OpenVPN's they are."""
    groups = []
    for mode in MODES:
        found = [(kind, _tunnel(kind, mode, end)) for kind, end, _said in SERIES]
        first = values.get(f"openvpn {mode}")
        rows = [
            Row("", kind, values[name], f"{values[name]:,.{places}f}" + _times(kind, values[name], first))
            for kind, name in found
            if name in values
        ]
        if rows:
            groups.append((mode, rows))
    longest = max(row.value for _mode, rows in groups for row in rows)
    left = _column(mode for mode, _rows in groups)
    right = _column(row.text for _mode, rows in groups for row in rows)
    parts, x = _head(title, note), float(left)
    for kind, _end, said in SERIES:
        parts.append(f'<rect class="{kind}" x="{x:.0f}" y="{TITLE - 12}" width="11" height="11" rx="2"/>')
        parts.append(f'<text x="{x + 16:.0f}" y="{TITLE - 3}">{escape(said)}</text>')
        x += 40 + CHARACTER * len(said)
    y = TITLE + 12
    for mode, rows in groups:
        middle = y + (len(rows) * (BAR + 2)) / 2 + 3
        parts.append(f'<text x="{left - 8}" y="{middle:.1f}" text-anchor="end">{escape(mode)}</text>')
        for row in rows:
            width = (WIDTH - left - right) * row.value / longest
            parts.append(
                f'<rect class="{row.kind}" x="{left}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
            )
            parts.append(f'<text x="{left + width + 6:.1f}" y="{y + BAR - 3}">{escape(row.text)}</text>')
            y += BAR + 2
        y += GAP * 2
    return picture(parts, y)


def ratios(figures: Figures) -> str:
    """For each goal beside OpenVPN a point on an axis of doublings, further right the better."""
    found = [
        (goal, _better(goal, ratio), _better(goal, goal.most or goal.least))
        for goal in GOALS
        if goal.beside.startswith("openvpn") and (ratio := goal.ratio(figures))
    ]
    values = [value for _goal, *both in found for value in both]
    low = math.floor(math.log2(min(values, default=1.0)))
    high = max(math.ceil(math.log2(max(values, default=1.0) * 1.1)), low + 1)
    left, right = _column(goal.work for goal, *_ in found), _column(["00.00 ×"])
    bottom = TITLE + len(found) * (BAR + GAP)

    def place(value: float) -> float:
        return left + (WIDTH - left - right) * (math.log2(value) - low) / (high - low)

    parts = _head(
        "tmelink compared with OpenVPN",
        "how many times better than OpenVPN; the short stroke is the goal",
    )
    for power in range(low, high + 1):
        x, strong = place(2.0**power), ' style="stroke-width: 3"' if power == 0 else ""
        parts.append(f'<line{strong} x1="{x:.1f}" y1="{TITLE - 4}" x2="{x:.1f}" y2="{bottom}"/>')
        named = f"{2**power}" if power >= 0 else f"1/{2**-power}"
        parts.append(f'<text class="note" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{named}</text>')
    for number, (goal, value, wanted) in enumerate(found):
        y = TITLE + number * (BAR + GAP) + BAR / 2
        kind = "ours" if value >= wanted else "openvpn"
        mark = place(wanted)
        parts.append(f'<text x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(goal.work)}</text>')
        parts.append(f'<rect class="other" x="{mark - 1:.1f}" y="{y - 8:.1f}" width="3" height="16"/>')
        parts.append(f'<circle class="{kind}" cx="{place(value):.1f}" cy="{y:.1f}" r="6"/>')
        # Beside the axis, where no line and no stroke crosses it.
        parts.append(f'<text x="{WIDTH - right + 12}" y="{y + 4:.1f}">{value:.2f} ×</text>')
    return picture(parts, bottom + FOOT)


def _better(goal: Goal, ratio: float) -> float:
    """A ratio as one of which more is better."""
    return 1 / ratio if goal.most else ratio


def _times(kind: str, value: float, first: float | None) -> str:
    return "" if kind == "openvpn" or not first else f"  ({value / first:.1f} ×)"


def points(title: str, note: str, rows: Sequence[Row]) -> str:
    """A point for each row on a logarithmic axis, with lines at the powers of ten."""
    low = math.floor(math.log10(min(row.value for row in rows)))
    high = math.log10(max(row.value for row in rows) * 1.1)
    left, right = _column(row.name for row in rows), _column(row.text for row in rows)
    bottom = TITLE + len(rows) * (BAR + GAP)

    def place(value: float) -> float:
        return left + (WIDTH - left - right) * (math.log10(value) - low) / ((high - low) or 1)

    parts = _head(title, note)
    for power in range(low, math.floor(high) + 1):
        x = place(10**power)
        parts.append(f'<line x1="{x:.1f}" y1="{TITLE - 4}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(
            f'<text class="note" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10.0**power:g}</text>'
        )
    for number, row in enumerate(rows):
        y = TITLE + number * (BAR + GAP) + BAR / 2
        strong = ' class="strong"' if row.kind == "ours" else ""
        parts.append(
            f'<text{strong} x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>'
        )
        parts.append(f'<circle class="{row.kind}" cx="{place(row.value):.1f}" cy="{y:.1f}" r="6"/>')
        parts.append(
            f'<text{strong} x="{place(row.value) + 11:.1f}" y="{y + 4:.1f}">{escape(row.text)}</text>'
        )
    return picture(parts, bottom + FOOT)


class Line(NamedTuple):
    """What is drawn as one line, and its points."""

    name: str
    points: Sequence[tuple[float, float]]


PLOT_HEIGHT = 150


def lines(title: str, note: str, drawn: Sequence[Line]) -> str:
    """Lines over a logarithmic axis, the other from 0."""
    xs = [math.log10(x) for line in drawn for x, _y in line.points]
    top = max(y for line in drawn for _x, y in line.points) * 1.2
    low, wide = min(xs), (max(xs) - min(xs)) or 1
    left, right, bottom = 60, WIDTH - 60, TITLE + PLOT_HEIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * (math.log10(x) - low) / wide, bottom - PLOT_HEIGHT * y / top

    parts = [*_head(title, note), f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>']
    for line in drawn:
        places = [place(x, y) for x, y in line.points]
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        for (x, y), (count, value) in zip(places, line.points, strict=True):
            parts.append(f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
            parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{value:.2f}</text>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{count:,.0f}</text>')
    return picture(parts, bottom + FOOT)


def _head(title: str, note: str) -> list[str]:
    return [
        f'<text class="title" x="4" y="18">{escape(title)}</text>',
        f'<text class="note" x="4" y="36">{escape(note)}</text>',
    ]


def _column(texts: Iterable[str]) -> int:
    """Pixels that the longest of these needs, and a gap."""
    return round(max(map(len, texts), default=0) * CHARACTER) + 16


def picture(parts: Sequence[str], height: float) -> str:
    """SVG with these parts and the style of all pictures."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])
