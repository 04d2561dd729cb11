"""Sockets as a link's options ask for them: resolves addresses, makes, binds, listens and connects.

This module knows the system calls, and turns their errors into sentences with a remedy. It knows no protocol.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tmelink.errors import ElementError, MissingCapability, UnsupportedHere, reason
from tmelink.transport import names
from tmelink.transport.datagrams import Address

RECEIVE_BUFFER = 4 << 20
"""Bytes that may wait in a receiving socket, as far as the system allows. The system's own default holds two
super-frames; what arrives beyond that while the process does something else is lost."""

_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
MtuDiscovery = Literal["no", "maybe", "yes"]

_MTU_DISC = {"no": 0, "maybe": 1, "yes": 2}
"""OpenVPN's words for IP_PMTUDISC_DONT, WANT and DO (`man 7 ip`)."""


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """A link's socket options; None leaves the system's default."""

    send_buffer: int | None = None
    receive_buffer: int | None = None
    mark: int | None = None
    mtu_disc: MtuDiscovery | None = None
    ipv6_only: bool = False
    device: str | None = None


class Words(NamedTuple):
    """The names of an element's arguments for the local port and address, for error messages."""

    port: str
    address: str


_OPENVPN = Words("--lport", "--local")


def literal_family(host: str) -> socket.AddressFamily | None:
    """The family of a literal address, or None for a name."""
    try:
        version = ipaddress.ip_address(host.partition("%")[0]).version
    except ValueError:
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6


async def resolve(
    host: str, port: int, kind: socket.SocketKind, family: int = socket.AF_UNSPEC
) -> list[tuple[socket.AddressFamily, Address]]:
    """Every address of `host`, as the resolver orders them; raises `OSError` if there is none.

    A literal address is never sent to the resolver, which would cost a thread. For a name see
    `tmelink.transport.names`.
    """
    literal = literal_family(host)
    if literal is None:
        found = await names.lookup(host, port, family, kind)
    else:
        found = socket.getaddrinfo(host, port, family, kind, 0, socket.AI_NUMERICHOST)
    return [(family, address) for family, _kind, _proto, _name, address in found]


def make_socket(
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    options: SocketOptions,
    local: Address | None,
    words: Words = _OPENVPN,
) -> socket.socket:
    """A socket with `options`, bound to `local` if given; raises `ElementError` with a remedy in `words`."""
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            raise ElementError(f"this system has no {_family(family)} sockets: {reason(error)}") from error
        where = "a socket" if local is None else f"a socket at {show(local)}"
        raise ElementError(f"{where}: {reason(error)}") from error
    try:
        _configure(sock, family, kind, options)
        if local is not None:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(local)
    except OSError as error:
        sock.close()
        raise ElementError(_bind_error(error, local, words)) from error
    except ElementError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _bind_to_device(sock: socket.socket, device: str) -> None:
    """SO_BINDTODEVICE (socket(7)); raises `ElementError`."""
    if not hasattr(socket, "SO_BINDTODEVICE"):
        raise UnsupportedHere("--bind-dev needs Linux")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
    except OSError as error:
        raise ElementError(f"--bind-dev {device}: {error.strerror or error}") from error


def _configure(
    sock: socket.socket, family: socket.AddressFamily, kind: socket.SocketKind, options: SocketOptions
) -> None:
    if options.device is not None:
        _bind_to_device(sock, options.device)
    if options.send_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.send_buffer)
    if options.receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(options.ipv6_only))
    if kind == socket.SOCK_STREAM:
        # A burst's frames are joined before they are sent; Nagle's algorithm would only delay the last.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.mark is not None:
        if sys.platform != "linux":
            raise UnsupportedHere("--mark works on Linux only")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, options.mark)
        except PermissionError:
            raise MissingCapability("--mark", "CAP_NET_ADMIN") from None
    if options.mtu_disc is not None:
        if sys.platform != "linux":
            raise UnsupportedHere("--mtu-disc works on Linux only")
        set_mtu_discovery(sock, options.mtu_disc)


def set_mtu_discovery(sock: socket.socket, word: MtuDiscovery) -> None:
    """Whether the kernel may send datagrams in fragments; Linux only."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _MTU_DISC[word])
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _MTU_DISC[word])


def _bind_error(error: OSError, local: Address | None, words: Words) -> str:
    where = show(local) if local is not None else "a socket"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program: choose another port with {words.port}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} is not an address of this computer: correct {words.address}, or leave it out"
    if error.errno == errno.EACCES:
        return f"{where} needs a privilege: choose a port above 1023, or give CAP_NET_BIND_SERVICE"
    return f"{where}: {error.strerror or error}"


def show(address: Address) -> str:
    """An address as a person writes it: 10.0.0.1:1194, [fd00::1]:1194."""
    host, port = address[0], address[1]
    host = host.removeprefix("::ffff:") if host.count(".") == 3 else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def same_host(a: Address, b: Address) -> bool:
    """Whether two socket addresses name one host, IPv4-mapped IPv6 addresses included."""
    return bool(a[0].removeprefix("::ffff:") == b[0].removeprefix("::ffff:"))


def stays_here(host: str) -> bool:
    """Whether `host` is this computer itself: a loopback address or localhost."""
    if literal_family(host) is None:
        return host == "localhost"
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def _family(family: socket.AddressFamily) -> str:
    return "IPv6" if family == socket.AF_INET6 else "IPv4"
