"""Reads a handshake from a socket and not one byte more: what follows belongs to the next protocol."""

from __future__ import annotations

import asyncio
import socket


class HandshakeError(Exception):
    """The other side broke the protocol, or refused; the message is for a person."""


async def send(sock: socket.socket, data: bytes) -> None:
    """Send all of `data`."""
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def read_exactly(sock: socket.socket, count: int) -> bytes:
    """`count` bytes; raises `HandshakeError` if the connection ends before."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(sock, count - len(data))
        if not more:
            raise HandshakeError("it closed the connection in the middle of its answer")
        data += more
    return data
