"""`tmelink/ltoudp`: LocalTalk over UDP multicast, carried across an Ethernet to other houses as it is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from tmelink import ethernet
from tmelink.elements.emulators import group_cable
from tmelink.elements.emulators.cable import Items
from tmelink.elements.emulators.group_cable import GroupCable
from tmelink.elements.emulators.group_carrier import GroupCarrier
from tmelink.frame import Frame, pieces
from tmelink.transport.endpoints import Inet

GROUP = Inet("239.192.76.84", 1954)

SHORTEST, LONGEST = 4 + 3, 4 + 603
"""Bytes of a datagram: the sender's number, and LLAP's header with up to 600 bytes after it."""

DESTINATION = bytes.fromhex("034c546f5544")
"""A group address of our own (locally administered), for all `tmelink/ltoudp` on an Ethernet."""

ETHERTYPE = 0x88B5
"""The EtherType that IEEE 802 sets aside for experiments; `MARK` tells our frames from others'."""

MARK = b"LToUDP"
_HEAD = struct.Struct("!6s6sH6sH")


class LtoUdp(GroupCable):
    """LocalTalk over UDP (LToUDP): joins Mini vMac, TashRouter, MAME and others in the same multicast group.

    LocalTalk is not Ethernet, so these elements only talk to each other. Join them by switches and links, and
    several houses share one LocalTalk. Each Ethernet frame carries one datagram unchanged, after EtherType
    0x88B5, the letters LToUDP and the length in 16 bits.
    """

    example = """\
sw0: tmelink/switch
localtalk at sw0: tmelink/ltoudp local 192.168.0.1
"""

    @dataclass(frozen=True)
    class Arguments:
        """The networks."""

        local: tuple[IPv4Address, ...] = group_cable.local()

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._source = ethernet.derived_mac(f"ltoudp {name}")
        self._carrier = GroupCarrier(
            self.endpoint,
            self.log,
            GROUP,
            list(map(str, arguments.local)),
            seal=self._seal,
            open=self._open,
        )

    def _seal(self, items: Items) -> Items:
        """The datagrams in frames of our own."""
        found: list[Frame] = []
        for each in pieces(items):
            if len(each) >= _HEAD.size:
                _, _, ethertype, mark, length = _HEAD.unpack_from(each)
                datagram = each[_HEAD.size : _HEAD.size + length]
                # A frame may have been padded on its way, and must not have been cut.
                ours = (ethertype, mark, len(datagram)) == (ETHERTYPE, MARK, length)
                if ours and SHORTEST <= length <= LONGEST:
                    found.append(datagram)
                    continue
            self.endpoint.sent.drops["not LocalTalk"] += 1
        return found

    def _open(self, items: Items) -> Items:
        """A frame around each datagram."""
        found: list[Frame] = []
        for each in pieces(items):
            if SHORTEST <= len(each) <= LONGEST:
                head = _HEAD.pack(DESTINATION, self._source, ETHERTYPE, MARK, len(each))
                found.append(head + bytes(each))
            else:
                self.endpoint.received.drops["not LocalTalk"] += 1
        return found
