"""SOCKS5 through scripted proxies: requests byte by byte, every refusal, and the header of a relay."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.aio import run
from tests.support.fuzzing import examples
from tests.support.sockets import dial
from tests.transport.scripted import Script, proxy
from tmelink.transport import socks
from tmelink.transport.handshakes import HandshakeError

GRANTED = b"\5\0\0\1\x0a\1\0\2\x04\xaa"
"""Granted, by a proxy whose own end is 10.1.0.2 port 1194."""


def script(*said: tuple[int, bytes], told: list[bytes]) -> Script:
    """Read so many bytes, answer that; then echo five."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for count, answer in said:
            told.append(await reader.readexactly(count))
            writer.write(answer)
            await writer.drain()
        writer.write(await reader.readexactly(5))

    return serve


def granted(
    said: list[tuple[int, bytes]], login: socks.SocksLogin | None, host: str, port: int = 1194
) -> list[bytes]:
    """What a proxy is told by a connection that succeeds; what crosses it afterwards is untouched."""
    told: list[bytes] = []

    async def main() -> None:
        async with proxy(script(*said, told=told)) as at:
            sock = await dial(at)
            await socks.connect(sock, login, host, port)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"\0\3abc")
            assert await loop.sock_recv(sock, 100) == b"\0\3abc"
            sock.close()

    run(main)
    return told


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        ("10.1.0.2", b"\1\x0a\1\0\2"),
        ("fd00::7", b"\4" + bytes.fromhex("fd00") + bytes(13) + b"\7"),
        ("peer.example", b"\3\x0cpeer.example"),
        ("bücher.example", b"\3\x15xn--bcher-kva.example"),
    ],
)
def test_connect_asks_for_any_kind_of_address(host: str, encoded: bytes) -> None:
    request = b"\5\1\0" + encoded + b"\x04\xaa"
    assert granted([(3, b"\5\0"), (len(request), GRANTED)], None, host) == [b"\5\1\0", request]


@pytest.mark.parametrize(
    "answer",
    [GRANTED, b"\5\0\0\4" + bytes(16) + b"\0\0", b"\5\0\0\3\x05relay\0\1"],
    ids=["IPv4", "IPv6", "a name"],
)
def test_the_proxys_own_address_may_be_of_any_kind(answer: bytes) -> None:
    granted([(3, b"\5\0"), (10, answer)], None, "10.1.0.2")


def test_user_and_password_are_given_when_asked_for() -> None:
    login = socks.SocksLogin("ann", "gehéim")
    said = [(4, b"\5\2"), (13, b"\1\0"), (10, GRANTED)]
    assert granted(said, login, "10.1.0.2") == [
        b"\5\2\0\2",
        b"\1\3ann\7geh\xc3\xa9im",
        b"\5\1\0\1\x0a\1\0\2\x04\xaa",
    ]


def test_a_proxy_that_asks_for_no_login_is_given_none() -> None:
    assert granted([(4, b"\5\0"), (10, GRANTED)], socks.SocksLogin("ann", "pw"), "10.1.0.2")[0] == b"\5\2\0\2"


ASKED = (10, GRANTED)


@pytest.mark.parametrize(
    ("login", "said", "reason"),
    [
        (None, [(3, b"\5\xff")], "it needs a user and password"),
        (socks.SocksLogin("a", "b"), [(4, b"\5\xff")], "it allows no known login"),
        (None, [(3, b"\5\1")], "it needs a user and password"),
        (socks.SocksLogin("a", "b"), [(4, b"\5\2"), (5, b"\1\1")], "it refused the user or the password"),
        (socks.SocksLogin("a", "b"), [(4, b"\4\0")], "it does not speak SOCKS5: its answer begins with 4"),
        (None, [(3, b"HTTP/1.1 400 Bad Request")], "it does not speak SOCKS5: its answer begins with 72"),
        (None, [(3, b"\5\0"), (10, b"\4\0\0\1")], "it does not speak SOCKS5: its answer begins with 4"),
        (None, [(3, b"\5\0"), (10, b"\5\1\0\1")], "it refused: general failure"),
        (None, [(3, b"\5\0"), (10, b"\5\2\0\1")], "it refused: its rules do not allow this"),
        (None, [(3, b"\5\0"), (10, b"\5\5\0\1")], "it refused: connection refused"),
        (None, [(3, b"\5\0"), (10, b"\5\x63\0\1")], "it refused: reason 99"),
        (None, [(3, b"\5\0"), (10, b"\5\0\0\x09")], "it answered with an address of an unknown kind 9"),
        (None, [(3, b"\5\0"), (10, b"\5\0\0\1\x0a")], "it closed the connection in the middle of its answer"),
        (None, [(3, b"")], "it closed the connection in the middle of its answer"),
        (socks.SocksLogin("a" * 256, "b"), [(4, b"\5\2")], "user and password must have 1 to 255 bytes each"),
        (socks.SocksLogin("", "b"), [(4, b"\5\2")], "user and password must have 1 to 255 bytes each"),
    ],
)
def test_a_refusal_is_told_in_words(
    login: socks.SocksLogin | None, said: list[tuple[int, bytes]], reason: str
) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for count, answer in said:
            await reader.readexactly(count)
            writer.write(answer)
            await writer.drain()

    async def main() -> None:
        async with proxy(cut) as at:
            sock = await dial(at)
            with pytest.raises(HandshakeError) as caught:
                await socks.connect(sock, login, "10.1.0.2", 1194)
            assert str(caught.value) == reason
            sock.close()

    run(main)


def test_a_name_too_long_is_not_sent() -> None:
    async def main() -> None:
        async with proxy(script((3, b"\5\0"), told=[])) as at:
            sock = await dial(at)
            with pytest.raises(HandshakeError, match="is too long for SOCKS5"):
                await socks.connect(sock, None, "x" * 300, 1194)
            sock.close()

    run(main)


@pytest.mark.parametrize(
    ("answer", "relay"),
    [
        (b"\5\0\0\1\x0a\1\0\2\x1f\x40", ("10.1.0.2", 8000)),
        (b"\5\0\0\1\0\0\0\0\x1f\x40", ("127.0.0.1", 8000)),
        (b"\5\0\0\4" + bytes(16) + b"\x1f\x40", ("127.0.0.1", 8000)),
        (b"\5\0\0\3\2me\x1f\x40", ("127.0.0.1", 8000)),
    ],
    ids=["an address", "none", "none of IPv6", "a name"],
)
def test_a_relay_is_where_the_proxy_says_or_at_the_proxy_itself(
    answer: bytes, relay: tuple[str, int]
) -> None:
    async def main() -> None:
        told: list[bytes] = []
        async with proxy(script((3, b"\5\0"), (10, answer), told=told)) as at:
            sock = await dial(at)
            assert await socks.associate(sock, None) == relay
            assert told[1] == b"\5\3\0\1\0\0\0\0\0\0"
            sock.close()

    run(main)


def test_a_relay_without_a_port_is_none() -> None:
    async def main() -> None:
        async with proxy(script((3, b"\5\0"), (10, b"\5\0\0\1\x7f\0\0\1\0\0"), told=[])) as at:
            sock = await dial(at)
            with pytest.raises(HandshakeError, match="its relay has no port"):
                await socks.associate(sock, None)
            sock.close()

    run(main)


@pytest.mark.parametrize(
    ("address", "header"),
    [
        (("10.1.0.2", 1194), b"\0\0\0\1\x0a\1\0\2\x04\xaa"),
        (("fd00::7", 1194, 0, 0), b"\0\0\0\4" + bytes.fromhex("fd00") + bytes(13) + b"\7\x04\xaa"),
        (("peer.example", 1194), b"\0\0\0\3\x0cpeer.example\x04\xaa"),
    ],
)
def test_a_relayed_datagram_says_where_it_goes(address: Any, header: bytes) -> None:
    assert socks.header(address) == header
    unwrapped = socks.unwrap(memoryview(header + b"payload"))
    if "example" in address[0]:
        assert unwrapped is None, "a datagram comes from an address, never from a name"
    else:
        assert unwrapped is not None
        payload, source = unwrapped
        assert (bytes(payload), source) == (b"payload", address[:2])


def test_a_fragment_of_a_datagram_is_refused() -> None:
    assert socks.unwrap(memoryview(b"\0\0\1\1\x0a\1\0\2\x04\xaapayload")) is None


def test_nothing_secret_is_shown() -> None:
    assert "geheim" not in repr(socks.SocksLogin("ann", "geheim"))


@examples(300)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_relayed_datagram_or_none(data: bytes) -> None:
    found = socks.unwrap(memoryview(data))
    if found is not None:
        payload, address = found
        assert socks.header(address)[3:] + payload == data[3:]


@examples(200)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.builds(lambda tail: b"\5\0" + tail, st.binary(max_size=40)),
        st.builds(lambda tail: b"\5\0\5\0\0" + tail, st.binary(max_size=40)),
    ),
    st.booleans(),
)
def test_whatever_a_proxy_answers_it_is_a_connection_or_a_reason(said: bytes, relay: bool) -> None:
    async def blurt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.write_eof()
        await reader.read()

    async def main() -> None:
        async with proxy(blurt) as at:
            sock = await dial(at)
            with contextlib.suppress(HandshakeError, ConnectionError):
                if relay:
                    await socks.associate(sock, None)
                else:
                    await socks.connect(sock, None, "10.1.0.2", 1194)
            sock.close()

    run(main)


def test_the_family_of_the_connection_is_the_family_that_is_asked_for() -> None:
    async def main() -> None:
        told: list[bytes] = []
        async with proxy(script((3, b"\5\0"), (22, GRANTED), told=told), host="::1") as at:
            sock = await dial(at, "::1")
            assert await socks.associate(sock, None) == ("10.1.0.2", 1194)
            assert told[1] == b"\5\3\0\4" + bytes(18)
            sock.close()

    run(main)
