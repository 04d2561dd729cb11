"""Joining frames into super-frames: the inverse of cutting, and everything that must not be joined."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import TCP
from scapy.packet import Raw

from tests.support.fuzzing import examples
from tests.support.packets import Flow, flows, noise
from tmelink.frame import Burst, Frame, Gso, Run
from tmelink.offload import segment
from tmelink.offload.checksum import complete_checksum
from tmelink.offload.coalesce import FEWEST, LEAST_PIECE, coalesce

PROPERTY = examples(100)

SIZE = 1000


def run_of(frames: list[bytes]) -> Run:
    """As UDP_GRO delivers them."""
    assert len({len(frame) for frame in frames[:-1]}) <= 1
    assert len(frames[-1]) <= len(frames[0])
    return Run(memoryview(b"".join(frames)), len(frames[0]))


def cut_again(burst: Burst, *, ip: bool = False) -> list[bytes]:
    frames: list[bytes] = []
    for frame, gso in zip(burst.frames, burst.gso or [None] * len(burst.frames), strict=True):
        if gso is None:
            frames.append(bytes(frame))
        else:
            run = segment(frame, gso, ip=ip)
            assert run is not None
            frames += map(bytes, run.pieces())
    return frames


def counts(burst: Burst) -> list[int]:
    """How many segments each frame of the burst is."""
    labels = burst.gso or [None] * len(burst.frames)
    return [
        1 if gso is None else -(-(len(frame) - gso.header) // gso.size)
        for frame, gso in zip(burst.frames, labels, strict=True)
    ]


def whole(frame: Frame, gso: Gso | None) -> bytes:
    assert gso is not None
    completed = complete_checksum(frame, gso)
    assert completed is not None
    return bytes(completed)


@PROPERTY
@given(flows, st.integers(FEWEST, 12), st.integers(LEAST_PIECE, 1500), st.integers(0, 1499), st.booleans())
def test_cut_pieces_become_the_super_frame_again(
    flow: Flow, count: int, size: int, last: int, separate: bool
) -> None:
    payload = noise(count * size + last % size)
    pieces = flow.pieces(payload, size)
    items: list[Any] = list(pieces) if separate else [run_of(pieces)]
    burst = coalesce(items, ip=flow.ip, udp=True)
    frame, gso = flow.super_frame(payload, size)
    assert burst.gso == [gso]
    # With its checksum completed it is the one big packet that scapy builds.
    assert whole(burst.frames[0], gso) == flow.pieces(payload, len(payload))[0]
    assert len(burst.frames[0]) == len(frame)
    assert cut_again(burst, ip=flow.ip) == pieces


@PROPERTY
@given(
    st.lists(
        st.tuples(flows, st.integers(0, 5), st.sampled_from([LEAST_PIECE, 700, 1448]), st.integers(0, 700)),
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
)
def test_whatever_is_joined_order_and_bytes_stay(parts: list[Any], runs: bool, udp: bool) -> None:
    items: list[Any] = []
    frames: list[bytes] = []
    for flow, count, size, last in parts:
        flow = flow.with_(ip=False, dont_fragment=False)
        pieces = flow.pieces(noise(count * size + last), size)
        frames += pieces
        items += [run_of(pieces)] if runs else pieces
    assert cut_again(coalesce(items, udp=udp)) == frames


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("length", "size"), [(65_000, 1448), (64_400, 1400), (65_001, 1447), (60_000, 999)])
def test_full_size(version: int, length: int, size: int) -> None:
    flow = Flow(version, flags="PA")
    payload = noise(length)
    burst = coalesce([run_of(flow.pieces(payload, size))])
    assert burst.gso == [flow.super_frame(payload, size)[1]]
    assert whole(burst.frames[0], burst.gso[0]) == flow.pieces(payload, length)[0]


def test_items_are_not_changed() -> None:
    pieces = Flow().pieces(noise(10_500), SIZE)
    buffer = bytearray(b"".join(pieces))
    coalesce([Run(memoryview(buffer), len(pieces[0]))])
    assert buffer == b"".join(pieces)


def test_runs_that_go_on_in_the_next_item_are_joined_across() -> None:
    pieces = Flow().pieces(noise(10_500), SIZE)
    assert counts(coalesce([run_of(pieces[:6]), run_of(pieces[6:])])) == [11]
    assert counts(coalesce([run_of(pieces[:6]), *pieces[6:]])) == [11]


def test_an_ip_packet_stays_below_its_limit() -> None:
    pieces = Flow().pieces(noise(70_000), 1400)
    burst = coalesce(pieces)
    assert cut_again(burst) == pieces
    assert [len(frame) - 14 <= 65_535 for frame in burst.frames] == [True, True]
    small = coalesce(pieces, limit=10_000)
    assert max(map(len, small.frames)) == 14 + 52 + 7 * 1400
    assert cut_again(small) == pieces


# Flows that meet


def test_two_flows_one_after_the_other() -> None:
    one = Flow().pieces(noise(5000, 1), SIZE)
    other = Flow(source_port=40001).pieces(noise(6000, 2), SIZE)
    burst = coalesce([run_of(one + other)])
    assert counts(burst) == [5, 6]
    assert cut_again(burst) == one + other


def test_flows_that_alternate_pass_as_they_came() -> None:
    one = Flow().pieces(noise(20_000, 1), SIZE)
    other = Flow(source_port=40001).pieces(noise(20_000, 2), SIZE)
    mixed = [frame for pair in zip(one, other, strict=True) for frame in pair]
    burst = coalesce([run_of(mixed)])
    assert burst.gso is None
    assert burst.frames == mixed


def test_datagrams_before_and_after_segments_of_their_size() -> None:
    tcp = Flow().pieces(noise(5000), SIZE)
    udp = Flow(udp=True).pieces(noise(1024), 1024)
    assert len(udp[0]) == len(tcp[0])
    items = udp + udp + tcp + udp
    burst = coalesce([run_of(items)])
    assert counts(burst) == [1, 1, 5, 1]
    assert cut_again(burst) == items


def test_udp_is_joined_only_when_asked() -> None:
    pieces = Flow(udp=True).pieces(noise(5000), SIZE)
    assert coalesce([run_of(pieces)]) == Burst([memoryview(piece) for piece in pieces])
    assert counts(coalesce([run_of(pieces)], udp=True)) == [5]


@pytest.mark.parametrize("ending", ["P", "F"])
def test_push_and_fin_end_a_super_frame(ending: str) -> None:
    first = Flow(flags=f"{ending}A").pieces(noise(5000), SIZE)
    second = Flow(sequence=6000, identification=12, flags=f"{ending}A").pieces(noise(4000), SIZE)
    burst = coalesce([run_of(first + second)])
    assert counts(burst) == [5, 4]
    assert cut_again(burst) == first + second


def test_a_reduced_window_begins_a_super_frame() -> None:
    first = Flow(flags="AC").pieces(noise(5000), SIZE)
    second = Flow(sequence=6000, identification=12, flags="AC").pieces(noise(4000), SIZE)
    burst = coalesce([run_of(first + second)])
    assert counts(burst) == [5, 4]
    assert burst.gso is not None
    assert [gso.ecn for gso in burst.gso if gso] == [True, True]
    assert cut_again(burst) == first + second


def test_identifications_of_packets_that_may_not_be_fragmented_do_not_matter() -> None:
    flow = Flow(dont_fragment=True)
    one = flow.pieces(noise(2000), SIZE)
    other = flow.with_(identification=999, sequence=3000).pieces(noise(2000), SIZE)
    assert counts(coalesce([run_of(one + other)])) == [4]
    plain = flow.with_(dont_fragment=False)
    one = plain.pieces(noise(4000), SIZE)
    other = plain.with_(identification=999, sequence=5000).pieces(noise(4000), SIZE)
    assert counts(coalesce([run_of(one + other)])) == [4, 4]


# What breaks a flow: a change of the third of eight pieces

CHANGES = {
    "destination": (0, b"\x06"),
    "service": (15, b"\x08"),
    "identification": (18, b"\x77\x77"),
    "fragment bits": (20, b"\x80"),
    "time to live": (22, b"\x09"),
    "address": (29, b"\x09"),
    "port": (35, b"\x09"),
    "sequence": (38, b"\x00\x00\x77\x77"),
    "acknowledgement": (45, b"\x09"),
    "echo": (47, b"\x50"),
    "urgent": (47, b"\x30"),
    "reset": (47, b"\x14"),
    "syn": (47, b"\x12"),
    "window": (48, b"\x09\x09"),
    "timestamp": (61, b"\x09"),
}


def repaired(frame: bytes | bytearray) -> bytes:
    """The frame, IPv4 with TCP, with right checksums."""
    fixed = bytearray(frame)

    def sum_(data: bytes | bytearray, start: int = 0) -> int:
        start += sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
        start += data[-1] << 8 if len(data) & 1 else 0
        while start >> 16:
            start = (start & 0xFFFF) + (start >> 16)
        return ~start & 0xFFFF

    fixed[24:26] = fixed[50:52] = b"\0\0"
    fixed[24:26] = sum_(fixed[14:34]).to_bytes(2, "big")
    length = len(frame) - 34
    fixed[50:52] = sum_(fixed[34:], sum(struct.unpack("!4H", fixed[26:34])) + 6 + length).to_bytes(2, "big")
    return bytes(fixed)


def test_repairing_changes_nothing_that_is_right() -> None:
    [piece] = Flow().pieces(noise(999), 999)
    assert repaired(piece) == piece


@pytest.mark.parametrize("what", CHANGES)
def test_a_piece_that_differs_is_not_joined(what: str) -> None:
    pieces = Flow().pieces(noise(8000), SIZE)
    at, value = CHANGES[what]
    odd = bytearray(pieces[2])
    odd[at : at + len(value)] = value
    pieces[2] = repaired(odd)
    burst = coalesce([run_of(pieces)])
    assert counts(burst) == [2, 1, 5]
    assert cut_again(burst) == pieces


@pytest.mark.parametrize("at", [24, 25, 50, 51, 66, 67, 500, 1065])
@pytest.mark.parametrize("number", [0, 2, 7])
def test_a_piece_with_a_wrong_checksum_is_not_joined(at: int, number: int) -> None:
    pieces = Flow().pieces(noise(8000), SIZE)
    broken = bytearray(pieces[number])
    broken[at] ^= 0x10
    pieces[number] = bytes(broken)
    burst = coalesce([run_of(pieces)])
    assert counts(burst) == {0: [1, 7], 2: [2, 1, 5], 7: [7, 1]}[number]
    assert cut_again(burst) == pieces


def test_wrong_checksums_that_make_up_for_each_other_are_both_wrong() -> None:
    pieces = Flow().pieces(noise(8000), SIZE)
    broken = bytearray(pieces[2])
    for at, change in ((24, 1), (50, -1)):
        (word,) = struct.unpack_from("!H", broken, at)
        struct.pack_into("!H", broken, at, (word + change) & 0xFFFF)
    pieces[2] = bytes(broken)
    assert counts(coalesce([run_of(pieces)])) == [2, 1, 5]


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("version", [4, 6])
def test_a_short_last_piece_whose_length_lies_is_not_joined(version: int, udp: bool) -> None:
    flow = Flow(version, udp=udp)
    pieces = flow.pieces(noise(5500), SIZE)
    burst = coalesce([run_of([*pieces[:-1], pieces[-1] + b"\0\0"])], udp=True)
    assert counts(burst) == [5, 1]
    assert counts(coalesce([run_of([*pieces[:-1], pieces[-1][:-2]])], udp=True)) == [5, 1]
    assert counts(coalesce([run_of([*pieces[:-1], pieces[-1][:30]])], udp=True)) == [5, 1]
    assert counts(coalesce([run_of([*pieces[:-1], pieces[-1][:1]])], udp=True)) == [5, 1]


def test_segments_with_ipv4_options_pass() -> None:
    options = b"\x01\x01\x01\x00"
    pieces = []
    for piece in Flow().pieces(noise(6000), SIZE):
        longer = bytearray(piece[:34] + options + piece[34:])
        longer[14] = 0x46
        longer[16:18] = (len(longer) - 14).to_bytes(2, "big")
        longer[24:26] = b"\0\0"
        check = ~(sum(struct.unpack("!12H", longer[14:38])) % 0xFFFF) & 0xFFFF
        longer[24:26] = check.to_bytes(2, "big")
        pieces.append(bytes(longer))
    assert coalesce([run_of(pieces)]).gso is None


def test_udp_without_checksums_passes() -> None:
    pieces = []
    for piece in Flow(udp=True).pieces(noise(6000), SIZE):
        pieces.append(piece[:40] + b"\0\0" + piece[42:])
    assert coalesce([run_of(pieces)], udp=True).gso is None


def test_acknowledgements_pass() -> None:
    pieces = Flow().pieces(b"", 1) * 30
    assert coalesce([run_of(pieces)]).frames == pieces


def test_a_few_frames_pass_without_a_look() -> None:
    pieces = Flow().pieces(noise(3000), SIZE)
    items: list[Frame | Run] = [pieces[0], pieces[1], pieces[2]]
    burst = coalesce(items)
    assert all(out is given for out, given in zip(burst.frames, items, strict=True))
    assert burst.gso is None


def test_a_run_of_any_length() -> None:
    pieces = Flow().pieces(noise(300_400), SIZE)
    burst = coalesce([run_of(pieces)])
    assert cut_again(burst) == pieces
    assert len(burst.frames) < 10


def test_frames_of_any_size_pass() -> None:
    large = Flow().pieces(noise(250_000), 50_000)
    assert coalesce([run_of(large)]).frames == large


def test_nothing_gives_nothing() -> None:
    assert coalesce([]) == Burst([])


@PROPERTY
@given(st.binary(max_size=3000), st.integers(1, 500), st.booleans())
def test_no_bytes_raise(data: bytes, size: int, ip: bool) -> None:
    run = Run(memoryview(data), size)
    burst = coalesce([run, *run.pieces()], ip=ip, udp=True)
    assert b"".join(burst.frames) == data + data


@PROPERTY
@given(flows, st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=5))
def test_no_broken_piece_raises_or_changes(flow: Flow, changes: list[tuple[int, int]]) -> None:
    flow = flow.with_(dont_fragment=False)
    pieces = flow.pieces(noise(4 * 400 + 99), 400)
    data = bytearray(b"".join(pieces))
    for at, value in changes:
        data[at % len(data)] = value
    run = Run(memoryview(data), len(pieces[0]))
    burst = coalesce([run], ip=flow.ip, udp=True)
    # A frame that was joined had right checksums, so cutting gives its bytes again.
    assert cut_again(burst, ip=flow.ip) == [bytes(piece) for piece in run.pieces()]


@pytest.mark.parametrize("flags", ["A", "AE", "AC", "AEC", "AU", "PAU", "AEU"])
@pytest.mark.parametrize("version", [4, 6])
def test_marks_of_congestion_and_urgency_come_out_as_they_went_in(version: int, flags: str) -> None:
    """Each segment with the marks, or every third one; whatever of it is joined."""
    for marked in (1, 3):
        flow = Flow(version)
        frames = []
        for number in range(4 * FEWEST):
            own = flags if number % marked == 0 else "A"
            headers = flow.headers(identification=number, sequence=1000 + 900 * number, flags=own)
            if "U" in own:
                headers[TCP].urgptr = 9
            frames.append(raw(headers / Raw(noise(900, seed=number))))
        assert cut_again(coalesce(frames)) == frames
        assert cut_again(coalesce([run_of(frames)])) == frames
