"""Control packets: reading, writing, refusing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.errors import ProtocolError
from tmelink.openvpn.data import packet
from tmelink.openvpn.data.packet import Body, Opcode


@pytest.mark.parametrize(
    ("opcode", "body", "raw"),
    [
        (Opcode.CONTROL_V1, Body((), None, 3, b"tls"), "00 00000003 746c73"),
        (Opcode.ACK_V1, Body((0, 2), b"abcdefgh"), "02 00000000 00000002 6162636465666768"),
        (Opcode.CONTROL_V1, Body((1,), b"abcdefgh", 1, b""), "01 00000001 6162636465666768 00000001"),
    ],
)
def test_bodies_read_and_write(opcode: Opcode, body: Body, raw: str) -> None:
    data = bytes.fromhex(raw)
    assert packet.build_body(body) == data
    assert packet.parse_body(opcode, data) == body
    for length in range(len(data) - len(body.payload)):
        with pytest.raises(ProtocolError):
            packet.parse_body(opcode, data[:length])


def test_header_reads_and_writes() -> None:
    head = packet.header(Opcode.CONTROL_WKC_V1, 5, b"abcdefgh")
    assert head == b"\x5dabcdefgh"
    assert packet.parse_header(head + b"more") == (Opcode.CONTROL_WKC_V1, 5, b"abcdefgh")


@pytest.mark.parametrize("first", [0, 0x08, 0x10, 0x30, 0x48, 0x60, 0xFF])
def test_what_is_no_control_packet_is_refused(first: int) -> None:
    with pytest.raises(ProtocolError, match="opcode"):
        packet.parse_header(bytes((first,)) + b"abcdefgh")


def test_a_packet_without_session_is_refused() -> None:
    with pytest.raises(ProtocolError, match="session id"):
        packet.parse_header(b"\x20" + bytes(8))
    with pytest.raises(ProtocolError, match="short"):
        packet.parse_header(b"\x20abcdefg")


def test_nine_acknowledgements_are_too_many() -> None:
    with pytest.raises(ProtocolError, match="too many"):
        packet.parse_body(Opcode.ACK_V1, b"\x09" + bytes(100))


@examples(500)
@given(st.binary(max_size=64), st.sampled_from([*sorted(packet.RESETS), Opcode.ACK_V1, Opcode.CONTROL_V1]))
def test_any_bytes_read_as_a_body_or_are_refused(data: bytes, opcode: Opcode) -> None:
    try:
        body = packet.parse_body(opcode, data)
    except ProtocolError:
        return
    read = len(packet.build_body(body))
    assert packet.build_body(body) == data[:read]
