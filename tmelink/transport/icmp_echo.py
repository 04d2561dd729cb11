"""The round trip to a host by one ICMP echo request (RFC 792, RFC 4443), where this process may send one.

A datagram socket of ICMP's needs net.ipv4.ping_group_range to name one of this user's groups, a raw one
CAP_NET_RAW; the kernel gives the former its identifier, and each its own answers alone by `connect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from tmelink.ip import checksum

ANSWER_SECONDS = 1.0

_HEAD = struct.Struct(">BBHHH")


async def round_trip(host: str) -> float | None:
    """Seconds to the answer of `host`, a literal address; None without one, or without the permission."""
    six = ":" in host
    family = socket.AF_INET6 if six else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as sock:
            sock.setblocking(False)
            sock.connect((host, 0))
            return await _asked(sock, six=six, headers=kind is socket.SOCK_RAW and not six)
    return None


async def _asked(sock: socket.socket, *, six: bool, headers: bool) -> float | None:
    loop = asyncio.get_running_loop()
    request, reply = (128, 129) if six else (8, 0)
    token, identifier = os.urandom(8), os.getpid() & 0xFFFF
    head = _HEAD.pack(request, 0, 0, identifier, 1)
    # That of ICMPv6 is the kernel's to reckon.
    head = _HEAD.pack(request, 0, checksum(head + token), identifier, 1)
    begun = loop.time()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await loop.sock_sendall(sock, head + token)
            while True:
                answer = await loop.sock_recv(sock, 2048)
                if headers:
                    answer = answer[(answer[0] & 15) * 4 :]
                if answer[:1] == bytes((reply,)) and answer[_HEAD.size :] == token:
                    return loop.time() - begun
    except TimeoutError:
        return None
