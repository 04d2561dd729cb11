"""What both IP families of an interface share: the wire, its neighbours, and UDP echo.

Pure. A `Node` appends the frames that it wants sent to `NodeState.out`, and what it heard about echo requests
of its own to `NodeState.answers`; whoever drives it takes them from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tmelink import ethernet, ip
from tmelink.frame import Frame
from tmelink.stack.fragments import Reassembly
from tmelink.stack.icmp import Allowance, Quoted
from tmelink.stack.neighbours import Neighbours

ECHO_PORT = 7
"""UDP echo (RFC 862)."""


class Answer(NamedTuple):
    """The result of an echo request: a reply with `size` bytes of data, or an error in words.

    `destination` is the host that was asked, `peer` the one that answered.
    """

    destination: bytes
    peer: bytes
    identifier: int
    sequence: int
    size: int = 0
    ttl: int = 0
    error: str | None = None


@dataclass(slots=True)
class NodeState:
    """One interface as both families see it: its address, its limits, and frames to send."""

    mac: bytes
    mtu: int
    out: list[Frame] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)


class Node(ABC):
    """One IP family of an interface; `ethertype` is how its packets are marked."""

    ethertype: int
    udp_unreachable: tuple[int, int]
    """ICMP type and code of a port unreachable error."""

    def __init__(self, wire: NodeState, reassembly_timeout: float) -> None:
        self.wire = wire
        self.neighbours = Neighbours(self.ask, self.failed, wire.drops)
        self.reassembly = Reassembly(reassembly_timeout, wire.drops)
        self.errors = Allowance()

    @abstractmethod
    def ask(self, address: bytes, mac: bytes | None) -> None:
        """Send a request for `address`, to `mac` alone or to all hosts."""

    @abstractmethod
    def quoted(self, packet: Frame) -> Quoted | None:
        """The echo request at the start of `packet`, or None."""

    @abstractmethod
    def is_own(self, address: bytes) -> bool:
        """Whether `address` is one of this node's."""

    @abstractmethod
    def multicast_mac(self, address: bytes) -> bytes | None:
        """The group MAC address that packets to `address` go to; None for one station."""

    @abstractmethod
    def send(
        self, source: bytes, destination: bytes, protocol: int, payload: Frame, now: float, *, ttl: int = 64
    ) -> bool:
        """Send a payload, in fragments where it must be; False, counted, if no route leads there."""

    @abstractmethod
    def expired(self, first: bytes, now: float) -> None:
        """Reassembly timed out for the datagram whose first piece came in the packet `first`."""

    def transmit(self, packets: Iterable[bytes], hop: bytes, now: float) -> None:
        """Send finished packets to the neighbour `hop`, after address resolution if needed."""
        wire = self.wire
        mac = self.multicast_mac(hop) or self.neighbours.lookup(hop, now)
        if mac is None:
            for packet in packets:
                self.neighbours.wait(hop, packet, now)
            return
        header = ethernet.build(mac, wire.mac, self.ethertype)
        wire.out.extend([header + packet for packet in packets])

    def failed(self, address: bytes, packets: Sequence[bytes], now: float) -> None:
        """`address` does not answer: report that to the senders of the `packets`."""
        for packet in packets:
            self.refused(packet, "host unreachable", address)

    def refused(self, packet: Frame, error: str, peer: bytes) -> None:
        """`packet` was not delivered; if it is this node's echo request, that is its result."""
        quoted = self.quoted(packet)
        if quoted is not None and self.is_own(quoted.source):
            heard = Answer(quoted.destination, peer, quoted.identifier, quoted.sequence, error=error)
            self.wire.answers.append(heard)

    def tick(self, now: float) -> None:
        """Do what is due at `now`; needed at `deadline`, harmless at any other time."""
        self.neighbours.tick(now)
        for first in self.reassembly.expire(now):
            if first is not None:
                self.expired(first, now)

    def deadline(self) -> float | None:
        """The time of the next `tick`, or None."""
        due = [at for at in (self.neighbours.deadline(), self.reassembly.deadline()) if at is not None]
        return min(due, default=None)

    def serve_udp(self, source: bytes, own: bytes, datagram: ip.UdpHeader, now: float) -> bool:
        """Answer a unicast datagram; False if the port is closed."""
        if datagram.destination != ECHO_PORT:
            return False
        if datagram.source in (ECHO_PORT, 0):
            # Two echo services would answer each other for ever.
            self.wire.drops["UDP: echo to an echo service"] += 1
            return True
        payload = ip.build_udp(own, ECHO_PORT, source, datagram.source, datagram.payload)
        self.send(own, source, ip.UDP, payload, now)
        return True
