"""A server's Ethernet: a learning switch with a port for each client and each of the machine's connections.

The switch is `tmelink.elements.openvpn.guarded_switch`. This module knows no session and no socket: frames
come from clients by number and go to them through a function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tmelink import frame
from tmelink.element import Element, Port, connect, disconnect
from tmelink.elements.builtin.switch import AGEING, Switch
from tmelink.elements.openvpn.guarded_switch import GuardedSwitch
from tmelink.elements.openvpn.server_frames import frames_of
from tmelink.frame import Burst
from tmelink.offload import cut
from tmelink.openvpn.server.client_config import Welcome
from tmelink.openvpn.session import Item


class _Side(Element):
    """The element behind one port of the switch; `deliver` takes what the switch sends there."""

    def __init__(self, name: str, deliver: Callable[[Port, Burst], None]) -> None:
        super().__init__("side", None)
        self.name = name
        self._deliver = deliver

    def make_port(self) -> Port:
        return Port(self, offload=True)

    def receive(self, port: Port, burst: Burst) -> None:
        self._deliver(port, burst)


class ServerBridge:
    """`send(client, items)` takes frames for a client; `drops` counts frames that no client may get.

    Unless `client_to_client`, clients reach the machine's connections and not each other. `quota` is how many
    stations there may be behind a client.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[int, Sequence[Item]], None],
        drops: Counter[str],
        *,
        client_to_client: bool,
        ageing: float | None,
        quota: int = 256,
    ) -> None:
        self.switch = GuardedSwitch(
            name,
            Switch.Arguments(ageing=ageing or AGEING, transparent=True, loop_probe=0.0),
            own=self._own_stations,
            quota=quota,
            isolated=not client_to_client,
        )
        self._send = send
        self._drops = drops
        self._isolated = not client_to_client
        self._from_client = False
        self._clients: dict[int, Port] = {}
        self._machine: dict[Port, Port] = {}

    async def open(self) -> None:
        """Start forwarding."""
        await self.switch.open()

    async def close(self) -> None:
        """Stop forwarding."""
        await self.switch.close()

    def add_machine(self, port: Port) -> None:
        """Add a connection of the server element itself."""
        self._machine[port] = self._plug(_Side("here", lambda _side, burst: port.send(burst)))

    def join(self, client: int, name: str, welcome: Welcome) -> None:
        """A client is up."""

        def deliver(port: Port, burst: Burst) -> None:
            if self._isolated and self._from_client:
                self._drops["no --client-to-client"] += len(burst.frames)
            else:
                self._send(client, cut(burst, port.sent))

        side = self._clients[client] = self._plug(_Side(f"client {client} '{name}'", deliver))
        assert side.peer is not None
        self.switch.add_guest(side.peer, name)

    def leave(self, client: int) -> None:
        """A client is gone."""
        side = self._clients.pop(client, None)
        if side is not None:
            port = side.peer
            disconnect(side)
            assert port is not None
            self.switch.remove_guest(port)

    def stations(self) -> dict[int, list[bytes]]:
        """The MAC addresses that are behind each client."""
        numbers = {side.peer: client for client, side in self._clients.items()}
        found: dict[int, list[bytes]] = {}
        for mac, port, _age in self.switch.table():
            if port in numbers:
                found.setdefault(numbers[port], []).append(mac)
        return found

    def from_client(self, client: int, items: Sequence[Item]) -> None:
        """Frames from a client."""
        side = self._clients.get(client)
        if side is None:
            self._drops["frame of no client"] += frame.count(items)
            return
        before, self._from_client = self._from_client, True
        try:
            side.send(frames_of(items, self._machine, ip=False))
        finally:
            self._from_client = before

    def from_machine(self, port: Port, burst: Burst) -> None:
        """Frames from one of the machine's connections."""
        before, self._from_client = self._from_client, False
        try:
            self._machine[port].send(burst)
        finally:
            self._from_client = before

    def _plug(self, side: _Side) -> Port:
        own, port = side.port(), self.switch.port()
        port.sent.drops = self._drops
        connect(own, port)
        return own

    def _own_stations(self) -> frozenset[bytes]:
        """The addresses of the elements that the server is connected to."""
        peers = [port.peer for port in self._machine if port.peer is not None]
        return frozenset().union(*(peer.element.stations(peer) for peer in peers))
