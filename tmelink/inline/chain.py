"""The stages on one direction of a connection, in order: Stage, Chain, insert, remove.

A chain is rebuilt when a stage comes or goes, so that a burst passes it by plain calls. Knows nothing of what
a stage does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from tmelink.element import Port
from tmelink.frame import Burst

BurstSink = Callable[[Burst], None]
"""Takes what a stage lets pass: the next stage, or the delivery at the other end."""

FILTER, IMPAIRMENT, CAPTURE = range(3)
"""Ranks of stages: a filter drops what nobody wants to see, and a capture shows what arrives."""


class Stage(Protocol):
    """Something on one direction of a connection."""

    rank: int
    """Stages of lower ranks come first."""

    def take(self, burst: Burst, onward: BurstSink) -> None:
        """Pass on what is to pass, now or later; a frame that is kept is copied first."""

    def close(self) -> None:
        """The stage is taken out; what it holds is dropped."""


class Chain:
    """What a port with stages sends goes to `take`."""

    take: BurstSink

    def __init__(self, port: Port) -> None:
        self.stages: list[Stage] = []
        self._port = port

    def rebuild(self) -> None:
        """Join the stages anew, the last one to the other end of the port."""
        onward: BurstSink = self._port.deliver
        for stage in reversed(self.stages):
            onward = partial(stage.take, onward=onward)
        self.take = onward


def stages(port: Port) -> tuple[Stage, ...]:
    """The stages on what `port` sends, in the order that a frame passes them."""
    return tuple(port.inline.stages) if isinstance(port.inline, Chain) else ()


def insert(port: Port, stage: Stage) -> None:
    """Put a stage on what `port` sends, behind those of its own rank."""
    chain = port.inline if isinstance(port.inline, Chain) else Chain(port)
    chain.stages.append(stage)
    chain.stages.sort(key=lambda each: each.rank)
    chain.rebuild()
    port.inline = chain


def remove(port: Port, stage: Stage) -> None:
    """Take a stage out and close it; harmless where it is not in."""
    chain = port.inline
    if not isinstance(chain, Chain) or stage not in chain.stages:
        return
    chain.stages.remove(stage)
    chain.rebuild()
    if not chain.stages:
        port.inline = None
    stage.close()


def clear(port: Port) -> None:
    """Take every stage out."""
    for stage in stages(port):
        remove(port, stage)
