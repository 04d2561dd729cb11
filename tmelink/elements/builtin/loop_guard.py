"""Keeps loops of connections from melting a switch: sends probes, cuts what closes a loop, and heals it.

The rules are `tmelink.elements.builtin.loop_finder`'s; this module has the clock, the ports and the log. A
switch with fewer than two connections that lead further sends no probe.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Set
from functools import partial

from tmelink.element import Element, Port
from tmelink.elements.builtin.loop_finder import LoopFinder
from tmelink.elements.builtin.loop_probe import NODE, Probe, ProbeHop, handed_on, parse_probe
from tmelink.elements.builtin.loop_watch import behind
from tmelink.frame import Frame

SOON = 0.1
"""Seconds between a connection coming up and its first probe."""


class LoopGuard:
    """The loops of `switch`. `send(port, frame)` sends a probe; `interval` in seconds, 0 for no probes.

    `relearn(ports)` forgets what a loop has taught: where stations are that were heard there. What `keeps` is
    true of is cut only where both ends of a loop are such.

    `cut` are the ports that take and get nothing but probes.
    """

    def __init__(
        self,
        switch: Element,
        interval: float,
        send: Callable[[Port, Frame], None],
        relearn: Callable[[Set[Port]], None],
        keeps: Callable[[Port], bool],
    ) -> None:
        self.cut: set[Port] = set()
        self._switch = switch
        self._interval = interval
        self._send = send
        self._relearn = relearn
        self._keeps = keeps
        self._finder = LoopFinder(secrets.token_bytes(NODE), interval)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick_at: asyncio.TimerHandle | None = None
        self._up: set[Port] = set()
        self._text = ""

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for loops from now on."""
        if self._interval:
            self._loop = loop
            self.changed()

    def close(self) -> None:
        """Stop looking, and cut nothing."""
        if self._tick_at is not None:
            self._tick_at.cancel()
        self._loop = self._tick_at = None
        self._up.clear()
        self.cut.clear()

    def changed(self) -> None:
        """Connections came or went, or what they lead to came up or went down."""
        if self._loop is None:
            return
        now = self._loop.time()
        up = {port for port in self._switch.ports if _leads_on(port)}
        for port in self._up - up:
            self._finder.went(port.index)
            self.cut.discard(port)
        for port in up - self._up:
            self._finder.came_up(port.index, now, kept=self._keeps(port))
        new, self._up = up - self._up, up
        if len(up) < 2:
            for port in list(self.cut):
                self._finder.heal(port.index, now)
                self._whole(port)
        if len(up) >= 2 and (new or self._tick_at is None):
            self._probe_in(SOON)
        elif len(up) < 2 and self._finder.changed:
            # The others have to hear that what a loop has taught them is to be forgotten.
            self._probe_in(SOON)

    def trouble(self) -> str:
        """Which connections are cut, in words; empty if none is."""
        return self._text if self.cut else ""

    def arrived(self, frame: Frame, port: Port) -> Callable[[Port], Frame] | None:
        """A frame for the group of probes arrived; what to send on by each connection, or None."""
        probe = parse_probe(frame)
        if probe is None:
            return None if port in self.cut else lambda _: frame
        own = probe.node == self._finder.node
        if self._loop is not None and port in self._up:
            take = self._finder.came_back if own else self._finder.heard
            found = take(probe, port.index, self._loop.time())
            if found is not None:
                self._cut_one(*found)
        if own or port in self.cut or not self._finder.is_new(probe):
            return None
        if probe.changed:
            self._relearn(self._up)
        return partial(self._handed_on, frame, probe, port)

    def _handed_on(self, frame: Frame, probe: Probe, came: Port, goes: Port) -> Frame:
        return handed_on(frame, probe, ProbeHop(self._finder.node, self._keeps(came), self._keeps(goes)))

    def _probe_in(self, seconds: float) -> None:
        assert self._loop is not None, "it is open"
        if self._tick_at is not None:
            self._tick_at.cancel()
        self._tick_at = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        assert self._loop is not None, "the timer goes with it"
        self._tick_at = None
        if len(self._up) < 2 and not self._finder.changed:
            return
        now = self._loop.time()
        healed = self._finder.healed(now)
        for number in healed:
            self._whole(self._port(number))
        self._probe_in(SOON if healed else self._interval * self._finder.jitter.uniform(0.75, 1.25))
        if self._finder.changed:
            self._relearn(self._up)
        for number, frame in self._finder.probes(sorted(port.index for port in self._up), now):
            self._send(self._port(number), frame)

    def _whole(self, port: Port) -> None:
        self.cut.discard(port)
        self._switch.log.info("%s is connected again: the loop is gone", behind(port))
        self._switch.happened("loop", f"{behind(port)} is connected again", port=port.index)

    def _port(self, number: int) -> Port:
        return next(port for port in self._up if port.index == number)

    def _cut_one(self, newest: int, other: int) -> None:
        ports = {port.index: port for port in self._up}
        if newest not in ports or other not in ports:
            self._finder.cut.pop(newest, None)
            return
        self.cut.add(ports[newest])
        one, two = behind(ports[other]), behind(ports[newest])
        self._text = (
            f"the connections form a loop between {one} and {two}: {two} is cut until the loop is gone"
        )
        self._switch.log.warning("%s", self._text)
        self._switch.happened("loop", self._text, cut=newest, other=other)
        self._relearn(self._up)
        self._probe_in(SOON)


def _leads_on(port: Port) -> bool:
    """Whether a connection is up and leads to more than one machine."""
    return port.peer is not None and port.up and not port.peer.element.is_station
