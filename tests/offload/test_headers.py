"""Where headers lie, against where scapy puts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.support.fuzzing import examples
from tests.support.packets import Flow, flows
from tmelink.ip import MAX_EXTENSIONS
from tmelink.offload.headers import Headers, locate, set_lengths

PROPERTY = examples(150)


@PROPERTY
@given(flows, st.integers(0, 100), st.binary(max_size=20))
def test_headers_are_where_scapy_puts_them(flow: Flow, length: int, padding: bytes) -> None:
    packet = flow.headers()
    transport = UDP if flow.udp else TCP
    size = len(raw(packet))
    network = size - len(raw(packet[IP if flow.version == 4 else IPv6]))
    start = size - len(raw(packet[transport]))
    frame = raw(packet / bytes(length)) if length else raw(packet)
    expected = Headers(flow.version, 17 if flow.udp else 6, network, start, size, len(frame))
    assert locate(frame + padding, flow.ip) == expected


@PROPERTY
@given(flows, st.data())
def test_a_frame_cut_short_has_none(flow: Flow, data: st.DataObject) -> None:
    [frame] = flow.pieces(b"payload", 100)
    assert locate(frame[: data.draw(st.integers(0, len(frame) - 1))], flow.ip) is None


@PROPERTY
@given(flows, st.integers(0, 1000))
def test_lengths_are_scapys(flow: Flow, length: int) -> None:
    short, long = bytearray(flow.pieces(b"", 1)[0]), flow.pieces(bytes(length), 1000)[0]
    at = locate(short, flow.ip)
    assert at is not None
    set_lengths(short, 0, len(long), at)
    where = slice(at.network, at.network + 6)
    assert short[where] == long[where]
    if flow.udp:
        assert short[at.transport + 4 : at.transport + 6] == long[at.transport + 4 : at.transport + 6]


def ipv6(extensions: bytes, first: int) -> bytes:
    [frame] = Flow(6, ip=True, udp=True).pieces(b"payload", 100)
    changed = bytearray(frame[:40] + extensions + frame[40:])
    changed[6] = first
    changed[4:6] = (len(changed) - 40).to_bytes(2, "big")
    return bytes(changed)


def test_as_many_extension_headers_as_are_allowed() -> None:
    chain = (bytes([60]) + bytes(7)) * (MAX_EXTENSIONS - 1) + bytes([17]) + bytes(7)
    assert locate(ipv6(chain, 60), True) is not None
    assert locate(ipv6(bytes([60]) + bytes(7) + chain, 60), True) is None


@pytest.mark.parametrize(
    ("extensions", "first"),
    [
        pytest.param("1100000000000000", 44, id="fragment"),
        pytest.param("1100000000000000", 51, id="authentication"),
        pytest.param("1100000100000000", 43, id="routing to a further address"),
        pytest.param("11ff000000000000", 60, id="longer than the packet"),
        pytest.param("3b00000000000000", 0, id="no next header"),
    ],
)
def test_extension_headers_that_hide_the_transport(extensions: str, first: int) -> None:
    assert locate(ipv6(bytes.fromhex(extensions), first), True) is None


def test_a_routing_header_at_its_last_address() -> None:
    found = locate(ipv6(bytes.fromhex("1100000000000000"), 43), True)
    assert found is not None
    assert found.transport == 48


@PROPERTY
@given(st.binary(max_size=160), st.booleans())
def test_no_bytes_raise(frame: bytes, ip: bool) -> None:
    found = locate(frame, ip)
    assert found is None or found.transport < found.payload <= found.end <= len(frame)
