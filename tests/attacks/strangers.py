"""Hostile peers: packets of OpenVPN's control channel built by hand, and sockets that send them.

Written from OpenVPN's "network protocol" pages and not with tmelink's own codecs, so that a mistake in those
does not hide here. A stranger has no certificate; where an attacker is to have the wrapping key, the test
gives it one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator

TIMEOUT = 20
"""Seconds to await what must come."""

CONTROL_V1, ACK_V1, RESET_CLIENT_V2, RESET_SERVER_V2, DATA_V2 = 4, 5, 7, 8, 9

Address = tuple[str, int]


def reset(session: bytes) -> bytes:
    """A client's first packet, without a wrapping: 14 bytes."""
    return bytes((RESET_CLIENT_V2 << 3,)) + session + b"\0" + struct.pack(">I", 0)


def server_reset(session: bytes) -> bytes:
    """What a server answers a reset with, as it can be forged: it acknowledges nothing."""
    return bytes((RESET_SERVER_V2 << 3,)) + session + b"\0" + struct.pack(">I", 0)


def acks(acked: bytes, numbers: tuple[int, ...]) -> bytes:
    """The acknowledgements of a packet: how many, which, and of whose session."""
    return (
        bytes((len(numbers),)) + b"".join(struct.pack(">I", n) for n in numbers) + (acked if numbers else b"")
    )


def ack(session: bytes, acked: bytes, *numbers: int) -> bytes:
    """An ACK_V1."""
    return bytes((ACK_V1 << 3,)) + session + acks(acked, numbers)


def control(session: bytes, number: int, payload: bytes, acked: bytes = b"", *numbers: int) -> bytes:
    """A CONTROL_V1 with a stretch of TLS."""
    return bytes((CONTROL_V1 << 3,)) + session + acks(acked, numbers) + struct.pack(">I", number) + payload


def data(peer: int, payload: bytes) -> bytes:
    """A P_DATA_V2 that no key has sealed."""
    return bytes((DATA_V2 << 3,)) + peer.to_bytes(3, "big") + payload


def session_of(packet: bytes) -> bytes:
    """The session id of whoever sent a control packet."""
    return packet[1:9]


def client_hello() -> bytes:
    """What TLS begins with."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def framed(*datagrams: bytes) -> bytes:
    """Datagrams as they go over TCP."""
    return b"".join(struct.pack(">H", len(datagram)) + datagram for datagram in datagrams)


@contextlib.contextmanager
def caller(address: Address = ("127.0.0.1", 0)) -> Iterator[socket.socket]:
    """A UDP socket of a stranger's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.setblocking(False)
        yield sock


async def answer(sock: socket.socket, seconds: float = TIMEOUT) -> bytes:
    """The next datagram."""
    async with asyncio.timeout(seconds):
        return await asyncio.get_running_loop().sock_recv(sock, 65536)


def waiting(sock: socket.socket) -> list[bytes]:
    """The datagrams that have come."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(65536))
    return found


class Callers:
    """TCP connections of strangers, closed at the end of the block."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._all: list[socket.socket] = []

    def __enter__(self) -> Callers:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._all:
            sock.close()

    async def call(self, count: int, first: bytes = b"") -> list[socket.socket]:
        """So many connections more, each of which says `first` and nothing after it."""
        found = []
        for _ in range(count):
            sock = socket.socket()
            self._all.append(sock)
            sock.setblocking(False)
            async with asyncio.timeout(TIMEOUT):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
            if first:
                sock.send(first)
            found.append(sock)
        return found


def gone(sock: socket.socket) -> bool:
    """Whether the other end has closed a connection; what it sent before is passed over."""
    try:
        while sock.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
