"""Ethernet headers, against scapy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Dot1Q, Ether

from tests.support.fuzzing import examples
from tmelink import ethernet
from tmelink.errors import ProtocolError

A = bytes.fromhex("020000000001")
B = bytes.fromhex("020000000002")


def test_a_built_frame_is_what_scapy_reads() -> None:
    frame = Ether(ethernet.build(A, B, 0x0800, b"payload"))
    assert (frame.dst, frame.src, frame.type) == (ethernet.text(A), ethernet.text(B), 0x0800)
    assert bytes(frame.payload) == b"payload"


def test_parse_untagged() -> None:
    frame = bytes(Ether(dst=ethernet.text(A), src=ethernet.text(B), type=0x86DD) / b"x")
    assert ethernet.parse(frame) == ethernet.Header(A, B, 0x86DD, None, 14)


def test_parse_skips_tags_and_tells_the_outermost() -> None:
    one = Ether(dst=ethernet.text(A), src=ethernet.text(B)) / Dot1Q(vlan=7, type=0x0806) / b"x"
    assert ethernet.parse(bytes(one)) == ethernet.Header(A, B, 0x0806, 7, 18)
    two = Ether(type=0x88A8) / Dot1Q(vlan=100, prio=5, type=0x8100) / Dot1Q(vlan=7, type=0x0800) / b"x"
    header = ethernet.parse(bytes(two))
    assert (header.ethertype, header.vlan, header.payload) == (0x0800, 100, 22)


def test_a_third_tag_is_left_as_payload() -> None:
    frame = A + B + b"\x81\x00\x00\x01" * 3 + b"\x08\x00rest"
    header = ethernet.parse(frame)
    assert (header.ethertype, header.vlan, header.payload) == (0x8100, 1, 22)


@pytest.mark.parametrize("frame", [b"", A + B, A + B + b"\x08", A + B + b"\x81\x00\x00\x01\x08"])
def test_a_cut_header_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError, match="short"):
        ethernet.parse(frame)


def test_group_addresses() -> None:
    assert ethernet.is_group(ethernet.BROADCAST)
    assert ethernet.is_group(memoryview(ethernet.RESERVED))
    assert not ethernet.is_group(A)
    # Examples of RFC 1112 and RFC 2464: the group's upper bit is lost, its last four bytes are kept.
    assert ethernet.multicast_ipv4(bytes((224, 129, 2, 3))) == bytes.fromhex("01005e010203")
    assert ethernet.multicast_ipv6(bytes.fromhex("ff02" + "00" * 9 + "01ff112233")) == bytes.fromhex(
        "3333ff112233"
    )


def test_derived_addresses_are_stable_local_and_different() -> None:
    # Written down: an address must not change from one release to the next.
    assert ethernet.text(ethernet.derived_mac("le0 10.0.0.1/24 None")) == "72:3e:bf:a2:f4:db"
    many = {ethernet.derived_mac(f"le0 10.0.{i >> 8}.{i & 255}/16") for i in range(5000)}
    assert len(many) == 5000
    assert {mac[0] & 3 for mac in many} == {2}


@examples()
@given(st.binary(max_size=40))
def test_any_bytes_parse_or_are_refused(frame: bytes) -> None:
    try:
        header = ethernet.parse(frame)
    except ProtocolError:
        assert len(frame) < 22
    else:
        assert header.payload <= len(frame)
