"""`tmelink ovpn FILE`: how tmelink understands an OpenVPN configuration file, one line per option."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tmelink.cli.examples import epilog
from tmelink.openvpn.options.parse import Understood, understand
from tmelink.source import Mistake, Place

NAME = "ovpn"
HELP = "show how each option of an OpenVPN file is understood: works, ignored or refused"
EPILOG = epilog(
    ("tmelink ovpn client.ovpn", "a line for each option, with the reason"),
)

WIDTH = 40
"""Columns for an option before its reason; a longer option pushes the reason to the right."""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the .ovpn or .conf file, as after --config")


def main(options: argparse.Namespace) -> int:
    understood, mistakes = understand(options.file, read_file=lambda path: Path(path).read_bytes())
    print("\n".join(listing(options.file, understood, mistakes)))
    return 1 if mistakes else 0


def listing(file: str, understood: Sequence[Understood], mistakes: Sequence[Mistake]) -> list[str]:
    """A line for each option, in order, and one for each other mistake; then the number of each.

    A line is the number of the option's line (with its file, if another one is included), what becomes of
    the option, how it is written, and why.
    """
    rows = [(option.place, option.status, option.option, option.reason) for option in understood]
    told = {_line(option.place) for option in understood if option.status == "refused"}
    for mistake in mistakes:
        if _line(mistake.place) not in told:
            reason = f"{mistake.message} ({mistake.hint})" if mistake.hint else mistake.message
            rows.append((mistake.place, "refused", "", reason))
    lines = []
    for place, status, option, reason in rows:
        where = str(place.line) if place.source.name == file else ":".join(_line(place))
        lines.append(f"{where:>4}  {status:<8} {option:<{WIDTH}} {reason}".rstrip())
    counts = Counter(status for _place, status, _option, _reason in rows)
    lines.append(", ".join(f"{counts[status]} {status}" for status in ("works", "ignored", "refused")))
    return lines


def _line(place: Place) -> tuple[str, str]:
    return place.source.name, str(place.line)
