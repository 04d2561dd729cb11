"""Through a SOCKS5 proxy (RFC 1928): CONNECT for TCP, UDP ASSOCIATE for UDP, user and password (RFC 1929).

It takes a TCP connection to the proxy, and does not know links or options.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass, field

from tmelink.transport.datagrams import Address
from tmelink.transport.handshakes import HandshakeError, read_exactly, send

_CONNECT, _ASSOCIATE = 1, 3
_IPV4, _NAME, _IPV6 = 1, 3, 4
_NO_LOGIN, _PASSWORD, _NONE_OF_THESE = 0, 2, 255

_REFUSALS = {
    1: "general failure",
    2: "its rules do not allow this",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "too many hops",
    7: "it does not know the command",
    8: "it does not know this kind of address",
}
"""RFC 1928, section 6."""


@dataclass(frozen=True, slots=True)
class SocksLogin:
    """User and password, 1 to 255 bytes each."""

    user: str
    password: str = field(repr=False)


async def connect(sock: socket.socket, login: SocksLogin | None, host: str, port: int) -> None:
    """Turn a connection to the proxy into one to `host`:`port`; raises `HandshakeError`."""
    await _greet(sock, login)
    await _request(sock, _CONNECT, host, port)


async def associate(sock: socket.socket, login: SocksLogin | None) -> tuple[str, int]:
    """Ask for a relay for datagrams; returns the host and port to send them to.

    The relay lives as long as the connection. An unspecified address in the answer means the proxy's own. Our
    own address is not sent, as the RFC allows: a NAT in between would change it.
    """
    await _greet(sock, login)
    host, port = await _request(sock, _ASSOCIATE, "::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0)
    if ipaddress.ip_address(host).is_unspecified:
        host = sock.getpeername()[0]
    if port == 0:
        raise HandshakeError("its relay has no port")
    return host, port


async def _greet(sock: socket.socket, login: SocksLogin | None) -> None:
    methods = bytes([_NO_LOGIN] if login is None else [_NO_LOGIN, _PASSWORD])
    await send(sock, bytes([5, len(methods)]) + methods)
    version, method = await read_exactly(sock, 2)
    if version != 5:
        raise HandshakeError(f"it does not speak SOCKS5: its answer begins with {version}")
    if method == _NONE_OF_THESE or method not in methods:
        raise HandshakeError("it needs a user and password" if login is None else "it allows no known login")
    if method == _PASSWORD and login is not None:
        user, password = login.user.encode(), login.password.encode()
        if not (0 < len(user) < 256 and 0 < len(password) < 256):
            raise HandshakeError("user and password must have 1 to 255 bytes each")
        await send(sock, bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        _version, status = await read_exactly(sock, 2)
        if status != 0:
            raise HandshakeError("it refused the user or the password")


async def _request(sock: socket.socket, command: int, host: str, port: int) -> tuple[str, int]:
    await send(sock, bytes([5, command, 0]) + _encode(host, port))
    version, reply, _reserved, kind = await read_exactly(sock, 4)
    if version != 5:
        raise HandshakeError(f"it does not speak SOCKS5: its answer begins with {version}")
    if reply != 0:
        raise HandshakeError(f"it refused: {_REFUSALS.get(reply, f'reason {reply}')}")
    if kind == _IPV4:
        bound = socket.inet_ntop(socket.AF_INET, await read_exactly(sock, 4))
    elif kind == _IPV6:
        bound = socket.inet_ntop(socket.AF_INET6, await read_exactly(sock, 16))
    elif kind == _NAME:
        (length,) = await read_exactly(sock, 1)
        # A name is skipped: a relay's address is always a number.
        await read_exactly(sock, length)
        bound = "0.0.0.0"
    else:
        raise HandshakeError(f"it answered with an address of an unknown kind {kind}")
    (bound_port,) = struct.unpack("!H", await read_exactly(sock, 2))
    return bound, bound_port


def header(address: Address) -> bytes:
    """The header of each datagram through the relay (RFC 1928, section 7)."""
    return b"\0\0\0" + _encode(address[0], address[1])


def unwrap(datagram: memoryview) -> tuple[memoryview, Address] | None:
    """A relayed datagram's payload and source; None for a fragment and for an invalid datagram."""
    if len(datagram) < 4 or datagram[2] != 0:
        return None
    kind = datagram[3]
    length = {_IPV4: 4, _IPV6: 16}.get(kind)
    if length is None or len(datagram) < 6 + length:
        return None
    family = socket.AF_INET if kind == _IPV4 else socket.AF_INET6
    host = socket.inet_ntop(family, datagram[4 : 4 + length])
    (port,) = struct.unpack_from("!H", datagram, 4 + length)
    return datagram[6 + length :], (host, port)


def _encode(host: str, port: int) -> bytes:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = host.encode("idna") if not host.isascii() else host.encode()
        if not 0 < len(name) < 256:
            raise HandshakeError(f"the name {host[:40]}… is too long for SOCKS5") from None
        return bytes([_NAME, len(name)]) + name + struct.pack("!H", port)
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed + struct.pack("!H", port)
