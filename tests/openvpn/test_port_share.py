"""The first bytes of a connection: what OpenVPN takes for its own, and what browsers begin with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.sockets import framed
from tmelink.openvpn.port_share import DECIDED, is_peer

HELLO = bytes.fromhex("16 03 01 02 00 01 00 01 fc 03 03") + bytes(20)
"""A TLS ClientHello."""

WEB = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /form HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"PROPFIND / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    HELLO,
]
PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")


def decided(stream: bytes, *, tls: bool, longest: int = 1642) -> tuple[bool, int]:
    """The verdict, and after how many bytes it was plain, when they come one at a time."""
    for count in range(len(stream) + 1):
        verdict = is_peer(stream[:count], tls=tls, longest=longest)
        if verdict is not None:
            for later in range(count, len(stream) + 1):
                assert is_peer(stream[:later], tls=tls, longest=longest) is verdict, "a verdict stands"
            return verdict, count
    raise AssertionError(f"{stream[:20]!r} is never decided")


@pytest.mark.parametrize("stream", WEB, ids=lambda s: s[:8])
@pytest.mark.parametrize("longest", [1642, 9142, 65535])
def test_what_a_browser_begins_with_is_never_a_peers(stream: bytes, longest: int) -> None:
    for tls in (True, False):
        verdict, count = decided(stream, tls=tls, longest=longest)
        assert not verdict
        assert count <= DECIDED


@pytest.mark.parametrize(
    ("opcode", "length", "verdict"),
    [
        (7, 14, True),
        (7, 13, False),
        (7, 255, True),
        (7, 256, False),
        (8, 26, True),
        (10, 336, True),
        (10, 335, False),
        (10, 1278, True),
        (10, 1279, False),
        (4, 26, False),
        (9, 26, False),
    ],
)
def test_under_tls_it_is_a_reset_of_a_likely_length(opcode: int, length: int, verdict: bool) -> None:
    """The bounds are those of OpenVPN's ps.c."""
    stream = length.to_bytes(2, "big") + bytes([opcode << 3]) + bytes(11)
    assert decided(stream, tls=True)[0] is verdict
    assert decided(stream[:2] + bytes([opcode << 3 | 1]) + bytes(11), tls=True)[0] is False


@pytest.mark.parametrize("datagram", [PING, bytes(60), bytes(range(256)) * 6], ids=len)
def test_without_tls_it_is_any_datagram_that_the_link_takes(datagram: bytes) -> None:
    assert decided(framed(datagram), tls=False) == (True, 2)


def test_without_tls_a_length_that_the_link_does_not_take_is_no_peers() -> None:
    assert decided(b"\0\0", tls=False) == (False, 2)
    assert decided((1643).to_bytes(2, "big"), tls=False) == (False, 2)


def test_a_datagram_as_long_as_a_hello_is_a_peers_unless_it_is_one() -> None:
    stream = framed(b"\xaa" * 0x1603)
    assert decided(stream, tls=False, longest=9142) == (True, 6)


@examples(500)
@given(st.binary(min_size=DECIDED, max_size=64), st.booleans(), st.sampled_from([1642, 9142, 65535]))
def test_any_beginning_is_decided_in_time_and_for_good(stream: bytes, tls: bool, longest: int) -> None:
    assert decided(stream, tls=tls, longest=longest)[1] <= DECIDED
