"""L2TPv3's data messages, and what arrives mutilated."""

from __future__ import annotations

import random

import pytest

from tests.support.fuzzing import scaled
from tests.support.machines import frame
from tmelink.encapsulation.l2tpv3 import ANOTHER_SESSION, NOT_DATA, WRONG_COOKIE, L2tpSession


@pytest.mark.parametrize("udp", [True, False])
@pytest.mark.parametrize("counter", [True, False])
@pytest.mark.parametrize("cookie", [b"", b"\1\2\3\4", bytes(range(8))], ids=len)
def test_a_message_is_what_the_rfc_says(udp: bool, counter: bool, cookie: bytes) -> None:
    session = L2tpSession(0x01020304, cookie, counter, udp)
    version = bytes.fromhex("00030000") if udp else b""
    head = version + b"\1\2\3\4" + cookie
    assert session.head() == head
    after = b"\0\0\0\7" if counter else b""
    assert session.open(head + after + frame(1)) == frame(1)
    assert session.open(version + b"\1\2\3\5" + cookie + after + frame(1)) == ANOTHER_SESSION
    assert session.open((head + after)[:-1]) == NOT_DATA
    if cookie:
        assert session.open(version + b"\1\2\3\4" + bytes(len(cookie)) + after + frame(1)) == WRONG_COOKIE
    if udp:
        # A control message has its bit T set (RFC 3931, section 3.2.1).
        assert session.open(b"\xc8" + head[1:] + after + frame(1)) == NOT_DATA


@pytest.mark.fuzz
def test_mutilated_messages_are_opened_or_refused() -> None:
    chance = random.Random(1)
    session = L2tpSession(7, b"\1\2\3\4", counter=True)
    good = session.head() + b"\0\0\0\1" + frame(1)
    for _ in range(scaled(5_000)):
        data = bytearray(good[: chance.randrange(len(good) + 1)])
        for _ in range(chance.randrange(4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        opened = session.open(bytes(data))
        assert isinstance(opened, str) or len(opened) <= len(frame(1))
