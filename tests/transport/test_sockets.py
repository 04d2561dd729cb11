"""Sockets as links ask for them."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from tmelink.errors import ElementError
from tmelink.transport import sockets
from tmelink.transport.sockets import SocketOptions


@pytest.mark.parametrize("address", [("127.0.0.1", 0), ("::1", 0)])
def test_a_stream_sends_at_once_at_either_end(address: tuple[str, int]) -> None:
    family = sockets.literal_family(address[0])
    assert family is not None
    with sockets.make_socket(family, socket.SOCK_STREAM, SocketOptions(), address) as listening:
        listening.listen()
        with sockets.make_socket(family, socket.SOCK_STREAM, SocketOptions(), None) as dialling:
            dialling.setblocking(True)
            dialling.connect(listening.getsockname())
            listening.setblocking(True)
            accepted, _ = listening.accept()
            with accepted:
                for end in (dialling, accepted):
                    assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_buffers_are_as_asked_for() -> None:
    options = SocketOptions(send_buffer=100_000, receive_buffer=90_000)
    with sockets.make_socket(socket.AF_INET, socket.SOCK_DGRAM, options, ("127.0.0.1", 0)) as sock:
        # Linux keeps as much again for itself (socket(7)).
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) in (100_000, 200_000)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (90_000, 180_000)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EMFILE, "raise its limit with 'ulimit -n NUMBER', or with LimitNOFILE=NUMBER in its unit"),
        (errno.ENFILE, "raise its limit with 'sysctl fs.file-max=NUMBER'"),
        (errno.EAFNOSUPPORT, "this system has no IPv4 sockets: "),
        (errno.ENOBUFS, "a socket at 127.0.0.1:5000: No buffer space available"),
    ],
)
def test_why_there_is_no_socket(number: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(ElementError) as refused:
        sockets.make_socket(socket.AF_INET, socket.SOCK_DGRAM, sockets.SocketOptions(), ("127.0.0.1", 5000))
    assert remedy in str(refused.value)
    assert ("no IPv4" in str(refused.value)) == (number == errno.EAFNOSUPPORT)
