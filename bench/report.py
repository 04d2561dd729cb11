"""What a run found, as tables: every figure, and the ratios that tmelink aims at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.tunnels import TUNNELS

Figures = Mapping[str, Mapping[str, float]]

COLUMNS = (
    ("tcp 1", "TCP, 1 stream", "Gbit/s", 2),
    ("resent", "sent again", "1/s", 0),
    ("tcp 4", "TCP, 4 streams", "Gbit/s", 2),
    ("frames", "64-byte frames", "1/s", 0),
    ("rtt", "RTT", "ms", 3),
    ("rtt 99%", "99 %", "ms", 3),
    ("rtt loaded", "RTT loaded", "ms", 2),
    ("rtt loaded 99%", "99 %", "ms", 2),
    ("cpu", "CPU", "s/GB", 2),
    ("memory", "memory", "MB", 0),
)
"""What is measured, its title, unit and decimal places."""


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: at least `least`, or at most `most`."""

    work: str
    tunnel: str
    beside: str
    what: str
    least: float = 0.0
    most: float = 0.0
    aim: float = 0.0

    @property
    def tuned(self) -> str:
        """The same other tunnel with its best settings."""
        return f"{self.beside}, tuned"

    def ratio(self, figures: Figures, *, tuned: bool = False) -> float | None:
        try:
            return figures[self.tunnel][self.what] / figures[self.tuned if tuned else self.beside][self.what]
        except KeyError:
            return None

    def reached(self, ratio: float) -> bool:
        return ratio >= self.least and (not self.most or ratio <= self.most)

    def wanted(self) -> str:
        if self.most:
            return f"<= {self.most:g}"
        return f">= {self.least:g}" + (f", aim {self.aim:g}" if self.aim else "")


PLAIN, TLS, TCP = "udp plain", "udp AES-256-GCM", "tcp plain"

GOALS = (
    Goal("plaintext UDP, one stream", f"tmelink {PLAIN}", f"openvpn {PLAIN}", "tcp 1", least=4, aim=6),
    Goal("AES-256-GCM over UDP, one stream", f"tmelink {TLS}", f"openvpn {TLS}", "tcp 1", least=3, aim=4),
    Goal("plaintext TCP, one stream", f"tmelink {TCP}", f"openvpn {TCP}", "tcp 1", least=5),
    Goal("64-byte frames, plaintext UDP", f"tmelink {PLAIN}", f"openvpn {PLAIN}", "frames", least=1.5),
    Goal("RTT idle, plaintext UDP", f"tmelink {PLAIN}", f"openvpn {PLAIN}", "rtt", most=1.2),
    Goal("against kernel VXLAN, plaintext", f"tmelink {PLAIN}", "kernel VXLAN", "tcp 1", least=0.3),
)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def figures_table(figures: Figures) -> str:
    """Every tunnel, every figure; behind TCP's the ratio to OpenVPN in the same mode."""
    shown = [column for column in COLUMNS if any(column[0] in found for found in figures.values())]
    rows = [["", *(title for _what, title, _unit, _places in shown), "ratio"]]
    rows.append(["", *(unit for _what, _title, unit, _places in shown), "1 stream"])
    for tunnel in TUNNELS:
        found = figures.get(tunnel.name)
        if found is None:
            continue
        cells = [f"{found[what]:,.{places}f}" if what in found else "" for what, _t, _u, places in shown]
        beside = figures.get(tunnel.beside or "", {}).get("tcp 1")
        rows.append([tunnel.name, *cells, f"{found['tcp 1'] / beside:.2f}" if beside else ""])
    return aligned(rows)


def goals_table(figures: Figures) -> str:
    """The ratios that tmelink aims at, and whether they are reached against the other's own defaults."""
    rows = [["", "wanted", "reached", "", "other tuned"]]
    for goal in GOALS:
        ratio, tuned = goal.ratio(figures), goal.ratio(figures, tuned=True)
        reached = "" if ratio is None else "yes" if goal.reached(ratio) else "NO"
        rows.append([goal.work, goal.wanted(), _shown(ratio), reached, _shown(tuned)])
    return aligned(rows)


def _shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
