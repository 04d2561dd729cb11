"""`tmelink/ipxnet`: DOSBox's IPX tunnel server, whose clients are stations of an Ethernet."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from tmelink import frame, values
from tmelink.arguments import keyword
from tmelink.element import Claim
from tmelink.elements.emulators.cable import Cable
from tmelink.encapsulation.ipx import (
    BROADCAST,
    FORMS,
    NOBODY,
    IpxAddresses,
    build_ipx,
    from_frame,
    in_frame,
    parse_ipx,
)
from tmelink.errors import ProtocolError
from tmelink.frame import Frame, Run, pieces
from tmelink.transport import endpoints, sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.endpoints import Inet

REGISTRATION: Final = 2
"""The socket to which a client says that it is there, and gets its node."""

SERVER_NETWORK: Final = 1
"""The network that the server gives as its own when it answers."""

MOST_CLIENTS: Final = 256
"""With more, the one that was silent for longest makes room."""

GROUP_BIT: Final = 1


@dataclass
class _DosBox:
    """A DOSBox: where it is, and when it was heard."""

    address: Address
    heard: float


class IpxNet(Cable):
    """DOSBox's IPX tunnel server ("ipxnet connect"): each DOSBox is a station on the Ethernet.

    A client's node address is made from its IP address and port, as in DOSBox's own server, with the group
    bit cleared. Clients reach each other and the Ethernet. `frame` is the frame type that the machines there
    use; the element accepts every type. The format has no security: anyone who can reach the port can join.
    """

    example = """\
sw0: tmelink/switch
dos at sw0: tmelink/ipxnet local 213 frame 802.3
"""

    @dataclass(frozen=True)
    class Arguments:
        """This end, and the form of frames on the Ethernet."""

        local: Inet = keyword("[ADDR:]PORT", endpoints.local, help="where clients connect (DOSBox uses 213)")
        frame: str = keyword(
            "FORM", values.choice(*FORMS), default="ethernet-ii", help=f"on the Ethernet: {', '.join(FORMS)}"
        )

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._clients: dict[bytes, _DosBox] = {}
        self._datagrams: Datagrams | None = None
        self._own = NOBODY

    def claims(self) -> list[Claim]:
        """The local address and port."""
        local = self.arguments.local
        return [Claim("udp", (local.host or "", local.port))]

    async def open(self) -> None:
        """Bind the socket; raises `ElementError`."""
        local, endpoint = self.arguments.local, self.endpoint
        here = (local.host or "0.0.0.0", local.port)
        options = sockets.SocketOptions(receive_buffer=sockets.RECEIVE_BUFFER)
        words = sockets.Words("'local'", "the address after 'local'")
        sock = sockets.make_socket(socket.AF_INET, socket.SOCK_DGRAM, options, here, words)
        self._own = node_of(here)
        held, sent, received = endpoint.hold_machine, endpoint.sent, endpoint.received
        self._datagrams = Datagrams(sock, self._arrived, held, self.log, sent, received, segment=False)
        endpoint.carrier = self
        self.changed(True, "no client yet")

    async def close(self) -> None:
        """Close the socket."""
        self.endpoint.carrier = None
        self._clients.clear()
        if self._datagrams is not None:
            self._datagrams.close()

    def send(self, items: Sequence[Frame | Run]) -> None:
        """Frames from the Ethernet: IPX goes to the client whose node it is for, or to all."""
        drops = self.endpoint.sent.drops
        for each in pieces(items):
            packet = from_frame(each) if len(each) >= frame.MIN_FRAME else None
            if packet is None:
                drops["not IPX"] += 1
                continue
            try:
                addresses = parse_ipx(packet)
            except ProtocolError as error:
                drops[str(error)] += 1
                continue
            to = bytes(each[:6])
            if to[0] & GROUP_BIT:
                self._to_all(packet[: addresses.length])
            elif (client := self._clients.get(to)) is not None:
                self._to(client.address, packet[: addresses.length])
            else:
                drops["no such client"] += 1

    def pause(self, paused: bool) -> None:
        """Do nothing: a client over UDP does not notice."""

    def _arrived(self, items: list[Frame | Run], address: Address) -> None:
        drops = self.endpoint.received.drops
        onward: list[Frame] = []
        node = node_of(address)
        for packet in pieces(items):
            try:
                addresses = parse_ipx(packet)
            except ProtocolError as error:
                drops[str(error)] += 1
                continue
            if addresses.to_socket == REGISTRATION and addresses.to_node == NOBODY:
                self._register(node, address)
                continue
            client = self._clients.get(node)
            if client is None or addresses.from_node != node:
                drops["not a client's node"] += 1
                continue
            client.heard = monotonic()
            packet, to = packet[: addresses.length], addresses.to_node
            other = self._clients.get(to)
            if other is not None:
                self._to(other.address, packet)
                continue
            if to == BROADCAST:
                self._to_all(packet, but=node)
            onward.append(in_frame(packet, to, node, self.arguments.frame))
        if onward:
            self.endpoint.deliver(onward)

    def _register(self, node: bytes, address: Address) -> None:
        if node not in self._clients and len(self._clients) >= MOST_CLIENTS:
            silent = min(self._clients, key=lambda each: self._clients[each].heard)
            del self._clients[silent]
        if node not in self._clients:
            self.happened("up", f"a DOSBox at {sockets.show(address)}")
        self._clients[node] = _DosBox(address, monotonic())
        self.changed(True, f"{len(self._clients)} clients, {sockets.show(address)} the last")
        answer = IpxAddresses(0, 0, node, REGISTRATION, SERVER_NETWORK, self._own, REGISTRATION)
        self._to(address, build_ipx(answer))

    def _to_all(self, packet: Frame, but: bytes = NOBODY) -> None:
        for node, client in self._clients.items():
            if node != but:
                self._to(client.address, packet)

    def _to(self, address: Address, packet: Frame) -> None:
        assert self._datagrams is not None, "it is open"
        self._datagrams.send([packet], address)


def node_of(address: Address) -> bytes:
    """The node of whoever is at an address: its four bytes and the port's two, never a group's."""
    node = ipaddress.IPv4Address(address[0]).packed + int(address[1]).to_bytes(2, "big")
    return bytes((node[0] & ~GROUP_BIT & 0xFF,)) + node[1:]
