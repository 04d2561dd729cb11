"""A text put to the proof: what is warned of, and the path of a ping."""

from __future__ import annotations

from tmelink.machine import load
from tmelink.proof import choice
from tmelink.proof.hops import Proof
from tmelink.proof.problems import problems
from tmelink.proof.topology import Topology
from tmelink.proof.trace import prove
from tmelink.sizes import PingSize


def warned(text: str) -> list[str]:
    found = problems(load(text + "\n", name="x"))
    for warning in found:
        warning.render()
    return [f"{w.place.line}: {w.message} ({w.hint})" for w in found]


def way(text: str, source: str, target: str, size: int = 1472, *, df: bool = False) -> Proof:
    topology = Topology(load(text + "\n", name="x"))
    (journey,) = choice.chosen(topology, source, target)
    return prove(topology, journey, PingSize(choice.version(journey), size, df))
