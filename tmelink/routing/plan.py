"""A plan: what is done to the host for one interface, in order, with the reason of each step in words.

Knows no option and no kernel; `tmelink.system.routes` carries a plan out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tmelink.routing.facts import IPAddress, IPInterface, IPNetwork, Route

_WIDTH = 68
"""Columns in which steps are aligned; a longer one pushes its reason to the right."""


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of the interface; `peer` is the other end where there are just two."""

    device: str
    interface: IPInterface
    peer: IPAddress | None = None

    def __str__(self) -> str:
        if self.peer is not None:
            return f"{self.interface.ip} peer {self.peer} dev {self.device}"
        return f"{self.interface} dev {self.device}"


@dataclass(frozen=True, slots=True)
class Mac:
    """The MAC address of the interface."""

    device: str
    mac: bytes

    def __str__(self) -> str:
        return f"{self.mac.hex(':')} dev {self.device}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets from `source` look into `table`; the lower the priority, the sooner."""

    priority: int
    source: IPNetwork
    table: int

    def __str__(self) -> str:
        return f"{self.priority} from {self.source} lookup {self.table}"


@dataclass(frozen=True, slots=True)
class SysctlSetting:
    """A sysctl, such as net/ipv4/conf/eth0/forwarding.

    `wide` says that the kernel changes the setting of the same name of every interface with it.
    """

    name: str
    value: str
    wide: bool = False

    def __str__(self) -> str:
        return f"{self.name.replace('/', '.')}={self.value}"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Packets from `networks`, those on `device`, get the address of `outside` where they leave by it."""

    device: str
    networks: tuple[IPNetwork, ...]
    outside: str

    def __str__(self) -> str:
        return f"from {', '.join(map(str, self.networks))} oif {self.outside}"


@dataclass(frozen=True, slots=True)
class Proxied:
    """Neighbour solicitations for `address` on `device` are answered there."""

    device: str
    address: IPAddress

    def __str__(self) -> str:
        return f"{self.address} dev {self.device}"


Change = InterfaceAddress | Mac | Route | Rule | SysctlSetting | Masquerade | Proxied

WORDS: dict[type, str] = {
    InterfaceAddress: "address",
    Mac: "mac",
    Route: "route",
    Rule: "rule",
    SysctlSetting: "sysctl",
    Masquerade: "nat",
    Proxied: "proxy",
}


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One change and why; `stands` marks what is there already and stays, which is said and not done."""

    change: Change
    reason: str
    stands: bool = False

    def __str__(self) -> str:
        return f"{'stays' if self.stands else 'add':<6}{WORDS[type(self.change)]:<8}{self.change}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are done, undone in reverse; and what cannot work."""

    steps: tuple[PlanStep, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: Plan) -> Plan:
        """Both, without doing a thing twice."""
        done = {step.change for step in self.steps}
        return Plan(
            (*self.steps, *(step for step in other.steps if step.change not in done)),
            (*self.warnings, *(warning for warning in other.warnings if warning not in self.warnings)),
        )

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is to be done."""
        return tuple(step.change for step in self.steps if not step.stands)

    def lines(self) -> list[str]:
        """The plan for a person to read."""
        width = max((len(text) for step in self.steps if len(text := str(step)) <= _WIDTH), default=0)
        lines = [f"{step!s:<{width}}  {step.reason}" for step in self.steps]
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]

    def as_data(self) -> dict[str, Any]:
        """The plan for a program to read."""
        return {"steps": [_data(step) for step in self.steps], "warnings": list(self.warnings)}


def _data(step: PlanStep) -> dict[str, Any]:
    return {
        "do": "stays" if step.stands else "add",
        "what": WORDS[type(step.change)],
        "which": str(step.change),
        "reason": step.reason,
    }


def joined(plans: Sequence[Plan]) -> Plan:
    """Several plans as one, in order."""
    whole = Plan()
    for plan in plans:
        whole += plan
    return whole
