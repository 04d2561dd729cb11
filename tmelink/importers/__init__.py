"""Other programs' configurations as machine files, a module for each program.

Each says in the file's comments what it could not take. Nothing is written and nothing is started here.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Imported:
    """A machine file; what could not be taken, each with the reason; and files that belong beside it."""

    text: str
    left_out: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
