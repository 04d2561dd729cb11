"""Records in slices: joined in any order, bounded in memory, and believed in nothing before their tag."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.wire import pieces as pieces_of
from tmelink.frame import Frame, Run
from tmelink.openvpn.data import records, slices
from tmelink.openvpn.data.aead import MAX_FAILURES, SUITES, AeadKeys
from tmelink.openvpn.data.direction import split
from tmelink.openvpn.data.epoch import EpochKeys
from tmelink.openvpn.data.packet import RECORD
from tmelink.openvpn.data.records import Record
from tmelink.openvpn.data.slices import HEADER, MOST, MOST_BYTES, MOST_OPEN, SECONDS, Slices

HEAD = bytes((RECORD << 3 | 2, 1, 2, 3))
IDENTITY = HEAD + bytes((0, 0, 0, 9))
AT = len(IDENTITY)


def cut(size: int, room: int, identity: bytes = IDENTITY) -> tuple[bytes, list[bytes]]:
    sealed = Random(size).randbytes(size)
    return sealed, [bytes(piece) for piece in slices.cut(identity, sealed, room).pieces()]


def runs_of(pieces: Sequence[bytes], lengths: Sequence[int]) -> list[Run]:
    """The pieces as a kernel's GRO may put them together: equal ones, a shorter one last."""
    found: list[Run] = []
    at = 0
    for most in itertools.cycle(lengths):
        if at >= len(pieces):
            return found
        end, wide = at + 1, len(pieces[at])
        while end < min(len(pieces), at + most) and len(pieces[end - 1]) == wide >= len(pieces[end]):
            end += 1
        found.append(Run(memoryview(b"".join(pieces[at:end])), len(pieces[at])))
        at = end
    return found


cuts = st.tuples(st.integers(40, 9000), st.integers(10, 1500)).filter(
    lambda pair: 2 <= slices.count(*pair) <= MOST
)


@examples(200)
@given(cuts, st.lists(st.integers(1, 70), min_size=1), st.randoms(use_true_random=False), st.booleans())
def test_slices_are_joined_in_any_order_and_in_any_runs(
    shape: tuple[int, int], lengths: list[int], chance: Random, shuffle: bool
) -> None:
    sealed, pieces = cut(*shape)
    if shuffle:
        chance.shuffle(pieces)
    drops: Counter[str] = Counter()
    joiner = Slices(drops)
    found = [joined for run in runs_of(pieces, lengths) for joined in joiner.join(run, AT, 1.0)]
    assert [(bytes(one.sealed), one.slices) for one in found] == [(sealed, len(pieces))]
    assert found[0].aad == slices.aad(IDENTITY, *shape)
    assert not drops


@examples(100)
@given(st.lists(cuts, min_size=1, max_size=5), st.lists(st.integers(1, 70), min_size=1), st.integers(0, 99))
def test_repeated_slices_change_nothing(shapes: list[tuple[int, int]], lengths: list[int], seed: int) -> None:
    made = [cut(*shape, HEAD + number.to_bytes(4)) for number, shape in enumerate(shapes)]
    pieces = [piece for _, each in made for piece in each]
    sent = pieces + Random(seed).sample(pieces, len(pieces) // 2)
    Random(seed).shuffle(sent)
    drops: Counter[str] = Counter()
    joiner = Slices(drops)
    found = [joined for run in runs_of(sent, lengths) for joined in joiner.join(run, AT, 1.0)]
    assert sorted(bytes(one.sealed) for one in found) == sorted(sealed for sealed, _ in made)
    assert drops == ({"repeated packet": len(pieces) // 2} if len(pieces) > 1 else {})


def test_one_call_may_bring_several_records_and_parts_of_others() -> None:
    made = [cut(600, 60, HEAD + number.to_bytes(4)) for number in range(6)]
    pieces = [piece for _, each in made for piece in each]
    joiner = Slices(Counter())
    together = [Run(memoryview(b"".join(pieces[at : at + 17])), len(pieces[0])) for at in range(0, 60, 17)]
    found = [joined for run in together for joined in joiner.join(run, AT, 1.0)]
    assert [bytes(one.sealed) for one in found] == [sealed for sealed, _ in made]
    single = list(Slices(Counter()).join(pieces, AT, 1.0))
    assert [bytes(one.sealed) for one in single] == [sealed for sealed, _ in made]


def test_a_record_that_lacks_a_slice_gives_way_after_a_time_or_to_newer_ones() -> None:
    drops: Counter[str] = Counter()
    joiner = Slices(drops)
    for number in range(MOST_OPEN + 3):
        _, pieces = cut(600, 60, HEAD + number.to_bytes(4))
        assert joiner.join(pieces[:-1], AT, 1.0) == []
    assert drops == {"incomplete record": 3 * 9}
    sealed, pieces = cut(600, 60, HEAD + b"\0\0\1\0")
    assert not joiner.join(pieces[:1], AT, 1.0 + SECONDS)
    assert drops == {"incomplete record": (MOST_OPEN + 3) * 9}
    assert [bytes(one.sealed) for one in joiner.join(pieces[1:], AT, 1.0 + SECONDS)] == [sealed]


def test_whoever_sends_slices_takes_no_more_than_a_bounded_memory() -> None:
    joiner = Slices(Counter())
    room = MOST_BYTES // (MOST - 1) - AT - HEADER
    wide = bytes(room)
    tracemalloc.start()
    try:
        for number in range(5000):
            start = HEAD + number.to_bytes(4) + bytes((number % MOST, MOST)) + room.to_bytes(2)
            joiner.join([start + wide], AT, number / 1e6)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < MOST_OPEN * 2 * 65536


@pytest.mark.parametrize(
    "header",
    [
        (0, 0, 100), (0, 1, 100), (0, MOST + 1, 100), (5, 5, 100), (255, 10, 100), (0, 5, 99), (0, 5, 101),
        (4, 5, 99), (0, 5, 0), (4, 5, 0), (1, MOST, 1100), (3, 4, 65535),
    ],
)  # fmt: skip
def test_a_slice_that_contradicts_itself_is_counted(header: tuple[int, int, int]) -> None:
    number, count, room = header
    drops: Counter[str] = Counter()
    piece = IDENTITY + bytes((number, count)) + room.to_bytes(2) + bytes(100)
    assert Slices(drops).join([piece, piece[: AT + HEADER], piece[:AT], piece[:3], b""], AT, 1.0) == []
    assert drops == {"malformed record": 5}


@examples(300)
@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 60))
def test_any_bytes_are_joined_or_counted(bodies: list[bytes], size: int) -> None:
    drops: Counter[str] = Counter()
    joiner = Slices(drops)
    data = HEAD + b"".join(bodies)
    items: list[Frame] = [HEAD + body for body in bodies]
    for joined in [*joiner.join(items, AT, 1.0), *joiner.join(Run(memoryview(data), size), AT, 1.0)]:
        assert 2 <= joined.slices <= MOST
        assert len(joined.sealed) < 65536


# Under keys

DROPS = Counter[str]


def ends(suite: str = "AES-256-GCM", *, epoch: bool = False) -> tuple[AeadKeys, AeadKeys, DROPS]:
    drops: DROPS = Counter()
    kind = EpochKeys if epoch else AeadKeys
    one, other = (
        kind(SUITES[suite], *split(bytes(range(256)), server=server), drops) for server in (False, True)
    )
    return one, other, drops


def opened(keys: AeadKeys, run: Run | Sequence[Frame], drops: DROPS) -> list[bytes]:
    joined = Slices(drops).join(run, 4 + keys.id_bytes, 1.0)
    return [payload for one in joined if (payload := records.open(keys, 4, one)) is not None]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("epoch", [False, True])
def test_a_record_is_opened_once_whatever_its_length(suite: str, epoch: bool) -> None:
    sender, receiver, drops = ends(suite, epoch=epoch)
    lengths = [*range(185, 215), 5000, 60_000]
    for length in lengths:
        payload = Random(length).randbytes(length)
        room = 1400 if length > 2000 else 100
        run = records.seal(sender, HEAD, Record(payload, room))
        assert run is not None
        assert opened(receiver, run, drops) == [payload]
        assert opened(receiver, run, drops) == []
        assert opened(receiver, list(reversed(run.pieces())), drops) == []
    assert set(drops) == {"repeated packet"}


@pytest.mark.parametrize("epoch", [False, True])
def test_records_and_packets_share_their_ids_and_no_nonce_is_used_twice(epoch: bool) -> None:
    sender, receiver, drops = ends(epoch=epoch)
    used: list[bytes] = []

    class Noting:
        def __init__(self, aead: object) -> None:
            self._aead = aead

        def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
            used.append(bytes(nonce))
            sealed: bytes = self._aead.encrypt(nonce, data, aad)  # type: ignore[attr-defined]
            return sealed

    sender.sending().aead = Noting(sender.sending().aead)  # type: ignore[assignment]
    data_head = b"\x4a\1\2\3"
    for number in range(20):
        run = records.seal(sender, HEAD, Record(bytes(1000), 100))
        assert run is not None
        assert opened(receiver, run, drops) == [bytes(1000)]
        packets = sender.seal(data_head, 0, [bytes(60)] * (number % 3))
        assert receiver.open_each(4, 0, pieces_of(packets)) == [bytes(60)] * (number % 3)
    assert len(set(used)) == len(used) == 20 + sum(number % 3 for number in range(20))
    assert not drops


def test_what_a_record_says_of_itself_is_authenticated() -> None:
    sender, receiver, drops = ends()
    run = records.seal(sender, HEAD, Record(bytes(range(200)) * 5, 100))
    assert run is not None
    pieces = [bytes(piece) for piece in run.pieces()]
    for at in range(1, len(pieces[0])):
        if at in (8, 9, 10, 11):  # number, slices and length of the slices: joined otherwise, or not at all
            continue
        changed = [
            piece[:at] + bytes(byte ^ 1 for byte in piece[at : at + 1]) + piece[at + 1 :] for piece in pieces
        ]
        altered = changed if at < 12 else [changed[0], *pieces[1:]]
        assert opened(receiver, altered, drops) == []
    assert set(drops) == {"not authentic"}
    # As a packet of its own it is none either, and what it was is still to come.
    assert receiver.open_each(4, 0, [b"\x4a" + HEAD[1:] + b"".join(piece[12:] for piece in pieces)]) == []
    assert opened(receiver, pieces, drops) == [bytes(range(200)) * 5]


def test_a_record_beside_others_of_the_same_cut_is_not_believed() -> None:
    sender, receiver, drops = ends()
    first, second = (records.seal(sender, HEAD, Record(bytes(1000), 100)) for _ in range(2))
    assert first is not None
    assert second is not None
    mixed = [one[:12] + two[12:] if number == 3 else one for number, (one, two) in enumerate(
        zip(map(bytes, first.pieces()), map(bytes, second.pieces()), strict=True)
    )]  # fmt: skip
    assert opened(receiver, mixed, drops) == []
    assert drops == {"not authentic": len(mixed)}


def test_a_key_that_is_used_up_or_has_seen_too_much_takes_no_records() -> None:
    sender, receiver, drops = ends()
    sender.sending().number = sender.last_id
    assert records.seal(sender, HEAD, Record(bytes(1000), 100)) is None
    assert drops == {"packet ids used up": 11}
    drops.clear()
    sender.sending().number = 0
    run = records.seal(sender, HEAD, Record(bytes(1000), 100))
    assert run is not None
    key = receiver.receiving(1)
    assert key is not None
    key.failures = MAX_FAILURES
    assert opened(receiver, run, drops) == []
    assert drops == {"too many forgeries": 11}


def test_a_record_counts_towards_the_limits_of_its_key() -> None:
    sender, receiver, drops = ends()
    run = records.seal(sender, HEAD, Record(bytes(1600), 100))
    assert run is not None
    assert opened(receiver, run, drops) == [bytes(1600)]
    assert sender.sending().usage(sender.sending().number) == 101
    key = receiver.receiving(1)
    assert key is not None
    assert key.usage(key.window.top) == 101


def test_a_record_of_an_epoch_that_is_too_far_ahead_is_counted() -> None:
    sender, receiver, drops = ends(epoch=True)
    run = records.seal(sender, HEAD, Record(bytes(1000), 100))
    assert run is not None
    pieces = [bytes(piece[:4]) + b"\1\0" + bytes(piece[6:]) for piece in run.pieces()]
    assert opened(receiver, pieces, drops) == []
    assert drops == {"unknown epoch": 11}
