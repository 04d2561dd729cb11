"""What a run found, as tables: every figure, and the ratios that tmelink aims at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.tunnels import TUNNELS

Figures = Mapping[str, Mapping[str, float]]

COLUMNS = (
    ("tcp 1", "TCP, 1 stream", "Gbit/s", 2),
    ("resent", "sent again", "1/s", 0),
    ("overruns", "overruns", "1/s", 0),
    ("tcp 4", "TCP, 4 streams", "Gbit/s", 2),
    ("frames", "64-byte frames", "1/s", 0),
    ("rtt", "RTT", "ms", 3),
    ("rtt 99%", "99 %", "ms", 3),
    ("rtt cpu", "CPU a ping", "us", 0),
    ("rtt loaded", "RTT loaded", "ms", 2),
    ("rtt loaded 99%", "99 %", "ms", 2),
    ("clients", "10 clients", "Gbit/s", 2),
    ("clients up", "to the server", "Gbit/s", 2),
    ("clients down", "from it", "Gbit/s", 2),
    ("handshakes", "handshakes", "1/s of CPU", 0),
    ("handshake", "each", "ms", 1),
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

    def ratio(self, figures: Figures) -> float | None:
        """None where one of the two was not measured."""
        try:
            ours, theirs = figures[self.tunnel][self.what], figures[self.beside][self.what]
        except KeyError:
            return None
        return ours / theirs if theirs else float(ours > 0)

    def reached(self, ratio: float) -> bool:
        return ratio >= self.least and (not self.most or ratio <= self.most)

    def wanted(self) -> str:
        if self.most:
            return f"<= {self.most:g}"
        return f">= {self.least:g}"


PLAIN, TLS, TUN = "udp plain", "udp AES-256-GCM", "tun, udp AES-256-GCM"
MIXED = "tmelink to openvpn, udp AES-256-GCM", "openvpn to tmelink, udp AES-256-GCM"


def _beside(work: str, mode: str, what: str, *, least: float = 0.0, most: float = 0.0) -> Goal:
    """The same mode of both programs."""
    return Goal(work, f"tmelink {mode}", f"openvpn {mode}", what, least=least, most=most)


GOALS = (
    _beside("round trip, idle, plaintext UDP", PLAIN, "rtt", most=1.2),
    _beside("round trip, idle, AES-256-GCM", TLS, "rtt", most=1.5),
    _beside("round trip beside a TCP stream, 99 %, plaintext UDP", PLAIN, "rtt loaded 99%", most=1),
    _beside("round trip beside a TCP stream, 99 %, AES-256-GCM", TLS, "rtt loaded 99%", most=1),
    _beside("plaintext UDP, one stream", PLAIN, "tcp 1", least=8),
    _beside("AES-256-GCM over UDP, one stream", TLS, "tcp 1", least=6),
    _beside("AES-256-GCM over UDP in a TUN, one stream", TUN, "tcp 1", least=6),
    Goal("AES-256-GCM, tmelink to OpenVPN", MIXED[0], f"openvpn {TLS}", "tcp 1", least=1.3),
    Goal("AES-256-GCM, tmelink to OpenVPN, sent again", MIXED[0], f"openvpn {TLS}", "resent", most=1),
    Goal("AES-256-GCM, OpenVPN to tmelink", MIXED[1], f"openvpn {TLS}", "tcp 1", least=1.3),
    _beside("64-byte frames, plaintext UDP", PLAIN, "frames", least=3),
    _beside("64-byte frames, AES-256-GCM", TLS, "frames", least=2),
    Goal("share of kernel VXLAN, plaintext UDP", f"tmelink {PLAIN}", "kernel VXLAN", "tcp 1", least=0.5),
    Goal("TUN beside wireguard-go, one stream", f"tmelink {TUN}", "wireguard-go", "tcp 1", least=1),
    _beside("server with 10 clients, TAP, goodput", "server, 10 clients, tap", "clients", least=3),
    _beside("server with 10 clients, TAP, 64-byte frames", "server, 10 clients, tap", "frames", least=1.5),
    _beside("server with 10 clients, TUN, goodput", "server, 10 clients, tun", "clients", least=3),
    _beside("server with 10 clients, TUN, 64-byte packets", "server, 10 clients, tun", "frames", least=1.5),
    _beside("handshakes for a second of the server's time", "server, handshakes", "handshakes", least=0.5),
    *(
        _beside(f"2 ms and {loss} % loss, AES-256-GCM", f"{TLS}, 2 ms and {loss} % loss", "tcp 1", least=1)
        for loss in ("0", "0.1", "1", "3")
    ),
)


NAMED = {name for goal in GOALS for name in (goal.tunnel, goal.beside)} | {
    "tmelink udp plain, --busy-poll 200"
}
"""The tunnels of the ratios, and one option that shortens round trips for processor time."""


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


def figures_table(figures: Figures, builds: Mapping[str, str]) -> str:
    """Every tunnel, what ran, and every figure; behind them TCP's ratio to OpenVPN in the same mode."""
    shown = [column for column in COLUMNS if any(column[0] in found for found in figures.values())]
    rows = [["", "build", *(title for _what, title, _unit, _places in shown), "ratio"]]
    rows.append(["", "", *(unit for _what, _title, unit, _places in shown), "1 stream"])
    for tunnel in TUNNELS:
        found = figures.get(tunnel.name)
        if found is None:
            continue
        cells = [f"{found[what]:,.{places}f}" if what in found else "" for what, _t, _u, places in shown]
        beside = figures.get(tunnel.beside or "", {}).get("tcp 1")
        ratio = f"{found['tcp 1'] / beside:.2f}" if beside and "tcp 1" in found else ""
        rows.append([tunnel.name, builds.get(tunnel.name, ""), *cells, ratio])
    return aligned(rows)


def goals(figures: Figures) -> list[list[str]]:
    """The ratios that tmelink aims at, and whether they are reached, below a row of titles."""
    rows = [["tmelink's part of the other's", "beside", "wanted", "measured", ""]]
    for goal in GOALS:
        ratio = goal.ratio(figures)
        reached = "" if ratio is None else "reached" if goal.reached(ratio) else "NOT"
        rows.append([goal.work, goal.beside, goal.wanted(), _shown(ratio), reached])
    return rows


def goals_table(figures: Figures) -> str:
    """The same as columns."""
    return aligned(goals(figures))


def _shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
