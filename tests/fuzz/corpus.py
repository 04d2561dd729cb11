"""The inputs that are kept: for each target a file with one in each line, in hexadecimal."""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).parent / "inputs"


def inputs(name: str) -> list[bytes]:
    """Those of a target."""
    path = CORPUS / f"{name}.txt"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []
