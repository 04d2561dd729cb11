"""Sockets of a test's own on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.support.aio import TIMEOUT

LARGEST = 70_000
"""More bytes than any datagram or frame has."""


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> int:
    """A port that nobody has at the moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def bare_peer() -> socket.socket:
    """A UDP socket with a port of its own."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def dial(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A TCP connection."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def received(sock: socket.socket) -> bytes:
    """The next datagram, frame or part of a stream."""
    async with asyncio.timeout(TIMEOUT):
        return await asyncio.get_running_loop().sock_recv(sock, LARGEST)


def framed(*datagrams: bytes) -> bytes:
    """Datagrams as OpenVPN sends them over TCP: each behind its length, 16 bits."""
    return b"".join(struct.pack("!H", len(datagram)) + datagram for datagram in datagrams)
