"""The largest packet that fits everybody on an Ethernet except the one who asks.

Each connection of a switch is asked once, however many ask, and those that do not say are taken for machines
on an Ethernet.
"""

from __future__ import annotations

from collections.abc import Sequence

from tmelink.element import OuterMtu, Port, mtu_beyond

ETHERNET_MTU = 1500
"""Of machines that do not say how large a packet they take."""


class SegmentMtu:
    """What the elements at the connections of one switch take; `outer` is as for `Element.mtu`."""

    def __init__(self, outer: OuterMtu | None) -> None:
        self.outer = outer
        self._taken: dict[Port, int | None] = {}
        self._least: tuple[int, Port] | None = None
        self._next: int | None = None
        """The least of all but that one."""

    def without(self, port: Port, ports: Sequence[Port]) -> int | None:
        """The smallest size at all `ports` but `port`; None if all of these take any."""
        missing = len(ports) - len(self._taken)
        if missing > (port not in self._taken):
            for other in ports:
                if other is not port and other not in self._taken:
                    self._ask(other)
        if self._least is None:
            return None
        least, holder = self._least
        return self._next if holder is port else least

    def summary(self, ports: Sequence[Port]) -> tuple[object, ...]:
        """What all answers follow from, to see whether any has changed."""
        for port in ports:
            if port not in self._taken:
                self._ask(port)
        return self._least, self._next

    def _ask(self, port: Port) -> None:
        mtu = mtu_beyond(port, self.outer)
        if mtu is None and port.peer is not None and not port.peer.element.takes_on_mtu:
            mtu = ETHERNET_MTU
        self._taken[port] = mtu
        if mtu is None:
            return
        if self._least is None:
            self._least = mtu, port
        elif mtu < self._least[0]:
            self._least, self._next = (mtu, port), self._least[0]
        else:
            self._next = mtu if self._next is None else min(mtu, self._next)
