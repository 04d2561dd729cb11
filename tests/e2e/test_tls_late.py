"""A packet of openvpn's that somebody on the way holds back: how long after is what --replay-window says."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tests.e2e.secured import Site
from tests.support.aio import TIMEOUT
from tests.support.netns import Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn")]

LINK = "tme/host/openvpn/socket/link"
OURS, THEIRS = "10.9.0.1", "10.9.0.2"
PORT = 1194
LARGE = 600
"""Bytes that a ping may be recognized by."""


class Relay(asyncio.DatagramProtocol):
    """Stands between two ends that each take it for the other; may hold back the next large datagram."""

    def __init__(self, ours: str, theirs: str) -> None:
        self._other = {ours: (theirs, PORT), theirs: (ours, PORT)}
        self._theirs = theirs
        self.hold = False
        self.held: asyncio.Queue[bytes] = asyncio.Queue()
        self.large_answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        large = len(data) > LARGE and data[0] >> 3 == 9
        if large and addr[0] == self._theirs and self.hold:
            self.hold = False
            self.held.put_nowait(data)
            return
        self.large_answers += large and addr[0] != self._theirs
        self._transport.sendto(data, self._other[addr[0]])

    def release(self, data: bytes) -> None:
        self._transport.sendto(data, self._other[self._theirs])


@pytest.mark.parametrize(("seconds", "taken"), [(1, False), (60, True)])
def test_a_packet_held_back(net: Net, seconds: int, taken: bool) -> None:
    site = Site(net)
    a, between, b, _hub = net.internet(3)
    relay = Relay(a.addresses[0], b.addresses[0])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        local = (between.addresses[0], PORT)
        transport, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=local)
        stock = site.openvpn(
            b,
            f"--dev tap0 --ifconfig {THEIRS} 255.255.255.0 --remote {local[0]} --tls-client "
            f"{site.identity('theirs', 'client')}",
        )
        await asyncio.to_thread(
            a.tmelink,
            f"own: tme/host/tun/tap interface own0 inet {OURS}/24\n"
            f"link at own: {LINK} --dev tap --remote {local[0]} --tls-server --replay-window 64 {seconds} "
            f"{site.identity('ours', 'server')}\n",
            until="link: up",
        )
        await asyncio.to_thread(stock.expect, "Initialization Sequence Completed")
        await asyncio.to_thread(b.ping, OURS)
        relay.hold = True
        await asyncio.to_thread(b.run, "ping", "-c", "1", "-W", "1", "-s", str(LARGE), OURS, check=False)
        async with asyncio.timeout(TIMEOUT):
            late = await relay.held.get()
        # Later packets come at once, and one 2 seconds after them.
        await asyncio.to_thread(b.run, "ping", "-c", "2", "-i", "2.1", OURS)
        assert relay.large_answers == 0
        relay.release(late)
        await asyncio.to_thread(b.ping, OURS)
        assert relay.large_answers == taken
        transport.close()

    between.call(main)
