"""A plan: the changes of the host for one interface, in order, each with its reason in words.

This module knows no option and no kernel; `tmelink.system.routes` carries a plan out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tmelink.routing.facts import IPAddress, IPInterface, IPNetwork, Route

_WIDTH = 68
"""Columns in which steps are aligned; a longer step pushes its reason to the right."""


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of the interface; `peer` is the other end of a point-to-point interface."""

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
class Mtu:
    """The MTU of the interface, in bytes."""

    device: str
    mtu: int

    def __str__(self) -> str:
        return f"{self.mtu} dev {self.device}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets from `source` use `table`; rules with lower priority numbers come first."""

    priority: int
    source: IPNetwork
    table: int

    def __str__(self) -> str:
        return f"{self.priority} from {self.source} lookup {self.table}"


@dataclass(frozen=True, slots=True)
class SysctlSetting:
    """A sysctl, such as net/ipv4/conf/eth0/forwarding.

    `wide` says that the kernel changes the same setting of every interface along with it.
    """

    name: str
    value: str
    wide: bool = False

    def __str__(self) -> str:
        return f"{self.name.replace('/', '.')}={self.value}"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Packets from `networks`, which are on `device`, leave through `uplink` with its address."""

    device: str
    networks: tuple[IPNetwork, ...]
    uplink: str

    def __str__(self) -> str:
        return f"from {', '.join(map(str, self.networks))} oif {self.uplink}"


@dataclass(frozen=True, slots=True)
class Proxied:
    """The host answers neighbour solicitations for `address` on `device`."""

    device: str
    address: IPAddress

    def __str__(self) -> str:
        return f"{self.address} dev {self.device}"


Change = InterfaceAddress | Mac | Mtu | Route | Rule | SysctlSetting | Masquerade | Proxied

WORDS: dict[type, str] = {
    InterfaceAddress: "address",
    Mac: "mac",
    Mtu: "mtu",
    Route: "route",
    Rule: "rule",
    SysctlSetting: "sysctl",
    Masquerade: "nat",
    Proxied: "proxy",
}


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One change and its reason. `stands` marks what already exists: it is listed, not made."""

    change: Change
    reason: str
    stands: bool = False

    def __str__(self) -> str:
        return f"{'stays' if self.stands else 'add':<6}{WORDS[type(self.change)]:<8}{self.change}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are made (and undone in reverse), and warnings."""

    steps: tuple[PlanStep, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: Plan) -> Plan:
        """Both plans, without making a change twice."""
        done = {step.change for step in self.steps}
        return Plan(
            (*self.steps, *(step for step in other.steps if step.change not in done)),
            (*self.warnings, *(warning for warning in other.warnings if warning not in self.warnings)),
        )

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes to make."""
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
