"""Draws docs/demo.svg, the output of the demo as a terminal shows it: `python -m tests.support.terminal`."""

from __future__ import annotations

import subprocess
import sys
from html import escape
from pathlib import Path

PICTURE = Path(__file__).parents[2] / "docs/demo.svg"

WIDTH, LINE, MARGIN = 8.4, 19, 16
"""A character's width, a line's height and the space around them, in pixels."""

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Browsers join ordinary spaces, also with `xml:space`."""


def picture(command: str, lines: list[str]) -> str:
    """The command and its output as light text on a dark ground."""
    rows = [f"$ {command}", *lines]
    width = round(max(map(len, rows)) * WIDTH) + 2 * MARGIN
    height = len(rows) * LINE + 2 * MARGIN
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + LINE * number + 14}"'
        f' fill="{"#7ee787" if number == 0 else "#e6edf3"}">{escape(row).replace(" ", NO_BREAK)}</text>'
        for number, row in enumerate(rows)
    ]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<title>{escape(command)}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#161b22"/>',
        '<g font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">',
        *texts,
        "</g>",
        "</svg>",
    ]) + "\n"  # fmt: skip


def main() -> None:
    """Run the demo, and draw what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tmelink", "demo"], capture_output=True, text=True, check=True
    )
    lines = [line.rstrip() for line in done.stdout.replace(str(Path.cwd()) + "/", "").splitlines()]
    PICTURE.write_text(picture("tmelink demo", lines))


if __name__ == "__main__":
    main()
