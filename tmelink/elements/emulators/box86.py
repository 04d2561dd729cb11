"""`tmelink/86box`: 86Box's "local switch", a UDP multicast group for all 86Box on a network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address

from tmelink.arguments import keyword
from tmelink.elements.emulators import group_cable
from tmelink.elements.emulators.cable import Items, as_it_is
from tmelink.elements.emulators.group_cable import GroupCable
from tmelink.elements.emulators.group_carrier import GroupCarrier
from tmelink.frame import pieces
from tmelink.transport.endpoints import Inet

PORT = 8086
OPEN_GROUP = Inet("239.255.86.86", PORT)
"""Where frames are bare."""

SECRET_GROUP = Inet("239.255.80.86", PORT)
"""Where each frame stands behind the digest of a secret."""

THIS_COMPUTER = "127.255.255.255"
"""The broadcast of the loopback network, by which 86Box reaches others on its own computer."""

DIGEST = hashlib.sha3_256().digest_size


def _secret(word: str) -> str:
    if not word:
        raise ValueError("a secret has at least one character")
    return word


class Box86(GroupCable):
    """86Box's network type "local switch": joins all 86Box machines on this computer and the given networks.

    `secret` is the setting of that name in 86Box. Its digest precedes each frame, and frames with another
    digest are ignored. It separates networks but does not protect them, since the digest is readable. If you
    do not trust the network, use a link.
    """

    example = """\
sw0: tmelink/switch
boxes at sw0: tmelink/86box secret retro local 192.168.0.1
"""

    @dataclass(frozen=True)
    class Arguments:
        """The secret and the networks."""

        secret: str = keyword("TEXT", _secret, default="", help="the switch's secret, as 86Box has it")
        local: tuple[IPv4Address, ...] = group_cable.local()

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._digest = b""
        if arguments.secret:
            self._digest = hashlib.sha3_256(arguments.secret.encode()).digest()
        self._carrier = GroupCarrier(
            self.endpoint,
            self.log,
            SECRET_GROUP if self._digest else OPEN_GROUP,
            list(map(str, arguments.local)),
            broadcast=THIS_COMPUTER,
            seal=self._seal if self._digest else as_it_is,
            open=self._open,
        )

    def _seal(self, items: Items) -> Items:
        digest = self._digest
        return [digest + each for each in pieces(items)]

    def _open(self, items: Items) -> Items:
        """The frames of this secret; broadcasts on this computer carry those of all."""
        if not self._digest:
            return items
        found = pieces(items)
        own = [each[DIGEST:] for each in found if each[:DIGEST] == self._digest]
        self.endpoint.received.drops["another secret"] += len(found) - len(own)
        return own
