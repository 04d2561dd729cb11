"""What a link and a server drop is counted frame by frame, wherever that happens."""

from __future__ import annotations

from collections import Counter
from typing import Any

import tmelink
from tests.support.aio import run
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.elements.openvpn.server_bridge import ServerBridge
from tmelink.frame import Run
from tmelink.openvpn.options.values import Options
from tmelink.openvpn.session import Item

FRAMES = 14
RUN: list[Item] = [Run(memoryview(bytes(FRAMES * 100 - 40)), 100)]
"""Fourteen frames, the last shorter than the others."""


def test_a_link_that_is_connected_to_nothing_counts_the_frames_of_a_run() -> None:
    link = Link("link0", Options())
    link.deliver(RUN)
    assert link.received.drops == {"not connected": FRAMES}


def test_a_servers_bridge_counts_the_frames_of_a_client_that_is_gone() -> None:
    drops: Counter[str] = Counter()
    bridge = ServerBridge("server", _nobody, _nobody, drops, client_to_client=True, ageing=None)
    bridge.from_client(3, RUN)
    bridge.one_from_client(3, bytes(60))
    assert drops == {"frame before admission": FRAMES + 1}


def _nobody(client: int, items: object) -> None:
    pass


def test_a_server_counts_the_frames_for_a_client_that_is_gone() -> None:
    class Nobody:
        """A server without clients."""

        def send(self, client: int, items: list[Item], now: float) -> None:
            raise KeyError(client)

    async def body() -> None:
        options = "--dev tap --server 10.8.0.0 255.255.255.0 --ca ca.crt --cert s.crt --key s.key"
        machine = tmelink.load(f"server: tme/host/openvpn/socket/server {options}\n")
        server = machine.elements["/server"]
        assert isinstance(server, Server)
        nobody: Any = Nobody()
        server._server = nobody
        server._send(3, RUN)
        assert server.received.drops == {"client gone": FRAMES}

    run(body)
