"""Compression framing: OpenVPN's bytes, and what may not be unpacked."""

from __future__ import annotations

from typing import get_args

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.errors import ProtocolError
from tmelink.openvpn.data import compress
from tmelink.openvpn.data.compress import CompressionFramer
from tmelink.openvpn.liveness import PING
from tmelink.openvpn.settings import Allow, Compression, Framing

# Pings as openvpn 2.6.14 sends them with each option.
PINGS = {
    "comp-lzo no": "fa2a187bf3641eb4cb07ed2d0a981fc748",
    "stub": "fb187bf3641eb4cb07ed2d0a981fc7482a",
    "stub-v2": "2a187bf3641eb4cb07ed2d0a981fc748",
    "lz4": "fb187bf3641eb4cb07ed2d0a981fc7482a",
    "lz4-v2": "2a187bf3641eb4cb07ed2d0a981fc748",
}

# Echo requests of 642 bytes from openvpn 2.6.14 with --allow-compression yes, to 50:00:00:00:00:02.
LZ4 = bytes.fromhex(
    "691f5000000000023af4733ab8ae0800450002746fdf40004001a2950a0909010a09090208003de53c440001a7c9006b2d00"
    "3003d10207002f00ab0100ffff3150abababababf0"
)
LZ4_V2 = bytes.fromhex(
    "5001f01f50000000000266e7f50c8169080045000274773f400040019b350a0909010a090902080070163d220001b3c9006b"
    "2d0030bdc10907002f00ab0100ffff3150ababababab"
)


def made(framing: Framing, allow: Allow = "asym", limit: int = 1600) -> CompressionFramer:
    return CompressionFramer(Compression(framing, allow), limit)


@pytest.mark.parametrize("framing", get_args(Framing))
def test_pings_are_framed_as_openvpn_does(framing: Framing) -> None:
    compression = made(framing)
    assert compression.frame(PING).hex() == PINGS[framing]
    assert compression.unframe(bytes.fromhex(PINGS[framing])) == PING


@pytest.mark.parametrize("framing", get_args(Framing))
@examples(100)
@given(st.one_of(st.binary(min_size=1, max_size=40), st.binary(max_size=40).map(b"\x50".__add__)))
def test_every_payload_survives(framing: Framing, payload: bytes) -> None:
    compression = made(framing)
    for kind in (bytes, bytearray, memoryview):
        assert compression.unframe(compression.frame(kind(payload))) == payload


@pytest.mark.parametrize(("framing", "packed"), [("lz4", LZ4), ("lz4-v2", LZ4_V2)])
def test_what_openvpn_packed_is_unpacked(framing: Framing, packed: bytes) -> None:
    frame = made(framing).unframe(packed)
    assert len(frame) == 642
    assert frame[:6] == bytes.fromhex("500000000002")
    assert frame[-500:] == b"\xab" * 500


def test_an_address_that_looks_like_a_header_is_escaped() -> None:
    compression = made("stub-v2")
    assert compression.frame(b"\x50\0\0") == b"\x50\0\x50\0\0"
    assert compression.unframe(b"\x50\0\x50\0\0") == b"\x50\0\0"
    # openvpn 2.6.14 escapes with 10 where it itself expects 0
    assert compression.unframe(b"\x50\x0a\x50\0\0") == b"\x50\0\0"


@pytest.mark.parametrize(
    ("framing", "allow", "framed", "reason"),
    [
        ("stub", "no", b"\x66abc", "LZO compressed"),
        ("comp-lzo no", "no", b"\x66abc", "LZO compressed"),
        ("stub", "no", LZ4, "compressed"),
        ("stub-v2", "no", LZ4_V2, "compressed"),
        ("comp-lzo no", "asym", b"\xfbabc", "bad compression"),
        ("stub", "asym", b"\xfaabc", "bad compression"),
        ("stub", "asym", b"\xfb", "bad compression"),
        ("stub-v2", "asym", b"\x50", "bad compression"),
        ("stub-v2", "asym", b"\x50\x07abc", "bad compression"),
        ("lz4", "asym", b"\x69\xff\xff\xff", "bad compression"),
        ("lz4", "asym", b"", "bad compression"),
    ],
)
def test_what_cannot_be_taken_is_told(framing: Framing, allow: Allow, framed: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        made(framing, allow).unframe(framed)
    assert str(raised.value) == reason


def test_a_small_packet_does_not_unpack_to_a_large_one() -> None:
    bomb = b"\x50\x01" + lz4.block.compress(bytes(100_000), store_size=False)
    with pytest.raises(ProtocolError):
        made("lz4-v2").unframe(bomb)
    assert len(made("lz4-v2", limit=100_000).unframe(bomb)) == 100_000


def test_nothing_is_taken_that_compresses_unless_it_is_allowed() -> None:
    with pytest.raises(ValueError, match="allow-compression asym"):
        compress.check(Compression("lz4", "no"))
    compress.check(Compression("lz4", "asym"))
    compress.check(Compression("stub", "no"))
    with pytest.raises(ValueError, match="'lzo' is not a compression framing"):
        compress.check(Compression("lzo", "yes"))  # type: ignore[arg-type]


@pytest.mark.parametrize("framing", get_args(Framing))
@examples(300)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(b"\x50\x01".__add__)))
def test_nothing_else_is_raised(framing: Framing, framed: bytes) -> None:
    try:
        assert len(made(framing, limit=1600).unframe(framed)) <= 1600
    except ProtocolError:
        pass
