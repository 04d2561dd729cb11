"""A table of what HTTP proxies answer (RFC 9110, RFC 9112, RFC 7616), and what comes of each answer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any

import pytest

from tests.support.sockets import dial
from tests.transport.http_answers import NEEDED, OPEN, refused, tried
from tests.transport.scripted import proxy
from tmelink.transport.handshakes import read_exactly
from tmelink.transport.http_proxy import HttpProxy, connect

MD5 = 'Digest realm="r", nonce="n", algorithm=MD5'
SHA = 'Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth"'
UNKNOWN = 'Digest realm="r", nonce="n", algorithm=SHA-1024, qop="auth"'
NTLM = "NTLM TlRMTVNTUAACAAAA=="


def needed(*headers: str, end: str = "\r\n") -> bytes:
    """A 407 with these Proxy-Authenticate headers."""
    lines = ["HTTP/1.1 407 Log in", *(f"Proxy-Authenticate: {header}" for header in headers), "", ""]
    return end.join(lines).encode()


def parameters(request: bytes) -> tuple[str, dict[str, str]]:
    """Scheme and parameters of a request's login; quoted-pairs are resolved."""
    line = re.search(r"Proxy-Authorization: (\S+) (.*)\r\n", request.decode())
    assert line is not None, request
    found = re.findall(r'([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', line[2])
    return line[1], {name: re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in found}


@pytest.mark.parametrize(
    ("headers", "scheme", "algorithm"),
    [
        ([f"Basic realm=x, {MD5}"], "Digest", "MD5"),
        ([f"{MD5}, Basic realm=x"], "Digest", "MD5"),
        ([f"Negotiate, {NTLM}, {SHA}"], "Digest", "SHA-256"),
        ([f"{NTLM}, Basic realm=x"], "Basic", ""),
        (["Negotiate , Basic"], "Basic", ""),
        ([UNKNOWN, MD5], "Digest", "MD5"),
        ([f"{UNKNOWN}, {MD5}"], "Digest", "MD5"),
        ([UNKNOWN, "Basic realm=x"], "Basic", ""),
        ([SHA, MD5], "Digest", "SHA-256"),
        ([MD5, SHA], "Digest", "MD5"),
        ([", ,  Basic   realm = x ,, charset=UTF-8,"], "Basic", ""),
        (['Newauth realm="a, Digest b=c", title="say \\"hi\\", Basic", basic realm="x"'], "Basic", ""),
        (['DIGEST REALM="r",NONCE="n",QOP="auth"'], "Digest", "MD5"),
        (['Digest realm="r", nonce="n", qop="auth-int"', MD5], "Digest", "MD5"),
        (["Digest realm=r, nonce=n\r\n , qop=auth"], "Digest", "MD5"),
    ],
)
def test_the_first_login_that_both_know_is_used(headers: list[str], scheme: str, algorithm: str) -> None:
    _, second = tried(HttpProxy("auto", "ann", "pw"), needed(*headers), OPEN)
    used, given = parameters(second)
    assert (used, given.get("algorithm", "")) == (scheme, algorithm)
    if used == "Basic":
        assert f"Basic {base64.b64encode(b'ann:pw').decode()}\r\n".encode() in second


@pytest.mark.parametrize(
    "answers",
    [
        [b"HTTP/1.0 200 OK\n\n"],
        [b"HTTP/1.0 200 OK\nVia: x\n\r\n"],
        [b"HTTP/1.1 200\r\n\r\n"],
        [b"HTTP/1.1 200  Connection established\r\nX: a\r\n b\r\n\r\n"],
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\nX: y\n\nHTTP/1.1 200 OK\r\n\r\n"],
        [needed("Basic realm=x", end="\n"), b"HTTP/1.0 200 OK\n\n"],
        [needed("Basic realm=x"), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"],
    ],
)
def test_answers_of_every_spelling_open_the_connection(answers: list[bytes]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        # What follows the answer belongs to the peer's stream.
        writer.write(waiting.pop(0) + (b"" if waiting else b"\0\3abc"))
        await writer.drain()

    async def main() -> bytes:
        async with proxy(*[serve] * len(answers)) as at:
            settings = HttpProxy("auto", "ann", "pw")
            sock = await connect(lambda: dial(at), settings, "peer.example", 1194)
            try:
                return await read_exactly(sock, 5)
            finally:
                sock.close()

    waiting = list(answers)
    assert asyncio.run(main()) == b"\0\3abc"


def test_a_stale_nonce_is_no_wrong_password() -> None:
    stale = needed('Digest realm="r", nonce="n2", stale=TRUE, qop="auth"')
    *_, third = tried(HttpProxy("digest", "ann", "pw"), needed(SHA), stale, OPEN)
    assert parameters(third)[1]["nonce"] == "n2"
    said = refused(HttpProxy("digest", "ann", "pw"), needed(SHA), stale, stale)
    assert said == "it refused the user or the password (407 Log in)"


def test_quoted_pairs_are_part_of_what_is_said() -> None:
    _, second = tried(
        HttpProxy("digest", 'a"n\\n', "pw"), needed('Digest realm="say \\"r\\"", nonce="n"'), OPEN
    )
    given = parameters(second)[1]
    assert (given["username"], given["realm"]) == ('a"n\\n', 'say "r"')
    secret = hashlib.md5(b'a"n\\n:say "r":pw').hexdigest()
    request = hashlib.md5(b"CONNECT:peer.example:1194").hexdigest()
    assert given["response"] == hashlib.md5(f"{secret}:n:{request}".encode()).hexdigest()


@pytest.mark.parametrize(
    ("algorithm", "hashing"), [("SHA-256", "sha256"), ("SHA-512-256", "sha512_256"), ("MD5-sess", "md5")]
)
def test_algorithms_of_rfc_7616(algorithm: str, hashing: str) -> None:
    def hashed(text: str) -> str:
        return hashlib.new(hashing, text.encode()).hexdigest()

    challenge = f'Digest realm="r", nonce="n", algorithm={algorithm}, qop="auth"'
    _, second = tried(HttpProxy("digest", "ann", "pw"), needed(challenge), OPEN)
    given = parameters(second)[1]
    secret = hashed("ann:r:pw")
    if algorithm.endswith("-sess"):
        secret = hashed(f"{secret}:n:{given['cnonce']}")
    request = hashed("CONNECT:peer.example:1194")
    assert given["response"] == hashed(f"{secret}:n:00000001:{given['cnonce']}:auth:{request}")
    assert given["algorithm"] == algorithm


def test_the_user_is_hashed_or_in_unicode_where_the_proxy_asks_for_it() -> None:
    """RFC 7616, sections 3.4.4 and 3.4: its example's user name."""
    hashing = 'Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth", userhash=true, charset=UTF-8'
    _, second = tried(HttpProxy("digest", "Jäsøn Doe", "pw"), needed(hashing), OPEN)
    given = parameters(second)[1]
    assert given["username"] == hashlib.sha256("Jäsøn Doe:r".encode()).hexdigest()
    assert given["userhash"] == "true"
    _, second = tried(HttpProxy("digest", "Jäsøn Doe", "pw"), needed(SHA + ", charset=UTF-8"), OPEN)
    given = parameters(second)[1]
    assert given["username*"] == "UTF-8''J%C3%A4s%C3%B8n%20Doe"
    assert "username" not in given


@pytest.mark.parametrize(
    ("login", "headers", "reason"),
    [
        ("auto", [f"Negotiate, {NTLM}"], "it offers Negotiate, NTLM to log in, and --http-proxy allows auto"),
        ("auto-nct", ["Basic realm=x"], "it offers Basic to log in, and --http-proxy allows auto-nct"),
        (
            "digest",
            [UNKNOWN],
            "its digest algorithm is SHA-1024; known are MD5, SHA-256, SHA-512-256",
        ),
        ("digest", ['Digest realm="r", qop="auth"'], "its challenge names no nonce"),
        ("auto", ['Digest realm="unended'], "its challenge names no nonce"),
    ],
)
def test_what_no_login_answers_is_told(login: Any, headers: list[str], reason: str) -> None:
    assert refused(HttpProxy(login, "ann", "pw"), needed(*headers)) == reason


def test_a_proxy_that_only_promises_is_left() -> None:
    reason = refused(HttpProxy(), b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
    assert reason == "its answer is longer than 16384 bytes"
    assert refused(HttpProxy("basic", "a", "b"), NEEDED + b"\r\n").startswith("it refused the user")
