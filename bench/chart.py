"""Figures as pictures: bars in panels, and lines, in SVG that a page shows in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from bench.report import Figures
from bench.tunnels import TUNNELS

WIDTH, LEFT, RIGHT = 760, 230, 90
BAR, GAP, TITLE = 14, 6, 34

PANELS = (
    ("tcp 1", "TCP through the tunnel, one stream, Gbit/s", 2),
    ("frames", "64-byte frames a second", 0),
    ("rtt", "Round trip of an idle tunnel, ms (less is better)", 3),
)

LEFT_OUT = "bare veth"
"""It is no tunnel, and would make all others short."""

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px }
line { stroke: #d0d7de } polyline { fill: none; stroke: #1a7f37; stroke-width: 2 }
.ours { fill: #1a7f37 } .openvpn { fill: #bf8700 } .other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #c9d1d9 } .ours { fill: #3fb950 } .openvpn { fill: #d29922 }
}
"""


def drawn(figures: Figures) -> str:
    """The picture as SVG."""
    parts: list[str] = []
    y = 0
    for what, title, places in PANELS:
        bars = [
            (tunnel.name, figures[tunnel.name][what])
            for tunnel in TUNNELS
            if tunnel.name != LEFT_OUT and what in figures.get(tunnel.name, {})
        ]
        if not bars:
            continue
        parts.append(f'<text class="title" x="0" y="{y + 20}">{escape(title)}</text>')
        y += TITLE
        longest = max(value for _name, value in bars)
        for name, value in bars:
            width = (WIDTH - LEFT - RIGHT) * value / longest
            kind = (
                "ours" if name.startswith("tmelink") else "openvpn" if name.startswith("openvpn") else "other"
            )
            base = y + BAR - 3
            parts.append(f'<text x="{LEFT - 8}" y="{base}" text-anchor="end">{escape(name)}</text>')
            parts.append(
                f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
            )
            parts.append(f'<text x="{LEFT + width + 6:.1f}" y="{base}">{value:,.{places}f}</text>')
            y += BAR + GAP
        y += GAP
    return _picture(parts, y)


class Line(NamedTuple):
    """What is drawn as one line, and its points."""

    name: str
    points: Sequence[tuple[float, float]]


PLOT_HEIGHT, FOOT = 180, 24


def lines(title: str, drawn: Sequence[Line]) -> str:
    """Lines over a logarithmic axis, the other from 0, as SVG."""
    xs = [math.log10(x) for line in drawn for x, _y in line.points]
    top = max(y for line in drawn for _x, y in line.points) * 1.2
    low, wide = min(xs), (max(xs) - min(xs)) or 1
    left, right, bottom = 60, WIDTH - 60, TITLE + PLOT_HEIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * (math.log10(x) - low) / wide, bottom - PLOT_HEIGHT * y / top

    parts = [f'<text class="title" x="0" y="20">{escape(title)}</text>']
    parts.append(f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    for line in drawn:
        places = [place(x, y) for x, y in line.points]
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        for (x, y), (count, value) in zip(places, line.points, strict=True):
            parts.append(f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
            parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{value:.2f}</text>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{count:,.0f}</text>')
    return _picture(parts, bottom + FOOT)


def _picture(parts: Sequence[str], height: int) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])
