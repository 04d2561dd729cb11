"""What the proof says of a link's datagrams is what a session makes of a frame."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.support.options_of import read
from tests.support.tls_pair import equals, up
from tmelink import sizes
from tmelink.elements.openvpn import wire
from tmelink.elements.openvpn.sessions import settings
from tmelink.frame import Run
from tmelink.openvpn import keys
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.session import Step
from tmelink.routing.facts import IPVersion

SIZES = (15, 60, 98, 1414, 1441, 1458, 1500, 1514)

LINKS = [
    "",
    "--proto tcp-client",
    "--comp-lzo no",
    "--fragment 600",
    "--fragment 1000 mtu --compress stub",
    "--secret k --cipher AES-256-CBC",
    "--secret k --cipher AES-128-CBC --auth SHA256 --fragment 700",
    "--secret k --cipher none --auth none",
    "--secret k --cipher AES-256-CBC --comp-lzo no --fragment 1300",
]

REST = "--dev tap --remote 192.0.2.1 --disable-occ"


def options(line: str) -> Options:
    found, mistakes = read(f"{REST} {line}", {"/machines/k": b""})
    assert found is not None, mistakes
    return found


def lengths(step: Step) -> list[int]:
    flat: list[int] = []
    for item in step.wire:
        flat += map(len, item.pieces()) if isinstance(item, Run) else [len(item)]
    return flat


def frame(size: int) -> bytes:
    return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + bytes(size - 14)


@pytest.mark.parametrize("line", LINKS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_those_of_a_session_without_tls(line: str, size: int) -> None:
    given = options(line)
    key = None if given.secret is None else Secret(bytes(keys.KEY_BYTES))
    session = PointToPoint(replace(settings(given), key=key), Random(1).randbytes, 1)
    session.connected(0.0)
    said = [each.size for each in wire.datagrams(given, size)]
    # The length before each datagram on a stream is the transport's.
    stream = wire.STREAM_LENGTH if wire.is_stream(given) else 0
    assert said == [each + stream for each in lengths(session.send([frame(size)], 1.0))]


@pytest.mark.parametrize(
    ("line", "tls"),
    [
        ("", {}),
        ("--fragment 700", {"fragment": 700}),
        ("--compress stub", {"framing": "stub"}),
        ("--data-ciphers AES-256-CBC", {"accepted": ("AES-256-CBC",)}),
        ("--data-ciphers AES-256-CBC --fragment 500", {"accepted": ("AES-256-CBC",), "fragment": 500}),
        ("--data-ciphers CHACHA20-POLY1305", {"accepted": ("CHACHA20-POLY1305",)}),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_those_of_two_ends_with_tls(line: str, tls: dict[str, Any], size: int) -> None:
    given = options(f"--tls-client --ca k --cert k --key k {line}")
    ends = up(equals(**tls))
    said = [each.size for each in wire.datagrams(given, size, epochs=True)]
    assert said == lengths(ends.client.session.send([frame(size)], ends.now))


def test_a_stock_peer_gets_the_short_packet_id() -> None:
    """OpenVPN 2.6: opcode and peer id, packet id, tag; as README and forums reckon it."""
    (datagram,) = wire.datagrams(options("--tls-client --ca k --cert k --key k"), 1514)
    assert [header.bytes for header in datagram.headers] == [4, 4, 16]


def test_the_largest_whole_packet_is_the_largest() -> None:
    given = options("--secret k --cipher AES-256-CBC")
    most = wire.whole(given, 4, 1500)

    def packets(size: int) -> int:
        (datagram,) = wire.datagrams(given, size + 14)
        return len(wire.outer_packets(given, datagram, 4, 1500))

    assert (packets(most), packets(most + 1)) == (1, 2)


@pytest.mark.parametrize(
    ("packet", "mtu", "version", "pieces"),
    [
        (1500, 1500, 4, [1500]),
        (1542, 1500, 4, [1500, 62]),
        (9028, 1500, 4, [1500] * 6 + [148]),
        (1528, 1280, 6, [1280, 304]),
        (100, 24, 4, []),
    ],
)
def test_fragments(packet: int, mtu: int, version: IPVersion, pieces: list[int]) -> None:
    assert sizes.fragments(packet, mtu, version) == pieces


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1500] * 6 + [148], "6 x 1500, 148"),
        ([1500, 62] * 6 + [190], "6 x (1500, 62), 190"),
        ([1500, 1500, 100] * 2, "2 x (1500, 1500, 100)"),
        ([1500], "1500"),
        ([1, 2, 3], "1, 2, 3"),
        ([], ""),
    ],
)
def test_what_repeats_is_told_together(given: list[int], said: str) -> None:
    assert sizes.listed(given) == said
