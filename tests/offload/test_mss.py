"""The MSS of SYNs, lowered as scapy would build the SYN with the lower one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import IP, TCP, IPOption_NOP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether

from tests.support.fuzzing import examples
from tests.support.packets import Flow, flows
from tmelink.offload.mss import clamp_mss, may_be_syn

PROPERTY = examples(150)

SACK = ("SAckOK", b"")
NOP = ("NOP", None)


def syn(flow: Flow, mss: int, *, before: int = 0, flags: str = "S", data: bytes = b"") -> bytes:
    """A SYN whose MSS option follows `before` bytes of others; an odd number puts it across two words."""
    packet: Any = flow.with_(udp=False).headers(flags=flags, sequence=5)
    packet[TCP].options = [NOP] * before + [("MSS", mss), SACK, NOP, ("WScale", 7)]
    return raw(packet / data) if data else raw(packet)


@PROPERTY
@given(
    flows,
    st.integers(0, 65535),
    st.integers(0, 7),
    st.sampled_from(["S", "SA", "SEC"]),
    st.sampled_from([b"", b"data"]),
)
def test_a_syn_is_what_it_would_be_with_the_lower_mss(
    flow: Flow, mss: int, before: int, flags: str, data: bytes
) -> None:
    frame = syn(flow, mss, before=before, flags=flags, data=data)
    most = 1300 if flow.version == 4 else 1280
    clamped = clamp_mss(frame, 1300, 1280, ip=flow.ip)
    assert clamped == syn(flow, min(mss, most), before=before, flags=flags, data=data)
    assert (clamped is frame) == (mss <= most)


def test_the_frame_that_was_given_is_left_alone() -> None:
    frame = bytearray(syn(Flow(), 1460))
    before = bytes(frame)
    assert clamp_mss(memoryview(frame), 1000, 1000) != before
    assert frame == before


def test_the_mss_is_never_raised() -> None:
    frame = syn(Flow(), 536)
    assert clamp_mss(frame, 1300, 1280) is frame


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "R"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tags", [0, 1])
def test_only_syns_are_changed(flags: str, version: int, tags: int) -> None:
    frame = syn(Flow(version, tags=tags), 1460, flags=flags)
    assert clamp_mss(frame, 1000, 1000) is frame


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tags", [0, 1])
def test_a_first_look_tells_an_acknowledgement_from_a_syn_tagged_or_not(version: int, tags: int) -> None:
    flow = Flow(version=version, tags=tags)
    assert may_be_syn(syn(flow, 1460))
    assert not may_be_syn(syn(flow, 1460, flags="A"))
    assert not any(may_be_syn(syn(flow, 1460)[:length]) for length in range(14 + 4 * tags + 40))


@pytest.mark.parametrize("version", [4, 6])
def test_udp_is_left_alone(version: int) -> None:
    [frame] = Flow(version, udp=True).pieces(b"\xff" * 60, 60)
    assert clamp_mss(frame, 1000, 1000) is frame


def with_options(options: bytes) -> bytes:
    frame = bytearray(raw(Flow(timestamps=False).headers(flags="S")) + options)
    frame[46] = (20 + len(options)) << 2
    frame[16:18] = (len(frame) - 14).to_bytes(2, "big")
    return bytes(frame)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("", id="none"),
        pytest.param("01010101", id="only padding"),
        pytest.param("00000000 020405b4", id="after the end"),
        pytest.param("03000000 020405b4", id="an option of length 0"),
        pytest.param("02ff05b4", id="an MSS of another length"),
        pytest.param("01010204", id="cut short"),
        pytest.param("03ff0000", id="an option beyond the header"),
    ],
)
def test_a_syn_without_a_readable_mss_is_left_alone(options: str) -> None:
    frame = with_options(bytes.fromhex(options))
    assert clamp_mss(frame, 1000, 1000) is frame


@PROPERTY
@given(st.binary(max_size=160), st.booleans())
def test_no_bytes_raise(frame: bytes, ip: bool) -> None:
    assert len(clamp_mss(frame, 1000, 1000, ip=ip)) == len(frame)


@PROPERTY
@given(flows, st.integers(0, 120), st.integers(0, 255), st.integers(0, 120))
def test_no_broken_syn_raises(flow: Flow, at: int, value: int, end: int) -> None:
    frame = bytearray(syn(flow, 1460))
    frame[at % len(frame)] = value
    for each in (frame, frame[:end]):
        assert len(clamp_mss(each, 1000, 1000, ip=flow.ip)) == len(each)


TAG, QINQ, SERVICE = (bytes.fromhex(tag) for tag in ("81000064", "910003e8", "88a80fff"))


@pytest.mark.parametrize("tags", [TAG * 3, SERVICE + TAG * 2, QINQ + TAG, QINQ + SERVICE + TAG * 6])
@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_behind_any_number_of_tags_is_clamped(version: int, tags: bytes) -> None:
    def tagged(mss: int) -> bytes:
        plain = syn(Flow(version=version), mss)
        return plain[:12] + tags + plain[12:]

    most = 1300 if version == 4 else 1280
    assert clamp_mss(tagged(1460), 1300, 1280) == tagged(most)
    kept = tagged(most)
    assert clamp_mss(kept, 1300, 1280) is kept


@pytest.mark.parametrize("tags", [b"", TAG, TAG * 3])
@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_in_pppoe_is_clamped_with_room_for_its_header(version: int, tags: bytes) -> None:
    """With padding behind, as Ethernet's shortest frames have it."""
    protocol = b"\0\x21" if version == 4 else b"\0\x57"

    def wrapped(mss: int, kind: int = 0x11, code: int = 0) -> bytes:
        plain = syn(Flow(version=version), mss)
        packet = protocol + plain[14:]
        head = bytes((kind, code)) + b"\x12\x34" + len(packet).to_bytes(2, "big")
        return plain[:12] + tags + b"\x88\x64" + head + packet + bytes(6)

    most = (1300 if version == 4 else 1280) - 8
    assert clamp_mss(wrapped(1452), 1300, 1280) == wrapped(most)
    for other in (wrapped(most), wrapped(1452, kind=0x21), wrapped(1452, code=7), wrapped(1452)[:40]):
        assert clamp_mss(other, 1300, 1280) is other


@pytest.mark.parametrize("options", [1, 4, 10])
def test_a_syn_behind_ipv4_options_is_clamped(options: int) -> None:
    """The room for the segment is reckoned without them, as OpenVPN does; they stay as they are."""
    packet: Any = IP(options=[IPOption_NOP()] * 4 * options) / TCP(flags="S", options=[("MSS", 1460)])
    frame = raw(Ether() / packet)
    assert 20 + 4 * options == (frame[14] & 15) * 4
    packet[TCP].options = [("MSS", 1300)]
    assert clamp_mss(frame, 1300, 1280) == raw(Ether() / packet)


@pytest.mark.parametrize(
    "headers",
    [
        [IPv6ExtHdrHopByHop()],
        [IPv6ExtHdrDestOpt()],
        [IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(addresses=["fd00::9"], segleft=0), IPv6ExtHdrDestOpt()],
    ],
    ids=["hop by hop", "for the destination", "three"],
)
def test_a_syn_behind_extension_headers_is_clamped(headers: list[Any]) -> None:
    def built(mss: int) -> bytes:
        packet: Any = Ether() / IPv6(src="fd00::1", dst="fd00::2")
        for header in headers:
            packet /= header
        return raw(packet / TCP(flags="S", options=[("MSS", mss)]))

    assert clamp_mss(built(1440), 1300, 1280) == built(1280)
