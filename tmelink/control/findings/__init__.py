"""Why nothing flows: findings about a lab, each with what shows it and what helps, most likely first.

A finding is one function in one of the modules beside this, registered in `CHECKS`. It looks at a loaded
machine, whose elements may be open or not, and changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tmelink.element import Element
from tmelink.elements.openvpn.link import Link
from tmelink.machine import CheckedMachine


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is the fixed name of its kind, `element` where it is; `likelihood` (percent) orders them."""

    kind: str
    element: str
    text: str
    evidence: str
    remedy: str
    likelihood: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined; `running` distinguishes open elements from those of a file."""

    machine: CheckedMachine
    running: bool

    def links(self) -> list[Link]:
        """Links whose peer is not heard, or may not be: in a file all of them."""
        links = [each for each in self.machine.elements.values() if isinstance(each, Link)]
        return [link for link in links if not (self.running and link.up)]

    def drops(self, element: Element) -> dict[str, int]:
        """What an element has dropped, by reason, over all its counters."""
        found: dict[str, int] = {}
        counters = [*element.counters().values(), *(port.sent for port in element.ports)]
        for each in counters:
            for reason, count in each.drops.items():
                found[reason] = found.get(reason, 0) + count
        return found


Check = Callable[[Subject], AsyncIterator[Finding]]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Register a finding."""
    CHECKS.append(function)
    return function


async def findings(subject: Subject) -> list[Finding]:
    """Every finding, most likely first."""
    found = [finding for each in CHECKS async for finding in each(subject)]
    return sorted(found, key=lambda finding: -finding.likelihood)
