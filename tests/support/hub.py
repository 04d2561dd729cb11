"""A server and its clients in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

from tests.support.grouped import GROUPS
from tests.support.grouped import tls as tls_settings
from tests.support.pki import Authority
from tests.support.wire import START, End, pieces, wall
from tmelink.openvpn.server.server import Addressed, TlsServer
from tmelink.openvpn.session import Exit, Joining, Restart
from tmelink.openvpn.tls import wrap as tls_wrap
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.identity import Rules
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import TlsSettings

AUTHORITY = Authority(START)
STATIC = bytes(range(256))
FRAME = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + bytes(86)
SERVER_PEM = tls_wrap.generate_server_key()


def context(name: str, *, server: bool) -> TlsContext:
    pair = AUTHORITY.issue(name, "server" if server else "client")
    files = TlsFiles(certificate=pair.pem, private_key=pair.key_pem, ca=AUTHORITY.own.pem, rules=Rules())
    return TlsContext(files, server=server)


SERVER = context("server", server=True)
CLIENTS = [context(f"client{n}", server=False) for n in range(4)]
KINDS: list[type[Any]] = [TlsSettings, *GROUPS.values()]

SETTINGS = {field.name for kind in KINDS for field in dataclasses.fields(kind)}
"""What settings hold, flat; the rest is said to the server itself."""


class Hub:
    """A server and its clients; each client stands at an address and admits itself."""

    def __init__(self, wrap: tls_wrap.WrapKey = None, **more: Any) -> None:
        settings = {name: more.pop(name) for name in list(more) if name in SETTINGS}
        self.server = TlsServer(tls_settings(server=True, wrap=wrap, **settings), SERVER, wall, **more)
        self.ends: dict[Hashable, End] = {}
        self.streams: set[Hashable] = set()
        """The addresses of those who have connected over TCP."""
        self.frames: list[tuple[int, bytes]] = []
        self.gone: list[tuple[int, str]] = []
        self.now = 0.0
        self._queue: list[tuple[Hashable | None, Hashable, bytes]] = []

    def client(self, address: Hashable, name: int = 0, wrap: tls_wrap.WrapKey = None, **more: Any) -> End:
        settings = tls_settings(server=False, mode="pull", wrap=wrap, **more)
        end = self.ends[address] = End(TlsSession(settings, CLIENTS[name], wall))
        self.do(address, end.session.connected(self.now))
        return end

    def connected(self, address: Hashable) -> None:
        """Somebody has connected over TCP."""
        self.streams.add(address)
        self.take(self.server.opened(address, self.now))

    def do(self, address: Hashable, step: Any) -> None:
        """A client's step."""
        end = self.ends[address]
        self._queue += [(None, address, datagram) for datagram in pieces(step.wire)]
        end.sent += pieces(step.wire)
        end.frames += pieces(step.frames)
        end.events += step.events
        end.took(step)

    def take(self, steps: Sequence[Addressed]) -> None:
        """The server's steps."""
        for client, address, step, _stream in steps:
            self._queue += [(address, address, datagram) for datagram in pieces(step.wire)]
            for frame in pieces(step.frames):
                assert client is not None
                self.frames.append((client, frame))
            for event in step.events:
                assert client is not None
                if isinstance(event, Joining):
                    self.take(
                        self.server.admit(client, [f"ifconfig 10.8.0.{client + 2} 255.255.255.0"], self.now)
                    )
                elif isinstance(event, Restart | Exit):
                    self.gone.append((client, event.reason))

    def run(self, until: float) -> None:
        while True:
            while self._queue:
                to, address, datagram = self._queue.pop(0)
                if to is None:
                    over = self.server.receive_stream if address in self.streams else self.server.receive
                    self.take(over([datagram], address, self.now))
                elif to in self.ends:
                    self.do(to, self.ends[to].session.receive([datagram], self.now))
            deadlines = [end.session.deadline() for end in self.ends.values()] + [self.server.deadline()]
            at = min((at for at in deadlines if at is not None), default=until)
            if at >= until:
                self.now = until
                return
            self.now = max(self.now, at)
            self.take(self.server.tick(self.now))
            for address, end in self.ends.items():
                deadline = end.session.deadline()
                if deadline is not None and deadline <= self.now:
                    self.do(address, end.session.tick(self.now))

    def send(self, address: Hashable, *frames: Any) -> None:
        self.do(address, self.ends[address].session.send(list(frames), self.now))


def addresses(count: int) -> list[tuple[str, int]]:
    return [("192.0.2.1", 5000 + n) for n in range(count)]


def keys(kind: str) -> tuple[tls_wrap.WrapKey, tls_wrap.WrapKey]:
    if kind == "tls-auth":
        return tls_wrap.AuthKey(STATIC, 0), tls_wrap.AuthKey(STATIC, 1)
    if kind == "tls-crypt":
        return tls_wrap.CryptKey(STATIC), tls_wrap.CryptKey(STATIC)
    if kind == "tls-crypt-v2":
        client = tls_wrap.parse_client_key(tls_wrap.generate_client_key(SERVER_PEM, START))
        return tls_wrap.parse_server_key(SERVER_PEM), client
    return None, None
