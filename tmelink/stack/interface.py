"""A network interface with both IP families: takes the frames that are for it, and passes them on.

Pure: frames and the time go in by `receive` and `tick`; frames to send and what became of echo requests
collect in `wire`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from tmelink import ethernet
from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.stack.ipv4 import Ipv4
from tmelink.stack.ipv6 import MIN_MTU, Ipv6
from tmelink.stack.node import NodeState

_ALL_SYSTEMS_MAC = ethernet.multicast_ipv4(bytes((224, 0, 0, 1)))


class Interface:
    """A host with a MAC address, optionally an IPv4 address, and IPv6 where the MTU allows it."""

    def __init__(
        self,
        mac: bytes,
        *,
        inet: IPv4Interface | None = None,
        inet6: IPv6Interface | None = None,
        gateway: IPv4Address | None = None,
        gateway6: IPv6Address | None = None,
        mtu: int = 1500,
    ) -> None:
        self.wire = NodeState(mac, mtu)
        self.ipv4 = self.make_ipv4(inet, gateway) if inet else None
        self.ipv6 = self.make_ipv6(inet6, gateway6) if mtu >= MIN_MTU else None
        self._nodes = [node for node in (self.ipv4, self.ipv6) if node]
        self._groups = {ethernet.BROADCAST}
        if self.ipv4:
            self._groups.add(_ALL_SYSTEMS_MAC)
        if self.ipv6:
            self._groups.update(map(ethernet.multicast_ipv6, self.ipv6.groups))

    def make_ipv4(self, inet: IPv4Interface, gateway: IPv4Address | None) -> Ipv4:
        """The IPv4 side; a router overrides it."""
        return Ipv4(self.wire, inet, gateway)

    def make_ipv6(self, inet6: IPv6Interface | None, gateway: IPv6Address | None) -> Ipv6:
        """The IPv6 side; a router overrides it."""
        return Ipv6(self.wire, inet6, gateway)

    def receive(self, frames: Sequence[Frame], now: float) -> None:
        """Take the frames that are for this host; faults are counted in `wire.drops`."""
        for frame in frames:
            try:
                self._receive_frame(frame, now)
            except ProtocolError as reason:
                self.wire.drops[str(reason)] += 1

    def _receive_frame(self, frame: Frame, now: float) -> None:
        header = ethernet.parse(frame)
        group = ethernet.is_group(header.destination)
        others = header.destination not in self._groups if group else header.destination != self.wire.mac
        if others or header.source == self.wire.mac:
            # A card does not take what is for others, and its own comes back through TME's `tap1 at tap1`:
            # neither is a drop.
            return
        if header.vlan:
            # A tag with VLAN 0 only carries a priority (IEEE 802.1Q) and is ignored.
            raise ProtocolError("tagged for a VLAN")
        payload = memoryview(frame)[header.payload :]
        if header.ethertype == ethernet.IPV4 and self.ipv4:
            self.ipv4.receive(payload, now, group=group)
        elif header.ethertype == ethernet.IPV6 and self.ipv6:
            self.ipv6.receive(payload, now, group=group)
        elif header.ethertype == ethernet.ARP and self.ipv4:
            self.ipv4.receive_arp(payload, now)
        else:
            raise ProtocolError("protocol not spoken")

    def node(self, address: IPv4Address | IPv6Address) -> Ipv4 | Ipv6 | None:
        """The IP family of `address`, or None if the interface does not have it."""
        return self.ipv4 if address.version == 4 else self.ipv6

    def announce(self) -> None:
        """Announce the addresses on the Ethernet."""
        for node in self._nodes:
            node.announce()

    def tick(self, now: float) -> None:
        """Do what is due at `now`; needed at `deadline`, harmless at any other time."""
        for node in self._nodes:
            node.tick(now)

    def deadline(self) -> float | None:
        """The time of the next `tick`, or None."""
        due = [at for node in self._nodes if (at := node.deadline()) is not None]
        return min(due, default=None)
