"""Fragmentation against scapy's, and reassembly of pieces in any order."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, defragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6

from tests.support.fuzzing import examples
from tmelink import ip
from tmelink.errors import ProtocolError
from tmelink.stack import fragments
from tmelink.stack.fragments import Reassembly, fragments_v4, fragments_v6

A4, B4 = ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed
A6, B6 = ip_address("fd00::1").packed, ip_address("fd00::2").packed
DATA = random.Random(1).randbytes(65000)


def reassembly() -> tuple[Reassembly, Counter[str]]:
    drops: Counter[str] = Counter()
    return Reassembly(30, drops), drops


@pytest.mark.parametrize("mtu", [68, 576, 1280, 1499, 1500, 9000])
def test_scapy_puts_ipv4_fragments_together(mtu: int) -> None:
    packet = ip.build_ipv4(A4, B4, 99, DATA[:20000], identification=7, ttl=3, tos=8)
    pieces = list(fragments_v4(packet, mtu))
    assert max(map(len, pieces)) <= mtu
    assert len(pieces) == -(-20000 // ((mtu - 20) // 8 * 8))
    [whole] = defragment([IP(piece) for piece in pieces])
    assert bytes(whole.payload) == DATA[:20000]
    assert (whole.ttl, whole.tos, whole.proto) == (3, 8, 99)


def test_a_packet_that_fits_is_left_alone() -> None:
    packet = ip.build_ipv4(A4, B4, 99, DATA[:1480], dont_fragment=True)
    assert list(fragments_v4(packet, 1500)) == [packet]
    packet = ip.build_ipv6(A6, B6, 99, DATA[:1460])
    assert list(fragments_v6(packet, 1500, 1)) == [packet]


def test_a_fragment_may_be_cut_again() -> None:
    packet = ip.build_ipv4(A4, B4, 99, DATA[:5000], identification=7)
    pieces = [small for piece in fragments_v4(packet, 1500) for small in fragments_v4(piece, 600)]
    assert max(map(len, pieces)) <= 600
    [whole] = defragment([IP(piece) for piece in pieces])
    assert bytes(whole.payload) == DATA[:5000]


def test_only_options_with_the_copied_bit_are_in_every_fragment() -> None:
    router_alert, record_route = bytes.fromhex("94040000"), bytes.fromhex("07070400000000") + b"\1"
    packet = ip.build_ipv4(A4, B4, 99, DATA[:3000], options=record_route + router_alert)
    first, *rest = fragments_v4(packet, 1500)
    assert first[20:32] == record_route + router_alert
    assert [piece[0] & 15 for piece in rest] == [6] * len(rest)
    assert {piece[20:24] for piece in rest} == {router_alert}


@pytest.mark.parametrize("mtu", [1280, 1500])
def test_scapy_puts_ipv6_fragments_together(mtu: int) -> None:
    packet = ip.build_ipv6(A6, B6, 99, DATA[:20000], hop_limit=3)
    pieces = list(fragments_v6(packet, mtu, 0xCAFE))
    assert max(map(len, pieces)) <= mtu
    assert {IPv6(piece)[IPv6ExtHdrFragment].id for piece in pieces} == {0xCAFE}
    assert [IPv6(piece)[IPv6ExtHdrFragment].m for piece in pieces] == [1] * (len(pieces) - 1) + [0]
    whole = defragment6([IPv6(piece) for piece in pieces])
    assert bytes(whole.payload) == DATA[:20000]


@examples(100)
@given(st.integers(1, 4000), st.sampled_from([8, 64, 1480]), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_whole(length: int, size: int, order: random.Random) -> None:
    offsets = list(range(0, length, size))
    order.shuffle(offsets)
    repeated = [offset for offset in offsets for _ in range(order.choice((1, 1, 2)))]
    pieces, drops = reassembly()
    done = []
    for count, offset in enumerate(repeated, 1):
        more = offset + size < length
        whole = pieces.add("key", offset, memoryview(DATA)[offset : min(offset + size, length)], more, b"", 0)
        done.append(whole)
        if whole is not None:
            assert set(repeated[:count]) == set(offsets)
            break
    assert done[-1] == DATA[:length]
    assert drops == {}
    assert pieces.deadline() is None


def test_datagrams_do_not_mix() -> None:
    pieces, _ = reassembly()
    assert pieces.add("a", 0, b"a" * 8, True, b"", 0) is None
    assert pieces.add("b", 0, b"b" * 8, True, b"", 0) is None
    assert pieces.add("a", 8, b"x", False, b"", 0) == b"aaaaaaaax"
    assert pieces.add("b", 8, b"y", False, b"", 0) == b"bbbbbbbby"


@pytest.mark.parametrize(
    "script",
    [
        [(0, 16, True), (8, 16, True)],
        [(8, 16, True), (0, 16, True)],
        [(8, 8, True), (0, 24, True)],
        [(0, 8, True), (0, 16, True)],
        [(0, 8, True), (0, 8, False)],
        [(16, 4, False), (16, 8, True)],
        [(16, 4, False), (24, 8, True)],
        [(24, 8, True), (16, 4, False)],
        [(8, 4, False), (16, 4, False)],
    ],
)
def test_contradicting_pieces_give_the_datagram_up(script: list[tuple[int, int, bool]]) -> None:
    pieces, _ = reassembly()
    (offset, length, more), last = script
    assert pieces.add("key", offset, bytes(length), more, b"", 0) is None
    with pytest.raises(ProtocolError, match="overlap"):
        pieces.add("key", last[0], b"\1" * last[1], last[2], b"", 0)
    assert pieces.deadline() is None


@pytest.mark.parametrize(("offset", "length"), [(0, 7), (0, 0), (65528, 16)])
def test_pieces_of_impossible_length(offset: int, length: int) -> None:
    pieces, _ = reassembly()
    with pytest.raises(ProtocolError, match="bad length"):
        pieces.add("key", offset, bytes(length), True, b"", 0)


def test_timeout_yields_the_first_piece() -> None:
    pieces, drops = reassembly()
    pieces.add("a", 8, bytes(8), True, b"a second", 100)
    pieces.add("a", 0, bytes(8), True, b"a first", 101)
    pieces.add("b", 8, bytes(8), True, b"b second", 102)
    assert pieces.deadline() == 130
    assert list(pieces.expire(129.9)) == []
    assert list(pieces.expire(130)) == [b"a first"]
    assert list(pieces.expire(200)) == [None]
    assert pieces.deadline() is None
    assert drops == {"fragment: timeout": 3}


def test_datagrams_are_bounded() -> None:
    pieces, drops = reassembly()
    for key in range(fragments.DATAGRAMS + 2):
        pieces.add(key, 0, bytes(8), True, b"", 0)
    assert drops == {"fragment: too many datagrams": 2}
    assert pieces.add(2, 8, b"x", False, b"", 0) == bytes(8) + b"x"
    # The oldest made room: its last piece does not find the first any more.
    assert pieces.add(0, 8, b"x", False, b"", 0) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "MEMORY", 100_000)
    pieces, drops = reassembly()
    for key in range(3):
        pieces.add(key, 0, bytes(40_000), True, b"", 0)
    assert drops == {"fragment: memory full": 1}


def test_pieces_are_bounded() -> None:
    pieces, _ = reassembly()
    for number in range(fragments.PIECES):
        pieces.add("key", number * 16, bytes(8), True, b"", 0)
    with pytest.raises(ProtocolError, match="too many pieces"):
        pieces.add("key", fragments.PIECES * 16, bytes(8), True, b"", 0)


@examples(300)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 20), st.booleans()), max_size=30
    )
)
def test_any_pieces_are_taken_or_refused(script: list[tuple[str, int, int, bool]]) -> None:
    pieces, _ = reassembly()
    for now, (key, offset, length, more) in enumerate(script):
        try:
            whole = pieces.add(key, offset * 8, DATA[offset * 8 : offset * 8 + length], more, b"", now)
        except ProtocolError:
            continue
        if whole is not None:
            assert whole == DATA[: len(whole)]
    list(pieces.expire(1e9))
    assert pieces._memory == 0
