"""A server's clients: who was admitted, with which addresses, and what crossed the wire for each.

Tells the rest of the server of those that come and go: the bridge or the router, and whoever looks at the
element. Knows neither sockets nor sessions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from tmelink.element import Element
from tmelink.elements.openvpn.server_bridge import ServerBridge
from tmelink.elements.openvpn.server_router import ServerRouter
from tmelink.openvpn.server.address_pool import Lease
from tmelink.openvpn.server.auth_token import AuthToken
from tmelink.openvpn.server.client_config import Welcome
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address

Fabric = ServerBridge | ServerRouter
"""Where frames go between clients and machines."""


@dataclass(slots=True)
class ClientState:
    """A client that was admitted."""

    name: str
    welcome: Welcome
    lease: Lease | None
    up: bool = False
    token: AuthToken | None = None
    username: str = ""
    given_username: str = ""
    """What it logged in as, where --override-username calls it otherwise."""
    since: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def addresses(self) -> str:
        """Its tunnel addresses, for a person to read."""
        return " ".join(str(a) for a in (self.welcome.address, self.welcome.address6) if a is not None)

    @property
    def locked(self) -> bool:
        """Whether its user is the one of --override-username."""
        return bool(self.welcome.username)


class Clients(dict[int, ClientState]):
    """The clients of `server`, by number; `fabric` is where their frames go."""

    def __init__(self, server: Element, fabric: Fabric) -> None:
        super().__init__()
        self._server = server
        self._fabric = fabric

    def named(self, name: str) -> list[int]:
        """The numbers of those with a name."""
        return [number for number, client in self.items() if client.name == name]

    def came_up(self, number: int, address: Address, detail: str) -> None:
        """A client has its keys: its frames may pass."""
        client = self[number]
        client.up, client.since = True, time.time()
        where = f"'{client.name}' at {sockets.show(address)}"
        self._server.happened("client in", where, client=client.name)
        self._fabric.join(number, client.name, client.welcome)
        detail = ", ".join(filter(None, (f"client {where}", client.addresses, detail)))
        if self._server.up:
            self._server.log.info("%s", detail)
        else:
            self._server.changed(True, detail)

    def remove(self, number: int, reason: str = "", address: Address | None = None) -> Lease | None:
        """Forget a client, and return the addresses that it had; a reason is logged."""
        client = self.pop(number, None)
        self._fabric.leave(number)
        if reason:
            self._report_departure(client, reason, address)
        return None if client is None else client.lease

    def _report_departure(self, client: ClientState | None, reason: str, address: Address | None) -> None:
        server = self._server
        who = "a client that had not joined" if client is None else f"client '{client.name}'"
        where = f" at {sockets.show(address)}" if address is not None else ""
        if client is not None:
            server.happened("client out", f"'{client.name}': {reason}", client=client.name)
        if server.up and not any(other.up for other in self.values()):
            server.changed(False, f"{who}{where} left: {reason}")
        else:
            server.log.info("%s%s left: %s", who, where, reason)
