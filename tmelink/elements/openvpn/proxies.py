"""The proxy that a link's options name, with its user and password read.

Knows `--http-proxy` and `--socks-proxy` with their options; what is said to a proxy is
`tmelink.transport.http_proxy`'s and `tmelink.transport.socks`'.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tmelink.elements.openvpn.sessions import Files
from tmelink.errors import ElementError
from tmelink.openvpn.options import values as option_types
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.secret import Material
from tmelink.transport import http_proxy, sockets, socks

Dial = Callable[[], Awaitable[socket.socket]]
"""Makes a TCP connection to the proxy."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy's address and, in `login` or `http`, what is sent to it."""

    host: str
    port: int
    http: http_proxy.HttpProxy | None = None
    login: socks.SocksLogin | None = None

    def __str__(self) -> str:
        return f"{'SOCKS' if self.http is None else 'HTTP'} proxy {sockets.show((self.host, self.port))}"

    async def connect(self, dial: Dial, host: str, port: int) -> socket.socket:
        """A connection to `host`:`port` through the proxy; raises `HandshakeError` and `OSError`."""
        if self.http is not None:
            return await http_proxy.connect(dial, self.http, host, port)
        sock = await dial()
        try:
            await socks.connect(sock, self.login, host, port)
        except BaseException:
            sock.close()
            raise
        return sock

    async def associate(self, dial: Dial) -> tuple[socket.socket, tuple[str, int]]:
        """The connection that keeps a relay for datagrams open, and the relay's host and port."""
        sock = await dial()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock, await socks.associate(sock, self.login)
        except BaseException:
            sock.close()
            raise


def proxy(options: Options, files: Files) -> Proxy | None:
    """The proxy of these options, or None; raises `ElementError` for an invalid password file."""
    if options.http_proxy is not None:
        return _http(options.http_proxy, files)
    if options.socks_proxy is not None:
        given = options.socks_proxy
        user, password = _user_and_password(given.credentials, "socks-proxy", files)
        login = None if given.credentials is None else socks.SocksLogin(user, password)
        return Proxy(given.host, given.port, login=login)
    return None


def _http(given: option_types.HttpProxyOptions, files: Files) -> Proxy:
    user, password = _user_and_password(given.credentials, "http-proxy", files)
    headers = tuple(
        name if value is None else f"{name}: {value.reveal().decode()}" for name, value in given.headers
    )
    spoken = http_proxy.HttpProxy(
        # Without a user there is no login; a proxy that needs one asks for it.
        "none" if given.credentials is None else given.auth,
        user,
        password,
        given.version,
        given.agent,
        headers,
    )
    return Proxy(given.host, given.port, http=spoken)


def _user_and_password(material: Material | None, option: str, files: Files) -> tuple[str, str]:
    lines = files.secret(material, option).decode("utf-8", "replace").splitlines()
    if material is not None and (len(lines) < 2 or not lines[0]):
        raise ElementError(
            f"--{option} {material}: the file must hold a user name and a password, on one line each"
        )
    return (lines[0], lines[1]) if lines else ("", "")
