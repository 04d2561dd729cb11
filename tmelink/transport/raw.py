"""A raw IPv4 socket of the host for one IP protocol and one peer: whole packets in and out (raw(7)).

This module does not know what follows a packet's IP header. The kernel reassembles fragments, and says how
large a packet the path takes. Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterable

from tmelink.errors import ElementError, MissingCapability
from tmelink.frame import Counters, Frame
from tmelink.transport import sockets

IP_MTU = 14
"""The socket option for the path MTU of a connected socket (ip(7))."""

READS = 64
"""The most packets in one wakeup, so that others get their turn."""

LARGEST = 65536
"""Room for the largest packet."""


class RawSocket:
    """A socket for `protocol` between two addresses, on the running event loop.

    `receive` is called with the packets that arrived, each with its IPv4 header, in buffers that are reused
    once it returns.
    """

    def __init__(
        self,
        protocol: int,
        local: str,
        remote: str,
        receive: Callable[[list[Frame]], None],
        sent: Counters,
        received: Counters,
    ) -> None:
        self.sent = sent
        self.received = received
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._socket = _make(protocol, local, remote)
        memory = memoryview(bytearray(READS * LARGEST))
        self._buffers = [memory[at : at + LARGEST] for at in range(0, len(memory), LARGEST)]
        self._loop.add_reader(self._socket.fileno(), self._read)

    @property
    def mtu(self) -> int:
        """The largest packet that the path to the peer takes, as far as it is known."""
        return self._socket.getsockopt(socket.IPPROTO_IP, IP_MTU)

    def send(self, packets: Iterable[Frame]) -> None:
        """Send whole packets; what the kernel refuses is counted by reason."""
        send, sent = self._socket.send, self.sent
        for packet in packets:
            try:
                sent.bytes += send(packet)
                sent.frames += 1
            except OSError as error:
                sent.drops[_reason(error)] += 1

    def close(self) -> None:
        """Stop reading, and close the socket."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        recv_into, received = self._socket.recv_into, self.received
        packets: list[Frame] = []
        try:
            for buffer in self._buffers:
                packets.append(buffer[: recv_into(buffer)])
        except BlockingIOError:
            pass
        except OSError as error:
            # Routers' errors about packets that were sent before.
            self.sent.drops[_reason(error)] += 1
        if packets:
            received.frames += len(packets)
            received.bytes += sum(map(len, packets))
            self._receive(packets)


def _make(protocol: int, local: str, remote: str) -> socket.socket:
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    except PermissionError:
        raise MissingCapability(
            f"a raw socket for IP protocol {protocol}",
            "CAP_NET_RAW",
            "let a link carry the tunnel: 'NAME outer at LINK'",
        ) from None
    try:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, sockets.RECEIVE_BUFFER)
        raw.bind((local, 0))
        raw.connect((remote, 0))
    except OSError as error:
        raw.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ElementError(f"{local} is not an address of this computer: correct 'local'") from error
        raise ElementError(f"from {local} to {remote}: {error.strerror or error}") from error
    return raw


def _reason(error: OSError) -> str:
    if error.errno == errno.EMSGSIZE:
        return "too big for the interface"
    if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
        return "socket full"
    return os.strerror(error.errno) if error.errno else str(error)
