"""`tmelink/qemu/multicast`: an Ethernet in a UDP multicast group, as with QEMU's `socket,mcast`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from tmelink import frame, values
from tmelink.arguments import keyword, positional
from tmelink.elements.emulators.cable import Cable
from tmelink.errors import ElementError
from tmelink.frame import Counters, Frame, Run
from tmelink.transport import endpoints, sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.endpoints import Inet

_IP_MULTICAST_ALL = 49  # linux/in.h


class QemuMulticast(Cable):
    """An Ethernet that is a UDP multicast group: QEMU's `-netdev socket,mcast=` and `-netdev dgram`.

    Every QEMU, tmelink or user-mode Linux that joins the group hears every other; who they are is not asked.
    """

    @dataclass(frozen=True)
    class Arguments:
        """The group, and the interface to it."""

        group: Inet = positional("GROUP:PORT", endpoints.group, help="the IPv4 multicast group and its port")
        local: IPv4Address | None = keyword(
            "ADDR",
            values.ipv4,
            default=None,
            help="this computer's address on the network to use; otherwise as its routes say",
        )

    arguments: Arguments
    up = True  # a group needs nobody in it

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._hearing: Datagrams | None = None
        self._sending: Datagrams | None = None
        self._own: Address = ()
        self._stray = Counters()

    async def open(self) -> None:
        """Join the group; raises `ElementError`."""
        group = (self.arguments.group.host, self.arguments.group.port)
        endpoint = self.endpoint
        hearing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            own = str(self.arguments.local or self._own_address(group))
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, sockets.RECEIVE_BUFFER)
            hearing.bind(group)
            if sys.platform == "linux":
                # Otherwise the kernel delivers what any socket of this computer has joined, whatever it is.
                hearing.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            member = socket.inet_aton(str(group[0])) + socket.inet_aton(own)
            hearing.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            # Others on this computer are to hear; what comes back to us is known by this socket's own port.
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
            sending.bind((own, 0))
        except OSError as error:
            hearing.close()
            sending.close()
            raise ElementError(
                f"{self.arguments.group}: {error.strerror}; 'local ADDR' chooses the network to use"
            ) from error
        self._own = sending.getsockname()
        self._hearing = Datagrams(
            hearing, self._arrived, endpoint.hold_machine, self.log, Counters(), endpoint.received
        )
        self._sending = Datagrams(
            sending, self._strayed, endpoint.hold_machine, self.log, endpoint.sent, self._stray
        )
        endpoint.carrier = self

    async def close(self) -> None:
        """Leave the group."""
        self.endpoint.carrier = None
        for datagrams in (self._hearing, self._sending):
            if datagrams is not None:
                datagrams.close()

    def send(self, items: Sequence[Frame | Run]) -> None:
        """Send to the group."""
        assert self._sending is not None, "an endpoint has its carrier once it is open"
        self._sending.send(items, (self.arguments.group.host, self.arguments.group.port))

    def pause(self, paused: bool) -> None:
        """Do nothing: a group does not notice."""

    def _arrived(self, items: list[Frame | Run], address: Address) -> None:
        received = self.endpoint.received
        if address == self._own:
            received.frames -= frame.count(items)
            received.bytes -= sum(len(item.data) if isinstance(item, Run) else len(item) for item in items)
        else:
            self.endpoint.deliver(items)

    def _strayed(self, items: list[Frame | Run], address: Address) -> None:
        """Whether a datagram was sent to this socket instead of the group."""
        self.endpoint.received.drops["not to the group"] += frame.count(items)

    @staticmethod
    def _own_address(group: tuple[str | None, int]) -> str:
        """The source address that the system would use for the group."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(group)
            return str(probe.getsockname()[0])
