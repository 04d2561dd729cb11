"""VDE's plug protocol on the control socket of its switches, as libvdeplug speaks it.

A plug connects to the stream socket `ctl` in the switch's directory and sends one request: what it wants and
the path of its own datagram socket. The switch answers with the address of the datagram socket that it made
for the plug. Frames go between the two, bare; the control connection stays open for as long as the plug is
in. (vde2's datasock.c and libvdeplug: `struct request_v3`, in the host's byte order, packed.) No I/O.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from tmelink.errors import ProtocolError

MAGIC = 0xFEEDFACE
VERSION = 3
NEW_CONTROL = 0
"""Any free port, or the one whose number is in the type's upper bits."""

NEW_PORT0 = 1
"""A port that is not connected until the switch's administrator connects it."""

MAX_DESCRIPTION = 128
"""Bytes of a plug's description, with its final zero (libvdeplug's MAXDESCR)."""

ADDRESS = struct.Struct("=H108s")
"""`struct sockaddr_un` (man 7 unix)."""

_HEAD = struct.Struct("=III")
MIN_REQUEST = _HEAD.size + ADDRESS.size
MAX_REQUEST = MIN_REQUEST + MAX_DESCRIPTION


class VdeRequest(NamedTuple):
    """A plug's request; `port` 0 is any free port.

    `path` is that of the plug's own datagram socket, or its abstract name: all 108 bytes, the first zero.
    """

    path: str | bytes
    port: int = 0
    description: str = ""

    def build(self) -> bytes:
        """The request as bytes for the control socket."""
        description = self.description.encode()[: MAX_DESCRIPTION - 1] + b"\0"
        return _HEAD.pack(MAGIC, VERSION, NEW_CONTROL | self.port << 8) + address(self.path) + description


def parse(data: bytes) -> VdeRequest:
    """A request that has arrived; raises `ProtocolError`."""
    if len(data) < MIN_REQUEST:
        raise ProtocolError("short request")
    magic, version, kind = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise ProtocolError("not a request of VDE version 3")
    if kind & 0xFF not in (NEW_CONTROL, NEW_PORT0):
        raise ProtocolError("unknown request")
    description = data[MIN_REQUEST:MAX_REQUEST].split(b"\0")[0].decode(errors="replace")
    return VdeRequest(path(data[_HEAD.size : MIN_REQUEST]), kind >> 8, description)


def address(path: str | bytes) -> bytes:
    """A unix socket's path or abstract name as a `struct sockaddr_un`."""
    return ADDRESS.pack(socket.AF_UNIX, path.encode() if isinstance(path, str) else path)


def path(data: bytes) -> str | bytes:
    """The path in a `struct sockaddr_un`, or the abstract name; raises `ProtocolError`.

    User Mode Linux binds an abstract name, with the whole structure as its length: trailing zeros belong to
    the name (man 7 unix).
    """
    if len(data) < 3:
        raise ProtocolError("no address")
    family, rest = struct.unpack_from("=H", data)[0], data[2 : ADDRESS.size]
    if family != socket.AF_UNIX:
        raise ProtocolError("not a unix socket")
    if rest[0] == 0:
        if not any(rest):
            raise ProtocolError("a unix socket without a name")
        return rest
    try:
        return rest.split(b"\0")[0].decode()
    except UnicodeDecodeError:
        raise ProtocolError("not the path of a unix socket") from None
