"""OpenVPN's fragments: its bytes, reassembly in every order, and what cannot be put together."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.errors import ProtocolError
from tmelink.openvpn.data.fragment import PARTIALS, SECONDS, Fragments

PAYLOAD = Random(3).randbytes(1000)

# An echo request of 642 bytes from `openvpn 2.6.14 --dev tap --fragment 300`, without its constant data:
# headers of the three pieces and the length of each piece.
OPENVPN = [("000001e9", 216), ("000005e9", 216), ("001b09ea", 210)]


def made(largest: int = 300, limit: int = 2000) -> tuple[Fragments, Counter[str]]:
    drops: Counter[str] = Counter()
    return Fragments(largest, limit, drops), drops


def test_a_short_payload_is_whole() -> None:
    fragments, _ = made()
    assert fragments.split(b"abc") == [b"\0\0\0\0abc"]
    assert fragments.join(b"\0\0\0\0abc", 0) == b"abc"


def test_pieces_are_those_of_openvpn() -> None:
    pieces = [bytes.fromhex(header) + bytes(length) for header, length in OPENVPN]
    drops: Counter[str] = Counter()
    fragments = Fragments(300 - 12, 2000, drops)
    assert [fragments.join(piece, 0) for piece in pieces] == [None, None, bytes(642)]
    sender = Fragments(288, 2000, drops, sequence=0x79)
    assert sender.split(bytes(642)) == pieces


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_pieces_come_together_in_any_order(order: tuple[int, ...]) -> None:
    fragments, drops = made()
    pieces = fragments.split(PAYLOAD)
    assert len(pieces) == 4
    assert all(len(piece) <= 304 for piece in pieces)
    joined = [fragments.join(pieces[at], 0) for at in order]
    assert joined == [None, None, None, PAYLOAD]
    assert not drops
    assert len(fragments) == 0


@pytest.mark.parametrize("length", [301, 304, 599, 600, 601, 1000, 1499, 32 * 300])
def test_every_length_survives(length: int) -> None:
    fragments, _ = made(limit=20_000)
    payload = PAYLOAD * 10
    *first, last = [fragments.join(piece, 0) for piece in fragments.split(payload[:length])]
    assert not any(first)
    assert last == payload[:length]


def test_too_many_pieces_are_not_sent() -> None:
    fragments, drops = made()
    assert fragments.split(bytes(300 * 32 + 1)) == []
    assert drops == {"too many fragments": 1}


def test_a_piece_missing_for_too_long_is_given_up() -> None:
    fragments, drops = made()
    first, second, *_ = fragments.split(PAYLOAD[:500])
    assert fragments.join(first, 0) is None
    assert fragments.join(second, SECONDS + 0.1) is None
    assert drops == {"lost fragment": 1}


def test_a_repeated_piece_never_mixes_two_payloads() -> None:
    fragments, drops = made()
    old_first, old_last = fragments.split(bytes(500))
    for _ in range(255):
        fragments.split(bytes(500))
    new_first, new_last = fragments.split(b"x" * 500)
    assert new_first[:4] == old_first[:4]
    assert fragments.join(old_first, 0) is None
    assert fragments.join(new_first, 0) is None
    assert fragments.join(new_last, 0) == b"x" * 500
    assert drops == {"lost fragment": 1}
    assert old_last[:4] == new_last[:4]


def test_what_is_far_behind_is_given_up() -> None:
    fragments, drops = made()
    old_first, _ = fragments.split(bytes(500))
    fragments.join(old_first, 0)
    for _ in range(PARTIALS):
        first, last = fragments.split(PAYLOAD[:500])
        fragments.join(first, 0)
        assert fragments.join(last, 0) == PAYLOAD[:500]
    assert len(fragments) == 0
    assert drops == {"lost fragment": 1}


def test_memory_is_bounded() -> None:
    fragments, _ = made()
    random = Random(8)
    for _ in range(20_000):
        header = 1 | random.randrange(256) << 2 | random.randrange(32) << 10
        try:
            fragments.join(header.to_bytes(4) + bytes(random.randrange(0, 300)), 0)
        except ProtocolError:
            pass
        assert len(fragments) <= 2 * PARTIALS


@pytest.mark.parametrize(
    "piece",
    [
        b"\0\0\0",
        b"\0\0\0\3" + bytes(8),  # a kind that is not in use
        b"\0\0\0\4" + bytes(8),  # whole, with a sequence
        b"\0\0\0\1" + bytes(7),  # not the last, and no multiple of 4
        b"\0\0\0\1",  # empty
        b"\0\0\0\2" + bytes(8),  # the last, with no size
        b"\0\1\0\2" + bytes(12),  # the last, longer than the others
        b"\0\0\x7c\1" + bytes(400),  # beyond the limit
    ],
)
def test_bad_pieces_are_refused(piece: bytes) -> None:
    fragments, _ = made()
    with pytest.raises(ProtocolError):
        fragments.join(piece, 0)
    assert len(fragments) == 0


@examples(500)
@given(st.lists(st.binary(max_size=24)))
def test_nothing_else_is_raised(pieces: list[bytes]) -> None:
    fragments, _ = made(limit=100)
    for piece in pieces:
        try:
            joined = fragments.join(piece, 0)
        except ProtocolError:
            continue
        assert joined is None or len(joined) <= 100
