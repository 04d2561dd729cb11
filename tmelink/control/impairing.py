"""Methods that impair connections: `impair`, `impairments`."""

from __future__ import annotations

from typing import Any

from tmelink.control.control import Control
from tmelink.control.methods import Methods
from tmelink.element import Port
from tmelink.inline.impairment import stage_of

METHODS = Methods()


@METHODS.request("impair")
def impair(control: Control, *, element: str, other: str, words: list[str]) -> dict[str, str]:
    """Impair a connection, in tc-netem's words; properties that they do not name stay as they are.

    The reply has the impairment of each direction. The direction "out" is what `element` sends.
    """
    holds = control.lab.impair(element, other, words)
    return {direction: str(impairment) for direction, impairment in holds.items()}


@METHODS.request("impairments")
def impairments(control: Control) -> list[dict[str, Any]]:
    """Every impaired connection: both elements, each direction's impairment, and how many frames wait."""
    rows = []
    for a, b in control.lab.machine.connections:
        if stage_of(a) is not None or stage_of(b) is not None:
            rows.append(
                {
                    "element": a.element.name,
                    "other": b.element.name,
                    "out": _shown(a),
                    "in": _shown(b),
                    "waiting": sum(stage.waiting for port in (a, b) if (stage := stage_of(port))),
                }
            )
    return rows


def _shown(port: Port) -> str:
    stage = stage_of(port)
    return "" if stage is None else str(stage.impairment)
