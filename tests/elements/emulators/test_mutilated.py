"""Whatever arrives in a format with a header of its own is a frame or is counted; nothing raises."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from typing import Literal

import pytest

from tests.support.aio import TIMEOUT, run
from tests.support.fuzzing import scaled
from tests.support.machines import Machine, frame
from tests.support.statements import make
from tmelink.element import Port, connect
from tmelink.elements.emulators.box86 import Box86
from tmelink.elements.emulators.cable import Endpoint
from tmelink.elements.emulators.l2tpv3 import L2tpV3
from tmelink.elements.emulators.ltoudp import LtoUdp
from tmelink.elements.emulators.stream_carrier import StreamCarrier
from tmelink.transport import streams

LLAP = bytes.fromhex("00001234 05 06 01") + bytes(60)
DIGEST = hashlib.sha3_256(b"retro").digest()


def mutilated(good: bytes, count: int) -> list[bytes]:
    """Copies of a datagram with bytes that are others, missing, or too many."""
    chance = random.Random(7)
    found = []
    for _ in range(count):
        data = bytearray(good)
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randrange(len(data) + 1) :]
        data += chance.randbytes(chance.choice((0, 0, 0, 1, 700)))
        found.append(bytes(data))
    return found


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("module", "line", "good"),
    [
        ("tmelink/86box", "secret retro", DIGEST + frame(1)),
        ("tmelink/ltoudp", "", LLAP),
        (
            "tmelink/l2tpv3",
            "local 127.0.0.1 remote 127.0.0.2 session 7 cookie 01020304",
            b"\x45" + bytes(19) + b"\0\0\0\7\1\2\3\4" + frame(1),
        ),
        (
            "tmelink/l2tpv3",
            "local 127.0.0.1:1 remote 127.0.0.2:1 session 7 counter",
            b"\0\3\0\0\0\0\0\7\0\0\0\1" + frame(1),
        ),
    ],
)
def test_what_arrives_is_opened_or_counted(module: str, line: str, good: bytes) -> None:
    element = make(module, line)
    assert isinstance(element, Box86 | L2tpV3 | LtoUdp)
    items = [*mutilated(good, scaled(5_000)), b"", good]
    opened = element._open(items)
    drops = sum(element.endpoint.received.drops.values())
    assert len(opened) + drops == len(items)
    assert len(opened) >= 1
    assert drops >= 1


@pytest.mark.fuzz
def test_what_is_not_localtalk_does_not_leave_an_ethernet() -> None:
    element = make("tmelink/ltoudp", "")
    assert isinstance(element, LtoUdp)
    (carried,) = element._open([LLAP])
    assert element._seal([carried]) == [LLAP]
    items = mutilated(bytes(carried), scaled(5_000))  # type: ignore[arg-type]
    left = element._seal(items)
    assert len(left) + sum(element.endpoint.sent.drops.values()) == len(items)
    assert all(7 <= len(each) <= 607 for each in left)


@pytest.mark.fuzz
@pytest.mark.parametrize(("framing", "size"), [("be16", 2), ("le16", 2), ("be32", 4)])
def test_a_mutilated_stream_gives_frames_or_ends(framing: str, size: int) -> None:
    """Whatever comes in a stream, in whatever pieces: frames, counted drops, or the end of the connection."""
    chance = random.Random(3)
    order: Literal["little", "big"] = "little" if framing == "le16" else "big"
    prefix = streams.FRAMINGS[framing]
    good = frame(1)

    async def body() -> None:
        streams_read = ended = frames = 0
        left = scaled(5_000)
        while left > 0:
            here, there = socket.socketpair()
            for end in (here, there):
                end.setblocking(False)
            endpoint = Endpoint()
            machine = Machine(offload=False)
            endpoint.port = Port(machine)
            connect(endpoint.port, machine.port())
            carrier = StreamCarrier(endpoint, here, prefix)
            for _ in range(min(left, 50)):
                left -= 1
                data = bytearray(len(good).to_bytes(size, order) + good)
                for _ in range(chance.choice((0, 0, 0, 1, 4))):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                if chance.random() < 0.1:
                    del data[chance.randrange(len(data)) :]
                try:
                    there.send(data)
                except (BrokenPipeError, ConnectionResetError):
                    break  # An impossible length has ended it.
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            there.close()
            async with asyncio.timeout(TIMEOUT):
                ended += bool(await carrier.over)
            streams_read += 1
            frames += len(machine.got)
            assert all(len(each) >= 14 for each in machine.frames)
        assert streams_read == ended > 0
        assert frames > 0

    run(body)
