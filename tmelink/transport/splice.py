"""Two TCP connections joined into one: what arrives on either goes out on the other.

This module does not look at the data. Each direction ends by itself, as in TCP: the end of one is passed on,
and the other continues until it ends too. What one side cannot take is not read from the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

CHUNK = 16 * 1024
"""The most bytes in one turn and direction: each connection keeps two such buffers, however slow it is."""


async def splice(a: socket.socket, b: socket.socket, head: bytes = b"") -> None:
    """Join two connections until both directions have ended, and close both; `head` was read from `a` before.

    An error on one resets both, so that neither side takes a part for the whole.
    """
    directions = [asyncio.create_task(_carry(a, b, head)), asyncio.create_task(_carry(b, a))]
    try:
        await asyncio.gather(*directions)
    except BaseException as error:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
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
        # Neither call waits where there is data and room, and then nothing else would get its turn.
        await asyncio.sleep(0)
    sink.shutdown(socket.SHUT_WR)
