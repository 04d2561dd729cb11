"""Through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6), and the proxy's answers (RFC 9112).

Takes a TCP connection to the proxy and turns it into one to the peer. How to log in is
`tmelink.transport.http_login`'s. Knows nothing of links and options.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tmelink.printable import printable
from tmelink.transport import http_login
from tmelink.transport.handshakes import HandshakeError, read_exactly, send
from tmelink.transport.http_login import HttpLogin, User

MAX_ANSWER = 16384
"""The most bytes of a proxy's answer: enough for a status line and headers, a bound for a faulty proxy."""

MAX_LOGINS = 3
"""The most requests to one proxy: without a login, with one, and again with a new nonce."""

_STATUS_LINE = re.compile(r"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t]+(.*))?[ \t]*")


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """How to log in, and what else to say: `headers` are whole lines. `auto-nct` never uses basic login."""

    login: HttpLogin = "none"
    user: str = ""
    password: str = field(default="", repr=False)
    version: str = "1.0"
    agent: str | None = None
    headers: tuple[str, ...] = field(default=(), repr=False)


async def connect(
    dial: Callable[[], Awaitable[socket.socket]], proxy: HttpProxy, host: str, port: int
) -> socket.socket:
    """A connection through the proxy to `host`:`port`; `dial` connects to the proxy, twice if it must.

    Raises `HandshakeError` with what the proxy answered, and `OSError` for the connection to it.
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    user = User(proxy.login, proxy.user, proxy.password)
    authorization = http_login.basic(user) if proxy.login == "basic" else None
    for attempt in range(MAX_LOGINS):
        sock = await dial()
        try:
            status, reason, headers = await _ask(sock, proxy, authority, authorization)
        except BaseException:
            sock.close()
            raise
        if 200 <= status < 300:
            return sock
        sock.close()
        if status != 407:
            raise HandshakeError(f"it answered {status} {reason}".rstrip())
        challenges = [value for name, value in headers if name == "proxy-authenticate"]
        if proxy.login in ("none", "basic") or (attempt and not http_login.is_stale(challenges)):
            break
        authorization = http_login.answer(user, authority, challenges)
    wants = "needs a user and password" if proxy.login == "none" else "refused the user or the password"
    raise HandshakeError(f"it {wants} (407 {reason})")


async def _ask(
    sock: socket.socket, proxy: HttpProxy, authority: str, authorization: str | None
) -> tuple[int, str, list[tuple[str, str]]]:
    lines = [f"CONNECT {authority} HTTP/{proxy.version}"]
    if not any(line.lower().startswith("host:") for line in proxy.headers):
        lines.append(f"Host: {authority}")
    if proxy.agent is not None:
        lines.append(f"User-Agent: {proxy.agent}")
    lines += proxy.headers
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    await send(sock, "\r\n".join((*lines, "", "")).encode())
    status = 100
    room = MAX_ANSWER
    while 100 <= status < 200:
        # Interim answers go before the one that counts (RFC 9110, section 15.2).
        answer = await _read_head(sock, room)
        room -= len(answer)
        # A line may end with LF alone (RFC 9112, section 2.2), and go on in one that begins with a space.
        first, *rest = re.split(r"\r?\n", re.sub(r"\r?\n[ \t]+", " ", answer.decode("latin-1")))
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise HandshakeError(f"it does not speak HTTP: {first[:80]!r}")
        status, reason = int(match[1]), printable(match[2] or "")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (h.partition(":") for h in rest)]
    return status, reason, headers


async def _read_head(sock: socket.socket, room: int) -> bytes:
    """An answer's lines, and not one byte of what follows the empty one; at most `room` bytes."""
    data = bytearray()
    while not data.endswith((b"\n\n", b"\n\r\n")):
        if len(data) >= room:
            raise HandshakeError(f"its answer is longer than {MAX_ANSWER} bytes")
        data += await read_exactly(sock, 1)
    return bytes(data)
