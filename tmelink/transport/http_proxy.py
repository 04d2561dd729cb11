"""Through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6) with basic (RFC 7617) or digest (RFC 7616) login.

Takes a TCP connection to the proxy and turns it into one to the peer. Knows nothing of links and options.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from tmelink.transport.handshakes import HandshakeError, read_until, send

MAX_ANSWER = 16384
"""Bytes of a proxy's answer: generous for a status line and headers, little for a proxy that babbles."""

HttpLogin = Literal["none", "basic", "digest", "auto", "auto-nct"]


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
    authorization = _basic(proxy) if proxy.login == "basic" else None
    for attempt in range(2):
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
        if attempt == 1 or proxy.login in ("none", "basic"):
            break
        authorization = _answer(proxy, authority, headers)
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
    answer = (await read_until(sock, b"\r\n\r\n", MAX_ANSWER)).decode("latin-1")
    first, *rest = answer.split("\r\n")
    match = re.fullmatch(r"HTTP/\d\.\d (\d{3})(?: (.*))?", first)
    if match is None:
        raise HandshakeError(f"it does not speak HTTP: {first[:80]!r}")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (h.partition(":") for h in rest)]
    return int(match[1]), _printable(match[2] or ""), headers


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:80]


def _answer(proxy: HttpProxy, authority: str, headers: list[tuple[str, str]]) -> str:
    """What to answer to the proxy's challenges: digest before basic, as it gives less away."""
    challenges = [value for name, value in headers if name == "proxy-authenticate"]
    for challenge in challenges:
        if challenge.lower().startswith("digest "):
            return _digest(proxy, authority, challenge[7:])
    basic = any(challenge.lower().startswith("basic") for challenge in challenges)
    if basic and proxy.login == "auto":
        return _basic(proxy)
    offered = ", ".join(_printable(c.split(" ")[0]) for c in challenges) or "no way"
    raise HandshakeError(f"it offers {offered} to log in, and --http-proxy allows {proxy.login}")


def _basic(proxy: HttpProxy) -> str:
    return "Basic " + base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()


_DIGESTS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')


def _digest(proxy: HttpProxy, authority: str, challenge: str) -> str:
    """The answer to a digest challenge (RFC 7616, section 3.4), also without `qop` (RFC 2069)."""
    given = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(challenge)}
    algorithm = given.get("algorithm", "MD5").upper()
    session = algorithm.endswith("-SESS")
    digest = _DIGESTS.get(algorithm.removesuffix("-SESS"))
    if digest is None:
        raise HandshakeError(
            f"its digest algorithm is {_printable(algorithm)}; known are {', '.join(_DIGESTS)}"
        )

    def hashed(text: str) -> str:
        return digest(text.encode()).hexdigest()

    realm, nonce = given.get("realm", ""), given.get("nonce", "")
    nonce_count, own_nonce = "00000001", os.urandom(8).hex()
    login = hashed(f"{proxy.user}:{realm}:{proxy.password}")
    if session:
        login = hashed(f"{login}:{nonce}:{own_nonce}")
    request = hashed(f"CONNECT:{authority}")
    fields = {"username": proxy.user, "realm": realm, "nonce": nonce, "uri": authority}
    bare = {"algorithm": algorithm}
    if "auth" in re.split(r"[\s,]+", given.get("qop", "")):
        proof = hashed(f"{login}:{nonce}:{nonce_count}:{own_nonce}:auth:{request}")
        fields["cnonce"] = own_nonce
        bare |= {"qop": "auth", "nc": nonce_count}
    elif "qop" in given:
        raise HandshakeError("it wants a digest over the body, and a CONNECT has none")
    else:
        proof = hashed(f"{login}:{nonce}:{request}")
    fields["response"] = proof
    if "opaque" in given:
        fields["opaque"] = given["opaque"]
    quoted = (f'{name}="{value}"' for name, value in fields.items())
    return "Digest " + ", ".join((*quoted, *(f"{name}={value}" for name, value in bare.items())))
