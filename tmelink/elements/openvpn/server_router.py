"""A server in tun mode: IP packets go to the client with their destination, and come only from its addresses.

Which client has which address is `tmelink.openvpn.server.inner_routes`'. Knows no session and no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

from tmelink.element import Port
from tmelink.elements.openvpn.server_frames import frames_of
from tmelink.frame import Burst, Counters, Frame
from tmelink.offload import cut
from tmelink.openvpn.server.client_config import Welcome
from tmelink.openvpn.server.inner_routes import InnerRoutes
from tmelink.openvpn.session import Item

Head = tuple[bytes, bytes]
"""Source and destination of a packet; empty for anything else."""

MACHINE = -1
"""The target of packets that are for no client."""


class ServerRouter:
    """`send(client, items)` takes packets for a client, `send_one` one that goes alone.

    `received.drops` counts undeliverable packets.
    """

    def __init__(
        self,
        send: Callable[[int, Sequence[Item]], None],
        send_one: Callable[[int, Frame], None],
        received: Counters,
        note: Callable[[str], None],
        *,
        client_to_client: bool,
    ) -> None:
        self._send = send
        self._send_one = send_one
        self._received = received
        self._note = note
        self._client_to_client = client_to_client
        self._routes = InnerRoutes()
        self._clients: set[int] = set()
        self._ports: list[Port] = []

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    def add_machine(self, port: Port) -> None:
        """Set the connection of the server element itself."""
        self._ports.append(port)

    def join(self, client: int, name: str, welcome: Welcome) -> None:
        """A client is up, with its addresses and the networks behind it."""
        self._clients.add(client)
        own = [IPv4Network(welcome.address)] if welcome.address else []
        own6 = [IPv6Network(welcome.address6)] if welcome.address6 else []
        for network in self._routes.add(client, (*own, *own6, *welcome.routes, *welcome.routes6)):
            self._note(f"client '{name}': {network} belongs to another client")

    def leave(self, client: int) -> None:
        """A client is gone."""
        self._clients.discard(client)
        self._routes.remove(client)

    def from_client(self, client: int, items: Sequence[Item]) -> None:
        """Packets from a client."""
        burst = frames_of(items, self._ports, ip=True)
        self._divide(burst, lambda head: self._targets_from(client, head), client)

    def stations(self) -> dict[int, list[bytes]]:
        """None: packets have no MAC addresses."""
        return {}

    def from_machine(self, port: Port, burst: Burst) -> None:
        """Packets from the machine."""
        self._divide(burst, self._targets_to, MACHINE)

    def one_from_client(self, client: int, packet: Frame) -> None:
        """A packet from a client that comes alone."""
        self._pass_one(packet, self._targets_from(client, _head(packet)), client)

    def one_from_machine(self, port: Port, packet: Frame) -> None:
        """A packet from the machine that comes alone."""
        self._pass_one(packet, self._targets_to(_head(packet)), MACHINE)

    def _pass_one(self, packet: Frame, targets: Sequence[int] | str, sender: int) -> None:
        if isinstance(targets, str):
            self._received.drops[targets] += 1
            return
        for target in targets:
            if target == sender:
                continue
            if target != MACHINE:
                self._send_one(target, packet)
            elif self._ports:
                self._ports[0].send_one(packet)
            else:
                self._received.drops["not connected"] += 1

    def _targets_from(self, client: int, head: Head) -> Sequence[int] | str:
        source, destination = head
        if not source:
            return "not IP"
        if self._routes.find(source) != client:
            return "source is not the client's"
        if not self._client_to_client:
            return (MACHINE,)
        if _for_all(destination):
            return (MACHINE, *(other for other in self._clients if other != client))
        found = self._routes.find(destination)
        return (MACHINE,) if found is None else (found,)

    def _targets_to(self, head: Head) -> Sequence[int] | str:
        destination = head[1]
        if not destination:
            return "not IP"
        if _for_all(destination):
            return tuple(self._clients)
        found = self._routes.find(destination)
        return "no client has this address" if found is None else (found,)

    def _divide(self, burst: Burst, targets_of: Callable[[Head], Sequence[int] | str], sender: int) -> None:
        frames, gso = burst.frames, burst.gso
        heads = list(map(_head, frames))
        queues: dict[int, list[int]] = {}
        targets = {head: targets_of(head) for head in dict.fromkeys(heads)}
        for index, head in enumerate(heads):
            found = targets[head]
            if isinstance(found, str):
                self._received.drops[found] += 1
                continue
            for target in found:
                if target != sender:
                    queues.setdefault(target, []).append(index)
        for target, queue in queues.items():
            part = burst
            if len(queue) < len(frames):
                part = Burst([frames[i] for i in queue], None if gso is None else [gso[i] for i in queue])
            if target != MACHINE:
                self._send(target, cut(part, self._received, ip=True))
            elif self._ports:
                self._ports[0].send(part)
            else:
                self._received.drops["not connected"] += len(queue)


def _head(packet: Frame) -> Head:
    version = packet[0] >> 4 if len(packet) else 0
    if version == 4 and len(packet) >= 20:
        return bytes(packet[12:16]), bytes(packet[16:20])
    if version == 6 and len(packet) >= 40:
        return bytes(packet[8:24]), bytes(packet[24:40])
    return b"", b""


def _for_all(destination: bytes) -> bool:
    """Multicast, or IPv4's broadcast."""
    first = destination[0]
    return first == 0xFF if len(destination) == 16 else first >> 4 == 0xE or destination == b"\xff" * 4
