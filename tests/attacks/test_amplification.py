"""What a server sends to an address that may be forged: at most three times what came from there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import tmelink
from tests.attacks.places import Place, free_port, link, run, server
from tests.attacks.strangers import caller, client_hello, control, reset, waiting

MOST = 3
"""As QUIC allows before an address is validated (RFC 9000, section 8.1); OpenVPN answers a reset once."""


@pytest.mark.parametrize("mode", ["server", "two ends", "two ends that float"])
def test_little_goes_to_an_address_that_is_not_proven(tmp_path: Path, mode: str) -> None:
    """The reset, and the ClientHello with nothing acknowledged: all that can be sent blindly."""
    place = Place(tmp_path)
    port = free_port()
    at = f"--local 127.0.0.1 --lport {port} --tls-timeout 1 {place.identity('server', 'server')}"
    floats = " --float" if mode.endswith("float") else ""
    text = server(at) if mode == "server" else link("a", f"{at} --tls-server{floats}", "10.8.0.1")

    async def main() -> None:
        async with tmelink.load(text).run():
            with caller() as victim:
                sent = 0
                for packet in (reset(b"spoofed."), control(b"spoofed.", 1, client_hello())):
                    sent += victim.sendto(packet, ("127.0.0.1", port))
                    await asyncio.sleep(0.1)
                await asyncio.sleep(4)
                received = waiting(victim)
                assert received, "a reset is answered"
                assert sum(map(len, received)) <= MOST * sent, (sent, [len(packet) for packet in received])
                assert sum(map(len, received)) <= MOST * 14

    run(main)
