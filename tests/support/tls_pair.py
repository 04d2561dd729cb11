"""Two ends with TLS, joined in memory."""

from __future__ import annotations

from typing import Any

from tests.support.grouped import tls as tls_settings
from tests.support.pki import Authority, Pair
from tests.support.wire import START, Wire, wall
from tmelink.frame import Run
from tmelink.openvpn.session import (
    Up,
)
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.session import TlsSession

AUTHORITY = Authority(START)
SERVER = AUTHORITY.issue("server.test", "server")
CLIENT = AUTHORITY.issue("client.test", "client")
STATIC = bytes(range(256))
FRAME = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + bytes(86)


def files(pair: Pair, **more: Any) -> TlsFiles:
    return TlsFiles(**{"certificate": pair.pem, "private_key": pair.key_pem, "ca": AUTHORITY.own.pem} | more)


def session(
    *, server: bool, tls: dict[str, Any] | None = None, pair: Pair | None = None, **more: Any
) -> TlsSession:
    pair = pair or (SERVER if server else CLIENT)
    context = TlsContext(files(pair, **(tls or {})), server=server)
    return TlsSession(tls_settings(server=server, **more), context, wall)


def equals(loss: float = 0, seed: int = 0, **more: Any) -> Wire:
    return Wire(session(server=False, **more), session(server=True, **more), loss=loss, seed=seed)


def up(wire: Wire, until: float = 10) -> Wire:
    wire.begin()
    wire.run(until)
    assert wire.client.of(Up), wire.client.events
    assert wire.server.of(Up), wire.server.events
    return wire


def carries(wire: Wire) -> None:
    """Frames pass both ways, singly and in runs."""
    run = Run(memoryview(FRAME * 20), len(FRAME))
    for end in (wire.client, wire.server):
        before = len(wire.other(end).frames)
        wire.send(end, FRAME, FRAME[:60])
        wire.do(end, end.session.send([run], wire.now))
        wire.run(wire.now + 1)
        assert wire.other(end).frames[before:] == [FRAME, FRAME[:60], *[FRAME] * 20]
