"""Cutting super-frames, held against scapy, which builds every piece on its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.packets import Flow, flows, noise
from tmelink.frame import Burst, Counters, Frame, Gso, Run
from tmelink.offload.checksum import complete_checksum, pseudo_header
from tmelink.offload.headers import locate
from tmelink.offload.segment import ALIKE, MAX_OUTPUT, cut, segment, segmented, without_one_segment

PROPERTY = examples(150)


def pieces_of(frame: Frame, gso: Gso, *, ip: bool = False) -> list[bytes]:
    run = segment(frame, gso, ip=ip)
    assert run is not None
    return [bytes(piece) for piece in run.pieces()]


@PROPERTY
@given(flows, st.integers(1, 4000), st.integers(1, 1500))
def test_every_piece_is_what_scapy_builds(flow: Flow, length: int, size: int) -> None:
    size = max(size, length // 12)
    payload = noise(length, seed=length)
    frame, gso = flow.super_frame(payload, size)
    assert pieces_of(frame, gso, ip=flow.ip) == flow.pieces(payload, size)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("length", "size"), [(64_000, 1448), (65_160, 1448), (65_001, 1447), (8000, 8)])
def test_full_size(version: int, length: int, size: int) -> None:
    flow = Flow(version, flags="PA")
    payload = noise(length)
    frame, gso = flow.super_frame(payload, size)
    assert pieces_of(memoryview(bytearray(frame)), gso) == flow.pieces(payload, size)


def test_pieces_lie_end_to_end_in_one_buffer() -> None:
    frame, gso = Flow(timestamps=False).super_frame(noise(2500), 1000)
    run = segment(frame, gso)
    assert isinstance(run, Run)
    assert run.size == 54 + 1000
    assert len(run.data) == 2500 + 3 * 54


def test_the_super_frame_is_left_as_it_was() -> None:
    frame, gso = Flow().super_frame(noise(5000), 1448)
    buffer = bytearray(frame)
    segment(memoryview(buffer), gso)
    assert buffer == frame


def test_a_super_frame_no_longer_than_a_segment_is_completed() -> None:
    flow = Flow(flags="FPAC")
    frame, gso = flow.super_frame(b"short", 1448)
    assert pieces_of(frame, gso) == flow.pieces(b"short", 1448)


def test_a_super_frame_without_payload_is_completed() -> None:
    flow = Flow(flags="FA")
    frame, gso = flow.super_frame(b"", 1448)
    assert pieces_of(frame, gso) == flow.pieces(b"", 1448)


@pytest.mark.parametrize("version", [4, 6])
def test_a_udp_checksum_of_zero_is_sent_as_all_ones(version: int) -> None:
    flow = Flow(version, udp=True)
    [plain] = flow.pieces(bytes(300), 300)
    at = len(plain) - 300 - 2
    # Make the sum all ones by adding, in the payload, what the checksum of zeros is.
    payload = plain[at : at + 2] + bytes(298)
    frame, gso = flow.super_frame(payload * 3, 300)
    pieces = pieces_of(frame, gso)
    assert pieces == flow.pieces(payload * 3, 300)
    assert pieces[1][at : at + 2] == b"\xff\xff"


def test_a_plain_frame_with_a_partial_checksum_is_a_run_of_one() -> None:
    flow = Flow(udp=True)
    [whole] = flow.pieces(b"hello", 100)
    partial = bytearray(whole)
    partial[40:42] = (0x0A01 + 0x0203 + 0x0AFA + 0x0009 + 17 + 13).to_bytes(2, "big")
    assert pieces_of(bytes(partial), Gso(0, 0, 0, 34, 6)) == [whole]


TCP = Flow(timestamps=False)
FRAME, GSO = TCP.super_frame(noise(3000), 1000)


def changed(at: int, value: int) -> bytes:
    frame = bytearray(FRAME)
    frame[at] = value
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "gso"),
    [
        pytest.param(FRAME, GSO._replace(size=0), id="size zero"),
        pytest.param(FRAME, GSO._replace(kind=4), id="TCP over IPv6 it is not"),
        pytest.param(FRAME, GSO._replace(kind=5), id="UDP it is not"),
        pytest.param(FRAME, GSO._replace(kind=3), id="UDP fragmentation"),
        pytest.param(FRAME, GSO._replace(kind=9), id="a kind without a name"),
        pytest.param(FRAME[:-1], GSO, id="IP length beyond the frame"),
        pytest.param(FRAME + b"\0", GSO, id="frame beyond the IP length"),
        pytest.param(FRAME[:50], GSO, id="cut within the TCP header"),
        pytest.param(FRAME[:20], GSO, id="cut within the IP header"),
        pytest.param(b"", GSO, id="nothing"),
        pytest.param(changed(14, 0x44), GSO, id="IP header too short"),
        pytest.param(changed(14, 0x65), GSO, id="IPv6 in an IPv4 frame"),
        pytest.param(changed(46, 0x40), GSO, id="TCP header too short"),
        pytest.param(changed(20, 0x20), GSO, id="a fragment"),
        pytest.param(changed(21, 1), GSO, id="a later fragment"),
        pytest.param(changed(12, 9), GSO, id="not IP"),
        pytest.param(bytes(50), Gso(0, 0, 0, 44, 6), id="checksum outside the frame"),
    ],
)
def test_malformed_super_frames_are_refused(frame: bytes, gso: Gso) -> None:
    assert segment(frame, gso) is None


def test_the_label_s_header_length_is_not_believed() -> None:
    assert (
        pieces_of(FRAME, GSO._replace(header=2))
        == pieces_of(FRAME, GSO._replace(header=60_000))
        == pieces_of(FRAME, GSO)
    )


def test_a_tcp_header_longer_than_the_frame_is_refused() -> None:
    frame = bytearray(TCP.super_frame(b"", 10)[0])
    frame[46] = 0xF0
    assert segment(frame, GSO) is None


def test_a_super_frame_that_would_become_too_much_is_refused() -> None:
    frame, gso = Flow().super_frame(noise(60_000), 1)
    assert MAX_OUTPUT < 60_000 * 67
    assert segment(frame, gso) is None


def test_an_ipv6_packet_that_a_routing_header_leads_on_is_refused() -> None:
    frame = bytearray(Flow(6, extensions=1).super_frame(noise(3000), 1000)[0])
    frame[20] = 43
    frame[54 + 3] = 1
    assert segment(frame, Gso(4, 1000, 0, 62, 16)) is None


@PROPERTY
@given(
    st.binary(max_size=200),
    st.builds(Gso, *[st.integers(0, 5)], *[st.integers(0, 65535)] * 4),
    st.booleans(),
)
def test_no_bytes_raise(frame: bytes, gso: Gso, ip: bool) -> None:
    run = segment(frame, gso, ip=ip)
    assert run is None or len(run.data) >= len(frame)


@PROPERTY
@given(flows, st.integers(0, 120), st.integers(0, 255), st.integers(0, 400), st.integers(0, 300))
def test_no_broken_header_raises(flow: Flow, at: int, value: int, end: int, size: int) -> None:
    frame, gso = flow.super_frame(noise(300), size)
    broken = bytearray(frame)
    broken[at % len(broken)] = value
    for each in (broken, broken[:end]):
        run = segment(each, gso, ip=flow.ip)
        assert run is None or len(run.data) >= len(each)


def test_segmented_cuts_what_is_labelled_and_counts_what_cannot_be() -> None:
    flow = Flow()
    payload = noise(3000)
    frame, gso = flow.super_frame(payload, 1448)
    sent = Counters()
    burst = segmented(
        Burst([b"first", frame, b"between", frame[:-1], b"last"], [None, gso, None, gso, None]), sent
    )
    assert [bytes(each) for each in burst.frames] == [
        b"first",
        *flow.pieces(payload, 1448),
        b"between",
        b"last",
    ]
    assert burst.gso is None
    assert sent.drops == {"malformed super-frame": 1}


def test_segmented_cuts_ip_packets() -> None:
    flow = Flow(6, ip=True)
    payload = noise(3000)
    frame, gso = flow.super_frame(payload, 1000)
    burst = segmented(Burst([frame], [gso]), Counters(), ip=True)
    assert [bytes(each) for each in burst.frames] == flow.pieces(payload, 1000)


def test_segmented_leaves_a_plain_burst_alone() -> None:
    burst = Burst([b"frame"])
    assert segmented(burst, Counters()) is burst


def partial(flow: Flow, payload: bytes) -> tuple[bytes, Gso]:
    """A frame as a TAP gives it whose checksum is the only thing that it lacks, with its label."""
    [whole] = flow.pieces(payload, len(payload) + 1)
    at = locate(whole, flow.ip)
    assert at is not None
    offset = 6 if flow.udp else 16
    frame = bytearray(whole)
    sum_ = pseudo_header(whole, at, at.end - at.transport)
    frame[at.transport + offset : at.transport + offset + 2] = sum_.to_bytes(2, "big")
    return bytes(frame), Gso(0, 0, 0, at.transport, offset)


def flat(items: Sequence[Frame | Run]) -> list[bytes]:
    frames: list[Frame] = []
    for item in items:
        frames += item.pieces() if isinstance(item, Run) else [item]
    return [bytes(frame) for frame in frames]


@PROPERTY
@given(st.lists(st.tuples(flows, st.integers(0, 300), st.integers(1, 2 * ALIKE), st.booleans()), max_size=6))
def test_cut_completes_what_is_partial_and_keeps_the_order(
    parts: list[tuple[Flow, int, int, bool]],
) -> None:
    frames: list[Frame] = []
    labels: list[Gso | None] = []
    expected = []
    for flow, length, count, labelled in parts:
        for number in range(count):
            payload = noise(length, number)
            whole = flow.pieces(payload, length + 1)
            frame, gso = partial(flow, payload) if labelled else (whole[0], None)
            frames.append(frame)
            labels.append(gso)
            expected += whole
    sent = Counters()
    assert flat(cut(Burst(frames, labels), sent)) == expected
    assert not sent.drops


def test_frames_that_are_alike_are_a_run() -> None:
    frame, gso = partial(Flow(udp=True), noise(22))
    [run] = cut(Burst([frame] * ALIKE, [gso] * ALIKE), Counters())
    assert isinstance(run, Run)
    assert run.size == 64
    assert len(cut(Burst([frame] * (ALIKE - 1), [gso] * (ALIKE - 1)), Counters())) == ALIKE - 1


def test_alike_frames_of_udp_have_no_checksum_of_zero() -> None:
    # Words whose sum is all ones, the field counted as zero.
    frame = bytes(34) + bytes.fromhex("ffff 0000 0000 0000")
    [run] = cut(Burst([frame] * ALIKE, [Gso(0, 0, 0, 34, 6)] * ALIKE), Counters())
    assert flat([run]) == [bytes(34) + bytes.fromhex("ffff 0000 0000 ffff")] * ALIKE


@pytest.mark.parametrize("label", [Gso(0, 0, 0, 60, 3), Gso(0, 0, 0, 65535, 65535)])
def test_alike_frames_whose_labels_point_outside_are_counted(label: Gso) -> None:
    sent = Counters()
    assert cut(Burst([bytes(64)] * ALIKE, [label] * ALIKE), sent) == []
    assert sent.drops == {"malformed super-frame": ALIKE}


@PROPERTY
@given(
    st.binary(min_size=40, max_size=80),
    st.integers(0, 50),
    st.integers(0, 40),
    st.integers(1, 2 * ALIKE),
)
def test_alike_frames_fare_as_each_would_alone(frame: bytes, start: int, offset: int, count: int) -> None:
    gso = Gso(0, 0, 0, start, offset)
    alone = complete_checksum(frame, gso)
    items = cut(Burst([frame] * count, [gso] * count), Counters())
    assert flat(items) == ([] if alone is None else [bytes(alone)] * count)


@pytest.mark.parametrize("flow", [Flow(), Flow(6), Flow(ip=True)])
def test_one_segment_of_the_longest_tcp_super_frame_is_left_out(flow: Flow) -> None:
    short, short_gso = flow.super_frame(noise(3000), 1000)
    long, long_gso = flow.super_frame(noise(5000), 1000)
    udp, udp_gso = Flow(udp=True, ip=flow.ip).super_frame(noise(9000), 1000)
    burst = Burst([b"lone frame", short, long, udp], [None, short_gso, long_gso, udp_gso])
    thinned = without_one_segment(burst, ip=flow.ip)
    assert thinned is not None
    rest = flow.pieces(noise(5000), 1000)[1:]
    assert [bytes(frame) for frame in thinned.frames] == [b"lone frame", short, *rest, udp]
    assert thinned.gso == [None, short_gso, None, None, None, None, udp_gso]
    assert burst.frames == [b"lone frame", short, long, udp]


def test_nothing_but_tcp_is_left_out() -> None:
    frame, gso = Flow(udp=True).super_frame(noise(3000), 1000)
    assert without_one_segment(Burst([frame, b"lone"], [gso, None])) is None
    assert without_one_segment(Burst([b"lone"])) is None
    tcp, label = Flow().super_frame(noise(3000), 1000)
    assert without_one_segment(Burst([tcp[:40]], [label])) is None
