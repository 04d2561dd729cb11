"""virtio_net_hdr, byte by byte as the kernel's headers lay it out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.frame import Gso
from tmelink.offload.virtio import HEADER, HEADER_WITH_BUFFERS, TCP4, decode_header, encode_header

PROPERTY = examples(150)


def header(*fields: int) -> bytes:
    return struct.pack("=BBHHHH", *fields)


def test_a_plain_frame_has_no_label() -> None:
    assert decode_header(bytes(HEADER)) is None
    assert encode_header(None) == bytes(10)
    assert encode_header(None, HEADER_WITH_BUFFERS) == bytes(12)


def test_a_checksum_that_was_verified_needs_nothing() -> None:
    assert decode_header(header(2, 0, 0, 0, 0, 0)) is None


def test_a_tcp_super_frame() -> None:
    gso = Gso(TCP4, 1448, 66, 34, 16)
    assert decode_header(header(1, 1, 66, 1448, 34, 16)) == gso
    assert encode_header(gso) == header(1, 1, 66, 1448, 34, 16)
    assert encode_header(gso, HEADER_WITH_BUFFERS) == header(1, 1, 66, 1448, 34, 16) + b"\0\0"


def test_the_ecn_bit_is_no_part_of_the_kind() -> None:
    gso = Gso(4, 1428, 86, 54, 16, ecn=True)
    assert decode_header(header(1, 0x84, 86, 1428, 54, 16)) == gso
    assert encode_header(gso) == header(1, 0x84, 86, 1428, 54, 16)


def test_a_partial_checksum_alone() -> None:
    gso = Gso(0, 0, 0, 34, 6)
    assert decode_header(memoryview(header(1, 0, 0, 0, 34, 6) + b"frame")) == gso
    assert encode_header(gso) == header(1, 0, 0, 0, 34, 6)


def test_without_the_flag_the_checksum_s_place_means_nothing() -> None:
    assert decode_header(header(0, 1, 66, 1448, 34, 16)) == Gso(1, 1448, 66, 0, 0)


@pytest.mark.parametrize("length", range(HEADER))
def test_too_few_bytes_are_no_header(length: int) -> None:
    assert decode_header(b"\xff" * length) is None


@PROPERTY
@given(st.binary(max_size=20))
def test_no_bytes_raise_and_what_is_decoded_is_encoded_again(data: bytes) -> None:
    gso = decode_header(bytearray(data))
    if gso is not None:
        assert decode_header(encode_header(gso)) == (gso if any(gso) else None)
