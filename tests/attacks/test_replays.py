"""A static key's packets, recorded and sent again after the receiver has started anew.

OpenVPN refuses them with --replay-persist, whose file is the same here; without the option neither does.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

import tmelink
from tests.attacks.places import Place, drops, free_port, run, until


def lab(place: Place, port: int, peer: int, way: int, more: str = "") -> str:
    key = f"--secret {place.static_key()} {way} --cipher AES-256-CBC --disable-occ"
    at = f"--local 127.0.0.1 --lport {port} --remote 127.0.0.1 {peer}"
    return f"le0: tmelink/nic\nlink at le0: tme/host/openvpn/socket/link --dev tap {at} {key} {more}\n"


FRAME = b"\2\0\0\0\0\1\2\0\0\0\0\2\x88\xb5" + bytes(86)


async def recorded(place: Place, port: int, peer: int) -> list[bytes]:
    """What a sender's link puts on the wire for a few frames, as somebody on the path records it."""
    with socket.socket(type=socket.SOCK_DGRAM) as tap:
        tap.bind(("127.0.0.1", port))
        tap.setblocking(False)
        async with tmelink.load(lab(place, peer, port, 1)).run() as sender:
            for _ in range(5):
                sender.nic("le0").send(FRAME)
            return [await asyncio.get_running_loop().sock_recv(tap, 4096) for _ in range(5)]


@pytest.mark.parametrize("kept", [True, False])
def test_recorded_packets_after_a_restart(tmp_path: Path, kept: bool) -> None:
    place = Place(tmp_path)
    port, peer = free_port(), free_port()
    file = tmp_path / "replays"
    text = lab(place, port, peer, 0, f"--replay-persist {file}" if kept else "")

    async def main() -> None:
        packets = await recorded(place, port, peer)
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", peer))
            for turn in range(3):
                async with tmelink.load(text).run() as here:
                    for packet in packets:
                        stranger.sendto(packet, ("127.0.0.1", port))
                    if kept and turn:
                        await until(lambda here=here: drops(here, "/link").get("replayed") == 5)  # type: ignore[misc]
                        assert not here["/link"].up
                    else:
                        await until(lambda here=here: here["/link"].up)  # type: ignore[misc]
                        await until(
                            lambda here=here: here["/link"].counters()["wire received"].frames == 5  # type: ignore[misc]
                        )

    run(main)
    if kept:
        time, number = struct.unpack("=qI4x", file.read_bytes())
        assert number == 5
        assert time > 1_600_000_000
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_none_of_these_is_left_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    file = place.file("notes", "what I must not forget")
    text = lab(place, free_port(), free_port(), 0, f"--replay-persist {file}")

    async def main() -> None:
        with pytest.raises(tmelink.ElementError, match="this file holds something else"):
            async with tmelink.load(text).run():
                pass

    run(main)
    assert Path(file).read_text() == "what I must not forget"
