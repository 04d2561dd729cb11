"""Opens a link's socket: resolves names, binds and connects, through a proxy where the options name one.

Knows what the options say of hosts, ports, families and proxies. When it is tried, and how often, is
`tmelink.elements.openvpn.connector`'.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from logging import Logger
from typing import TypeVar

from tmelink import errors
from tmelink.elements.openvpn.proxies import Proxy
from tmelink.errors import ElementError
from tmelink.openvpn.options.parse import Options
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.handshakes import HandshakeError

RANDOM_BYTES = 6
"""Of the name under --remote-random-hostname, as OpenVPN."""

RESOLVE_PAUSE = 5.0
"""Seconds before a name that did not resolve is looked up again (`--resolv-retry`)."""

DialTarget = tuple[socket.AddressFamily, Address | None]
"""A target to connect to; the family alone for a socket that waits for its peer."""

T = TypeVar("T")

_FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}


async def places(options: Options, proxy: Proxy | None, log: Logger) -> list[DialTarget]:
    """The targets: every address of the peer's name, or of the proxy's if there is one."""
    family = next((f for digit, f in _FAMILIES.items() if digit in options.proto), socket.AF_UNSPEC)
    if family == socket.AF_UNSPEC and options.local is not None:
        family = sockets.literal_family(options.local) or family
    if proxy is not None:
        found = await _resolve(options, proxy.host, proxy.port, socket.SOCK_STREAM, family, log)
    elif options.remotes:
        remote = options.remotes[0]
        host = _random_name(remote.host) if options.remote_random_hostname else remote.host
        found = await _resolve(options, host, remote.port, kind(options), family, log)
    else:
        return [(socket.AF_INET if family == socket.AF_UNSPEC else family, None)]
    return [*found]


def _random_name(host: str) -> str:
    """A name below the remote's that no resolver has cached; an address stays as it is."""
    return host if sockets.literal_family(host) is not None else f"{secrets.token_hex(RANDOM_BYTES)}.{host}"


async def _resolve(
    options: Options, host: str, port: int, kind: socket.SocketKind, family: int, log: Logger
) -> list[tuple[socket.AddressFamily, Address]]:
    """Look a name up until there is an answer, as long as `--resolv-retry` allows."""
    loop = asyncio.get_running_loop()
    patience = options.resolv_retry
    until = None if patience is None else loop.time() + patience
    while True:
        try:
            return await sockets.resolve(host, port, kind, family)
        except OSError as error:
            reason = f"{host}: {error.strerror or error}"
        literal = sockets.literal_family(host) is not None
        if literal or (until is not None and loop.time() + RESOLVE_PAUSE > until):
            raise ElementError(reason)
        log.warning("%s; asking again in %g s", reason, RESOLVE_PAUSE)
        await asyncio.sleep(RESOLVE_PAUSE)


def kind(options: Options) -> socket.SocketKind:
    """Datagrams or a stream."""
    return socket.SOCK_DGRAM if options.proto.startswith("udp") else socket.SOCK_STREAM


async def local(options: Options, kind: socket.SocketKind, family: socket.AddressFamily) -> Address | None:
    """The address to bind, or None for the system's choice."""
    if not options.bind:
        return None
    if options.local is None:
        return ("::" if family == socket.AF_INET6 else "0.0.0.0", options.lport)
    try:
        found = await sockets.resolve(options.local, options.lport, kind, family)
    except OSError as error:
        raise ElementError(f"--local {options.local}: {error.strerror or error}") from error
    return found[0][1]


async def make_socket(
    options: Options, kind: socket.SocketKind, family: socket.AddressFamily
) -> socket.socket:
    """A socket as the options ask for it, bound if they say so."""
    return bound_socket(options, kind, family, await local(options, kind, family))


def bound_socket(
    options: Options, kind: socket.SocketKind, family: socket.AddressFamily, address: Address | None
) -> socket.socket:
    """A socket as the options ask for it, bound to `address` if there is one."""
    request = sockets.SocketOptions(
        send_buffer=options.sndbuf,
        receive_buffer=_receive_buffer(options, kind),
        mark=options.mark,
        mtu_disc=options.mtu_disc,
        ipv6_only=options.bind_ipv6_only,
        device=options.bind_dev,
    )
    return sockets.make_socket(family, kind, request, address)


def _receive_buffer(options: Options, kind: socket.SocketKind) -> int | None:
    if options.rcvbuf is not None:
        return options.rcvbuf or None
    # TCP adapts its buffers itself.
    return sockets.RECEIVE_BUFFER if kind == socket.SOCK_DGRAM else None


async def connect(
    options: Options, family: socket.AddressFamily, address: Address, proxy: Proxy | None
) -> socket.socket:
    """A TCP connection to the peer; `address` is the peer's, or the proxy's. Raises `ElementError`."""

    async def dial() -> socket.socket:
        return await _dial(options, family, address)

    if proxy is None:
        return await _within(options, sockets.show(address), dial)
    remote = options.remotes[0]
    return await _within(options, str(proxy), lambda: proxy.connect(dial, remote.host, remote.port))


async def associate(
    options: Options, family: socket.AddressFamily, address: Address, proxy: Proxy
) -> tuple[socket.socket, socket.socket, Address]:
    """A UDP socket, the connection to the SOCKS proxy, and the relay's address. Raises `ElementError`."""
    control, relay = await _within(
        options, str(proxy), lambda: proxy.associate(lambda: _dial(options, family, address, bind=False))
    )
    try:
        (relay_family, there), *_ = await sockets.resolve(*relay, socket.SOCK_DGRAM)
        return await make_socket(options, socket.SOCK_DGRAM, relay_family), control, there
    except BaseException:
        control.close()
        raise


async def _dial(
    options: Options, family: socket.AddressFamily, address: Address, *, bind: bool = True
) -> socket.socket:
    own = await local(options, socket.SOCK_STREAM, family) if bind else None
    sock = bound_socket(options, socket.SOCK_STREAM, family, own)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _within(options: Options, name: str, make: Callable[[], Awaitable[T]]) -> T:
    """The result of `make`, within `--connect-timeout`; an error message begins with `name`."""
    try:
        async with asyncio.timeout(options.connect_timeout):
            return await make()
    except TimeoutError:
        raise ElementError(f"{name} did not answer") from None
    except HandshakeError as error:
        raise ElementError(f"{name}: {error}") from None
    except OSError as error:
        raise ElementError(f"{name}: {errors.reason(error)}") from None
