"""Takes part in the spanning tree for a switch: the clock, the ports and the log.

The protocol is `tmelink.elements.builtin.spanning_tree`'s. Connections that lead to a single machine forward
at once; any other one waits until its neighbour has agreed, or has not spoken for three seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Set

from tmelink import ethernet
from tmelink.element import Element, Port
from tmelink.elements.builtin import bpdu
from tmelink.elements.builtin.loop_watch import behind
from tmelink.elements.builtin.spanning_tree import SpanningTree
from tmelink.frame import Burst, Frame

SECOND = 1.0
"""Between two ticks of the protocol's clock."""


class TreeGuard:
    """The tree of `switch`, with its own `priority` and `forward_delay`. `send(port, frame)` sends a message.

    `blocked` are the ports that take and get nothing but messages; `relearn(ports)` forgets the stations
    there.
    """

    def __init__(
        self,
        switch: Element,
        priority: int,
        forward_delay: int,
        send: Callable[[Port, Frame], None],
        relearn: Callable[[Set[Port]], None],
    ) -> None:
        self.blocked: set[Port] = set()
        self._switch = switch
        self._send = send
        self._relearn = relearn
        self._mac = b"\x06" + secrets.token_bytes(5)
        identifier = priority << 48 | int.from_bytes(self._mac, "big")
        self._tree = SpanningTree(identifier, forward_delay, self._flush)
        self._ports: dict[int, Port] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._speaking = False

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take part from now on."""
        self._loop = loop
        self._timer = loop.call_later(SECOND, self._tick)
        self.connections_changed()

    def close(self) -> None:
        """Stop sending."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = self._timer = None
        for number in list(self._ports):
            self._tree.remove(number)
        self._tree.sent.clear()
        self._ports.clear()
        self.blocked.clear()

    def connections_changed(self) -> None:
        """Connections came or went, or what they lead to came up or went down."""
        if self._loop is None:
            return
        up = {port.index + 1: port for port in self._switch.ports if port.up}
        for number, port in list(self._ports.items()):
            if up.get(number) is not port:
                del self._ports[number]
                self._tree.remove(number)
        for number, port in up.items():
            if number not in self._ports:
                self._ports[number] = port
                self._tree.add(number, edge=port.peer is not None and port.peer.element.is_station)
        self._carry_out()

    def taken_from(self, port: Port, burst: Burst) -> Burst:
        """What is left of a burst that arrived when the bridges' messages in it have been heard."""
        others = [index for index, frame in enumerate(burst.frames) if frame[: len(bpdu.GROUP)] != bpdu.GROUP]
        if len(others) == len(burst.frames):
            return burst
        for frame in burst.frames:
            if frame[: len(bpdu.GROUP)] == bpdu.GROUP:
                message = bpdu.parse(frame)
                if message is None:
                    port.drop("not a bridge's message")
                else:
                    self._tree.heard(port.index + 1, message)
        self._carry_out()
        return burst.part(others)

    def state(self) -> str:
        """The root and the distance to it, in words."""
        tree = self._tree
        root = f"{tree.root.root >> 48} {ethernet.text((tree.root.root & (1 << 48) - 1).to_bytes(6, 'big'))}"
        where = self._ports.get(tree.root_port)
        return f"root {root}" + (f", by {behind(where)}" if where is not None else ", which is this switch")

    def role(self, port: Port) -> str:
        """What a port is for, and whether it forwards, in words; empty if it is down."""
        found = self._tree.ports.get(port.index + 1)
        if found is None or self._ports.get(found.number) is not port:
            return ""
        return (
            f"{found.role} {'forwarding' if found.forward else 'learning' if found.learn else 'discarding'}"
        )

    def _tick(self) -> None:
        assert self._loop is not None, "the timer goes with it"
        self._timer = self._loop.call_later(SECOND, self._tick)
        self._tree.tick()
        self._carry_out()

    def _carry_out(self) -> None:
        """Send what is to be sent, and block the ports that do not forward."""
        blocked = {port for number, port in self._ports.items() if not self._tree.forwards(number)}
        if blocked != self.blocked:
            for port in blocked ^ self.blocked:
                if port.peer is not None:
                    detail = f"{behind(port)} is {'blocked' if port in blocked else 'forwarding'}"
                    self._switch.log.info("%s", detail)
                    self._switch.happened("spanning tree", detail, port=port.index)
            self.blocked.clear()
            self.blocked.update(blocked)
        if self._tree.sent and self._loop is not None and not self._speaking:
            # Soon, so that the answers of switches in this process do not come before this is done.
            self._speaking = True
            self._loop.call_soon(self._speak)

    def _speak(self) -> None:
        self._speaking = False
        sent, self._tree.sent = self._tree.sent, []
        for number, message in sent:
            port = self._ports.get(number)
            if port is not None:
                # Each port has a MAC address of its own, so that no bridge sees one move.
                mac = self._mac[:4] + (number & 0xFFFF).to_bytes(2, "big")
                self._send(port, bpdu.build(message, mac))

    def _flush(self, number: int) -> None:
        port = self._ports.get(number)
        if port is not None:
            self._relearn({port})
