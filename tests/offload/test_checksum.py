"""Checksums left for later, against scapy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from tests.support.fuzzing import examples
from tests.support.packets import Flow, flows, noise
from tmelink.frame import Gso
from tmelink.offload.checksum import LONG, complete_checksum, pseudo_header, total
from tmelink.offload.headers import locate

PROPERTY = examples(150)


@PROPERTY
@given(st.binary(max_size=200), st.integers(0, 2 * LONG))
def test_the_sum_is_the_complement_of_scapys_checksum(data: bytes, more: int) -> None:
    data += noise(more)
    assert (total(data) + scapy_checksum(data)) % 0xFFFF == 0


@PROPERTY
@given(flows, st.integers(0, 2000))
def test_a_partial_checksum_is_completed(flow: Flow, length: int) -> None:
    payload = noise(length, seed=length)
    [whole] = flow.pieces(payload, length)
    at = locate(whole, flow.ip)
    assert at is not None
    offset = 6 if flow.udp else 16
    partial = bytearray(whole)
    field = at.transport + offset
    sum_ = pseudo_header(whole, at, at.end - at.transport)
    partial[field : field + 2] = sum_.to_bytes(2, "big")
    given_ = bytes(partial)
    assert complete_checksum(memoryview(partial), Gso(0, 0, 0, at.transport, offset)) == whole
    assert partial == given_


def test_udp_has_no_checksum_of_zero() -> None:
    # Words whose sum is all ones, the field counted as zero.
    frame = bytes(34) + bytes.fromhex("ffff 0000 0000 0000")
    completed = complete_checksum(frame, Gso(0, 0, 0, 34, 6))
    assert completed == bytes(34) + bytes.fromhex("ffff 0000 0000 ffff")
    assert complete_checksum(frame + bytes(10), Gso(0, 0, 0, 34, 16)) == frame + bytes(10)


def test_nothing_to_complete_gives_the_frame_itself() -> None:
    frame = b"frame"
    assert complete_checksum(frame, Gso(1, 1448, 66, 0, 0)) is frame


@pytest.mark.parametrize(("start", "offset"), [(99, 0), (34, 65), (65535, 65535), (0, 100)])
def test_a_field_outside_the_frame_is_refused(start: int, offset: int) -> None:
    assert complete_checksum(bytes(100), Gso(0, 0, 0, start, offset)) is None


@PROPERTY
@given(st.binary(max_size=100), st.integers(0, 120), st.integers(0, 120))
def test_no_bytes_raise(frame: bytes, start: int, offset: int) -> None:
    completed = complete_checksum(frame, Gso(0, 0, 0, start, offset))
    assert completed is None or len(completed) == len(frame)
