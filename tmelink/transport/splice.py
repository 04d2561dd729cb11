"""Two TCP connections joined into one: what arrives on either goes out on the other.

Knows nothing of what passes. Each way ends by itself, as TCP does: the end of one is passed on, and the other
goes on until it ends too. What one side cannot take is not read from the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

CHUNK = 256 * 1024
"""Bytes a turn and way: enough for full speed, and little enough for the others' turns to come."""


async def splice(a: socket.socket, b: socket.socket, head: bytes = b"") -> None:
    """Join two connections until both ways have ended, and close both; `head` was read from `a` before.

    An error on one is a reset for both, so that nobody takes a part for the whole.
    """
    ways = [asyncio.create_task(_carry(a, b, head)), asyncio.create_task(_carry(b, a))]
    try:
        await asyncio.gather(*ways)
    except BaseException as error:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for sock in (a, b):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if not isinstance(error, OSError):
            raise
    finally:
        a.close()
        b.close()


async def _carry(source: socket.socket, sink: socket.socket, head: bytes = b"") -> None:
    loop = asyncio.get_running_loop()
    if head:
        await loop.sock_sendall(sink, head)
    buffer = memoryview(bytearray(CHUNK))
    while count := await loop.sock_recv_into(source, buffer):
        await loop.sock_sendall(sink, buffer[:count])
        # Neither of the two waits where there is data and room, and then nothing else would have its turn.
        await asyncio.sleep(0)
    sink.shutdown(socket.SHUT_WR)
