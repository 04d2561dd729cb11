"""Labels held against the frames that they stand before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.packets import Flow, flows, noise
from tmelink.frame import Gso
from tmelink.offload import checked, segment
from tmelink.offload.segment import MAX_OUTPUT

LONGEST = 1522
PROPERTY = examples(300)


@PROPERTY
@given(flows, st.integers(1, 9000), st.integers(400, 1300))
def test_what_a_card_would_be_given_is_right(flow: Flow, length: int, size: int) -> None:
    frame, gso = flow.super_frame(noise(length), size)
    assert checked(frame, gso, LONGEST, ip=flow.ip) == gso


def test_what_the_label_only_repeats_comes_from_the_frame() -> None:
    frame, gso = Flow(flags="AC").super_frame(noise(5000), 1400)
    assert checked(frame, gso._replace(header=9, ecn=False), LONGEST) == gso
    frame, gso = Flow(udp=True).super_frame(noise(5000), 1400)
    assert checked(frame, gso._replace(ecn=True), LONGEST) == gso


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": 0},
        {"kind": 3},
        {"kind": 4},
        {"kind": 5},
        {"kind": 127},
        {"size": 0},
        {"size": 1457},
        {"size": 65535},
        {"size": 1},
        {"checksum_start": 0},
        {"checksum_start": 33},
        {"checksum_start": 65535},
        {"checksum_offset": 6},
        {"checksum_offset": 65535},
        {"checksum_start": 0, "checksum_offset": 0},
    ],
    ids=str,
)
def test_a_label_that_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    frame, gso = Flow().super_frame(noise(40_000), 1400)
    assert checked(frame, gso, LONGEST) is not None
    assert checked(frame, gso._replace(**wrong), LONGEST) is None


def test_a_frame_whose_lengths_lie_is_refused() -> None:
    for flow in (Flow(), Flow(version=6), Flow(udp=True)):
        frame, gso = flow.super_frame(noise(5000), 1400)
        assert checked(frame + b"\0", gso, LONGEST) is None
        assert checked(frame[:-1], gso, LONGEST) is None
        assert checked(frame[: gso.header], gso, LONGEST) is None
    frame, gso = Flow(udp=True).super_frame(noise(5000), 1400)
    lying = bytearray(frame)
    lying[gso.checksum_start + 4] ^= 1
    assert checked(lying, gso, LONGEST) is None


def test_what_opens_a_connection_is_refused() -> None:
    frame, gso = Flow(flags="S").super_frame(noise(5000), 1400)
    assert checked(frame, gso, LONGEST) is None


def test_what_would_become_too_much_is_refused() -> None:
    frame, gso = Flow(timestamps=False).super_frame(noise(60_000), 2)
    assert MAX_OUTPUT < (60_000 // 2) * 56
    assert checked(frame, gso, LONGEST) is None


@PROPERTY
@given(
    flows,
    st.integers(1, 5000),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
    st.builds(
        Gso,
        st.sampled_from([0, 1, 3, 4, 5, 9]),
        st.sampled_from([0, 1, 100, 1400, 65535]),
        st.integers(0, 65535),
        st.sampled_from([0, 14, 20, 34, 40, 54, 58, 62, 65535]),
        st.sampled_from([0, 6, 16, 65535]),
        st.booleans(),
    ),
    st.booleans(),
)
def test_what_passes_can_be_cut_and_comes_out_short_enough(
    flow: Flow, length: int, changes: list[tuple[int, int]], label: Gso, right: bool
) -> None:
    frame, gso = flow.super_frame(noise(length), 1000)
    altered = bytearray(frame)
    for at, value in changes:
        if at < len(altered):
            altered[at] = value
    found = checked(altered, gso if right else label, LONGEST, ip=flow.ip)
    if found is not None:
        run = segment(altered, found, ip=flow.ip)
        assert run is not None
        assert run.size <= LONGEST
        assert len(run.data) <= MAX_OUTPUT
