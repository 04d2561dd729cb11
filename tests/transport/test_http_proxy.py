"""CONNECT through scripted proxies: logins, refusals, silence, and answers that are no HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.aio import run
from tests.support.fuzzing import examples
from tests.support.sockets import dial
from tests.transport.http_answers import NEEDED, OPEN, answering, refused, tried
from tests.transport.scripted import proxy
from tmelink.transport.handshakes import HandshakeError
from tmelink.transport.http_proxy import MAX_ANSWER, HttpProxy, connect


def test_a_request_names_the_peer_and_nothing_more() -> None:
    assert tried(HttpProxy(), OPEN) == [
        b"CONNECT peer.example:1194 HTTP/1.0\r\nHost: peer.example:1194\r\n\r\n"
    ]


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert tried(HttpProxy(), OPEN, host="fd00::1")[0].startswith(b"CONNECT [fd00::1]:1194 HTTP/1.0\r\n")


def test_version_agent_and_headers_are_as_the_options_say() -> None:
    settings = HttpProxy(version="1.1", agent="tmelink", headers=("Host: other", "X-Forwarded-For: me"))
    assert tried(settings, OPEN) == [
        b"CONNECT peer.example:1194 HTTP/1.1\r\nUser-Agent: tmelink\r\nHost: other\r\n"
        b"X-Forwarded-For: me\r\n\r\n"
    ]


def test_what_follows_the_answer_belongs_to_the_stream() -> None:
    tried(HttpProxy(), OPEN + b"\0\4ping")


def test_basic_login_is_sent_at_once() -> None:
    (request,) = tried(HttpProxy("basic", "ann", "gehéim"), OPEN)
    line = re.search(rb"Proxy-Authorization: Basic (\S+)\r\n", request)
    assert line is not None
    assert base64.b64decode(line[1]).decode() == "ann:gehéim"


def test_auto_answers_basic_only_when_asked() -> None:
    challenge = NEEDED + b'Proxy-Authenticate: Basic realm="tiny"\r\n\r\n'
    first, second = tried(HttpProxy("auto", "ann", "pw"), challenge, OPEN)
    assert b"Proxy-Authorization" not in first
    assert b"Proxy-Authorization: Basic YW5uOnB3\r\n" in second


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("login", ["digest", "auto", "auto-nct"])
@pytest.mark.parametrize(
    ("algorithm", "hashed"),
    [("", md5), (", algorithm=MD5", md5), (", algorithm=MD5-sess", md5), (", algorithm=SHA-256", sha256)],
)
@pytest.mark.parametrize("qop", ["", ', qop="auth"', ', qop="auth-int, auth"'])
def test_digest_proves_the_password_without_saying_it(
    login: Any, algorithm: str, hashed: Callable[[str], str], qop: str
) -> None:
    challenge = f'Digest realm="a, b", nonce="n0\\=", opaque="op"{algorithm}{qop}'.encode()
    offers = b"Proxy-Authenticate: Basic realm=x\r\nproxy-authenticate: " + challenge + b"\r\n\r\n"
    first, second = tried(HttpProxy(login, "ann", "pw"), NEEDED + offers, OPEN)
    assert b"Proxy-Authorization" not in first
    line = re.search(r"Proxy-Authorization: Digest (.*)\r\n", second.decode())
    assert line is not None
    given = {
        name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', line[1])
    }
    assert (given["username"], given["realm"], given["uri"]) == ("ann", "a, b", "peer.example:1194")
    assert given["opaque"] == "op"
    # RFC 7616, section 3.4.1, computed here once more.
    secret = hashed("ann:a, b:pw")
    nonce, own = given["nonce"], given.get("cnonce", "")
    if "sess" in algorithm and not qop:
        return  # the client's nonce is in the proof and nowhere else: RFC 2069 has no such algorithm
    if "sess" in algorithm:
        secret = hashed(f"{secret}:{nonce}:{own}")
    request = hashed("CONNECT:peer.example:1194")
    if qop:
        assert (given["qop"], given["nc"]) == ("auth", "00000001")
        assert given["response"] == hashed(f"{secret}:{nonce}:00000001:{own}:auth:{request}")
    else:
        assert "qop" not in given
        assert given["response"] == hashed(f"{secret}:{nonce}:{request}")


def test_the_digest_of_the_rfcs_own_example() -> None:
    """RFC 2069, section 2.4, with its erratum 749, but for the method: the numbers are of the algorithm."""
    secret = md5("Mufasa:testrealm@host.com:CircleOfLife")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    challenge = f'Digest realm="testrealm@host.com", nonce="{nonce}"'.encode()
    _, second = tried(
        HttpProxy("digest", "Mufasa", "CircleOfLife"),
        NEEDED + b"Proxy-Authenticate: " + challenge + b"\r\n\r\n",
        OPEN,
    )
    expected = md5(f"{secret}:{nonce}:{md5('CONNECT:peer.example:1194')}")
    assert f'response="{expected}"'.encode() in second


@pytest.mark.parametrize(
    ("settings", "answers", "reason"),
    [
        (HttpProxy(), [b"HTTP/1.1 403 Filtered\r\n\r\n"], "it answered 403 Filtered"),
        (HttpProxy(), [b"HTTP/1.1 500\r\n\r\n"], "it answered 500"),
        (HttpProxy(), [NEEDED + b"\r\n"], "it needs a user and password (407 Proxy Authentication Required)"),
        (
            HttpProxy("basic", "a", "b"),
            [NEEDED + b"\r\n"],
            "it refused the user or the password (407 Proxy Authentication Required)",
        ),
        (
            HttpProxy("auto", "a", "b"),
            [NEEDED + b"Proxy-Authenticate: Basic realm=x\r\n\r\n"] * 2,
            "it refused the user or the password (407 Proxy Authentication Required)",
        ),
        (
            HttpProxy("auto-nct", "a", "b"),
            [NEEDED + b"Proxy-Authenticate: Basic realm=x\r\n\r\n"],
            "it offers Basic to log in, and --http-proxy allows auto-nct",
        ),
        (
            HttpProxy("auto", "a", "b"),
            [NEEDED + b"Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n"],
            "it offers NTLM, Negotiate to log in, and --http-proxy allows auto",
        ),
        (
            HttpProxy("auto", "a", "b"),
            [NEEDED + b"\r\n"],
            "it offers no scheme to log in, and --http-proxy allows auto",
        ),
        (
            HttpProxy("digest", "a", "b"),
            [NEEDED + b"Proxy-Authenticate: Digest realm=x, nonce=y, algorithm=SHA-512\r\n\r\n"],
            "its digest algorithm is SHA-512; known are MD5, SHA-256, SHA-512-256",
        ),
        (
            HttpProxy("digest", "a", "b"),
            [NEEDED + b'Proxy-Authenticate: Digest realm=x, nonce=y, qop="auth-int"\r\n\r\n'],
            "it wants a digest over the body, and a CONNECT has none",
        ),
        (HttpProxy(), [b"SSH-2.0-OpenSSH\r\n\r\n"], "it does not speak HTTP: 'SSH-2.0-OpenSSH'"),
        (HttpProxy(), [b"HTTP/1.1 2000 OK\r\n\r\n"], "it does not speak HTTP: 'HTTP/1.1 2000 OK'"),
        (HttpProxy(), [b"HTTP/1.1 200"], "it closed the connection in the middle of its answer"),
        (HttpProxy(), [b""], "it closed the connection in the middle of its answer"),
        (HttpProxy(), [b"x" * (MAX_ANSWER + 1)], f"its answer is longer than {MAX_ANSWER} bytes"),
        (HttpProxy(), [b"HTTP/1.1 403 \x1b[31m\x07red\r\n\r\n"], r"it answered 403 \x1b[31m\x07red"),
    ],
)
def test_a_refusal_is_told_in_words(settings: HttpProxy, answers: list[bytes], reason: str) -> None:
    assert refused(settings, *answers) == reason


def test_a_proxy_that_hangs_is_left_when_the_caller_gives_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        made: list[socket.socket] = []

        async def counted(at: int) -> socket.socket:
            made.append(await dial(at))
            return made[-1]

        async with proxy(silent) as at:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await connect(lambda: counted(at), HttpProxy(), "peer.example", 1194)
        assert [sock.fileno() for sock in made] == [-1]

    run(main)


def test_nothing_secret_is_shown() -> None:
    assert "geheim" not in repr(HttpProxy("basic", "ann", "geheim", headers=("X-Key: geheim",)))


answers = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda status, head, tail: b"HTTP/1.%d %d %s\r\n%s\r\n\r\n" % (status % 2, status, head, tail),
        st.integers(0, 1000),
        st.binary(max_size=30),
        st.binary(max_size=100),
    ),
    st.builds(
        lambda value: NEEDED + b"Proxy-Authenticate: Digest " + value + b"\r\n\r\n", st.binary(max_size=100)
    ),
)


@examples(200)
@given(st.lists(answers, min_size=2, max_size=2), st.sampled_from(["none", "basic", "digest", "auto"]))
def test_whatever_a_proxy_answers_it_is_a_connection_or_a_reason(said: list[bytes], login: Any) -> None:
    async def main() -> None:
        async with proxy(*answering(*said, told=[])) as at:
            with contextlib.suppress(HandshakeError, ConnectionError):
                sock = await connect(lambda: dial(at), HttpProxy(login, "a", "b"), "peer.example", 1194)
                sock.close()

    run(main)
