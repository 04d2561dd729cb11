"""Frames, pings and messages told apart, one by one and in runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.frame import Kind, Run
from tmelink.openvpn import occ
from tmelink.openvpn.data.frame_filter import FrameFilter, PayloadKind
from tmelink.openvpn.liveness import PING

ETHERNET = bytes(12) + b"\x08\x00" + bytes(46)
IPV4 = b"\x45" + bytes(39)


@pytest.mark.parametrize(
    ("kind", "payload", "what"),
    [
        ("ethernet", PING, "ping"),
        ("ethernet", occ.message(occ.REQUEST), "message"),
        ("ethernet", bytes(13), "too short"),
        ("ethernet", bytes(14), "frame"),
        ("ethernet", bytes(1522), "frame"),
        ("ethernet", bytes(1523), "too long"),
        ("ip", PING, "ping"),
        ("ip", occ.message(occ.EXIT), "message"),
        ("ip", IPV4[:19], "too short"),
        ("ip", IPV4, "frame"),
        ("ip", b"\x55" + bytes(39), "not IP"),
        ("ip", b"\x45" + bytes(1500), "too long"),
    ],
)
def test_what_a_payload_is(kind: Kind, payload: bytes, what: PayloadKind) -> None:
    assert FrameFilter(kind, 1500).kind_of(payload) == what


payloads = st.one_of(
    st.sampled_from([PING, ETHERNET, IPV4, occ.message(occ.REQUEST), bytes(1600)]),
    st.binary(max_size=40),
    st.binary(max_size=20).map(occ.MAGIC.__add__),
    st.binary(max_size=40).map(b"\x45".__add__),
)


@pytest.mark.parametrize("kind", ["ethernet", "ip"])
@examples(200)
@given(payload=payloads)
def test_what_is_plainly_a_frame_is_one(kind: Kind, payload: bytes) -> None:
    filter = FrameFilter(kind, 1500)
    if filter.is_plain(payload):
        assert filter.kind_of(payload) == "frame"


@pytest.mark.parametrize("kind", ["ethernet", "ip"])
@examples(200)
@given(size=st.integers(1, 60), data=st.lists(payloads, min_size=1, max_size=8).map(b"".join))
def test_a_run_is_plain_where_each_of_its_pieces_is(kind: Kind, size: int, data: bytes) -> None:
    filter = FrameFilter(kind, 1500)
    run = Run(memoryview(data or b"\0"), size)
    assert filter.are_plain([run]) == all(map(filter.is_plain, run.pieces()))
