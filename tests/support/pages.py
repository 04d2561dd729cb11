"""Pages of docs/ whose commands are run: the commands, and what prints as a page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Each command of a page with the lines that it prints; `…` stands for any lines."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> re.Pattern[str]:
    """What prints such lines: numbers, also hexadecimal ones, and the width of columns, may differ."""
    parts = []
    for line in lines:
        if line == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            words = (re.sub(r"(0x)[\da-f]+|\d+", _number, re.escape(word)) for word in line.split())
            # A time may have a second unit: "34 s", "1 min 4 s".
            text = r"\s+".join(words).replace(r"\d+\s+s", r"\d+\s+\w+(?: \d+ \w+)?")
            parts.append(rf"\s*{text}\n")
    return re.compile("".join(parts))


def _number(found: re.Match[str]) -> str:
    return r"0x[\da-f]+" if found[1] else r"\d+"


def program(folder: Path) -> Path:
    """A folder for PATH in which `tmelink` is the one that is tested."""
    path = folder / "bin" / "tmelink"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m tmelink "$@"\n')
    path.chmod(0o755)
    return path.parent
