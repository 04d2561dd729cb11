"""A server's Ethernet: a learning switch with a port for each client and each of the machine's connections.

The switch is `tmelink.elements.openvpn.guarded_switch`. This module knows no session and no socket: frames
come from clients by number and go to them through a function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tmelink import frame
from tmelink.element import Element, Port, connect, disconnect
from tmelink.elements.builtin.learning_segment import AGEING
from tmelink.elements.builtin.port_rules import PortRules
from tmelink.elements.builtin.station_addresses import MAC
from tmelink.elements.builtin.switch_arguments import SwitchArguments
from tmelink.elements.openvpn.guarded_switch import GuardedSwitch
from tmelink.elements.openvpn.server_frames import frames_of
from tmelink.frame import Burst, Frame
from tmelink.offload import cut
from tmelink.openvpn.options.values import ServerVlans
from tmelink.openvpn.server.client_config import Welcome
from tmelink.openvpn.session import Item
from tmelink.values import HIGHEST_VLAN


class _Side(Element):
    """The element behind one port of the switch; `deliver` takes what the switch sends there.

    `deliver_one` takes a frame that comes alone.
    """

    def __init__(
        self, name: str, deliver: Callable[[Port, Burst], None], deliver_one: Callable[[Frame], None]
    ) -> None:
        super().__init__("side", None)
        self.name = name
        self._deliver = deliver
        self._deliver_one = deliver_one

    def make_port(self) -> Port:
        return Port(self, offload=True)

    def receive(self, port: Port, burst: Burst) -> None:
        self._deliver(port, burst)

    def receive_one(self, port: Port, frame: Frame) -> None:
        self._deliver_one(frame)


class ServerBridge:
    """`send(client, items)` takes frames for a client, `send_one` one that goes alone.

    `drops` counts frames that no client may get.

    Unless `client_to_client`, clients reach the machine's connections and not each other. `quota` is how many
    stations there may be behind a client. `vlans` says how VLANs are told apart, None that they are not.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[int, Sequence[Item]], None],
        send_one: Callable[[int, Frame], None],
        drops: Counter[str],
        *,
        client_to_client: bool,
        ageing: float | None,
        quota: int = 256,
        vlans: ServerVlans | None = None,
    ) -> None:
        self.switch = GuardedSwitch(
            name,
            SwitchArguments(ageing=ageing or AGEING, transparent=True, loop_probe=0.0),
            own=self._own_stations,
            quota=quota,
            isolated=not client_to_client,
        )
        self._vlans = vlans
        self._send = send
        self._send_one = send_one
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
        self._machine[port] = self._plug(
            _Side("here", lambda _side, burst: port.send(burst), port.send_one),
            None if self._vlans is None else _own_rules(self._vlans),
        )

    def join(self, client: int, name: str, welcome: Welcome) -> None:
        """A client is up."""

        def deliver(port: Port, burst: Burst) -> None:
            if self._isolated and self._from_client:
                self._drops["no --client-to-client"] += len(burst.frames)
            else:
                self._send(client, cut(burst, port.sent))

        def deliver_one(frame: Frame) -> None:
            if self._isolated and self._from_client:
                self._drops["no --client-to-client"] += 1
            else:
                self._send_one(client, frame)

        side = self._clients[client] = self._plug(
            _Side(f"client {client} '{name}'", deliver, deliver_one),
            None if self._vlans is None else _client_rules(self._vlans, welcome),
        )
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
                found.setdefault(numbers[port], []).append(mac[:MAC])
        return found

    def from_client(self, client: int, items: Sequence[Item]) -> None:
        """Frames from a client."""
        side = self._clients.get(client)
        if side is None:
            self._drops["frame before admission"] += frame.count(items)
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

    def one_from_client(self, client: int, frame: Frame) -> None:
        """A frame from a client that comes alone."""
        side = self._clients.get(client)
        if side is None:
            self._drops["frame before admission"] += 1
            return
        before, self._from_client = self._from_client, True
        try:
            side.send_one(frame)
        finally:
            self._from_client = before

    def one_from_machine(self, port: Port, frame: Frame) -> None:
        """A frame from one of the machine's connections that comes alone."""
        before, self._from_client = self._from_client, False
        try:
            self._machine[port].send_one(frame)
        finally:
            self._from_client = before

    def _plug(self, side: _Side, rules: PortRules | None) -> Port:
        own, port = side.port(), self.switch.member_port(rules)
        port.sent.drops = self._drops
        connect(own, port)
        return own

    def _own_stations(self) -> frozenset[bytes]:
        """The addresses of the elements that the server is connected to."""
        peers = [port.peer for port in self._machine if port.peer is not None]
        return frozenset().union(*(peer.element.stations(peer) for peer in peers))


_EVERY = frozenset(range(1, HIGHEST_VLAN + 1))


def _own_rules(vlans: ServerVlans) -> PortRules:
    """The machine's connections: `--vlan-accept`."""
    if vlans.accept == "untagged":
        return PortRules(vlan=True, access=vlans.pvid)
    return PortRules(vlan=True, trunk=_EVERY, native=vlans.pvid if vlans.accept == "all" else None)


def _client_rules(vlans: ServerVlans, welcome: Welcome) -> PortRules:
    """A client: `--vlan-pvid` of its file, and `--vlan-trunk` where it has tags."""
    if welcome.vlan_trunk:
        return PortRules(vlan=True, trunk=welcome.vlan_trunk, native=welcome.vlan_pvid)
    return PortRules(vlan=True, access=welcome.vlan_pvid or vlans.pvid)
