"""Every kind of frame in the table of docs/switch.md, through a switch: unchanged, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.bridge import Bridge

PAGE = (Path(__file__).parents[3] / "docs/switch.md").read_text()
SOURCE = bytes.fromhex("08002b000001")
UNICAST = bytes.fromhex("08002b000002")


def ether(kind: int, data: bytes = bytes(46), to: bytes = UNICAST) -> bytes:
    return to + SOURCE + kind.to_bytes(2, "big") + data


def llc(head: str, to: str = "08002b000002") -> bytes:
    data = bytes.fromhex(head) + bytes(40)
    return ether(len(data), data, bytes.fromhex(to))


def reserved(last: int) -> bytes:
    return ether(0x88CC, to=bytes.fromhex("0180c20000") + bytes((last,)))


FRAMES: dict[str, list[bytes]] = {
    "Ethernet II": [ether(0x0800), ether(0x6003), ether(0x0600)],
    "802.3 with a length, LLC (NetBEUI, IS-IS, SNA)": [
        llc("f0f003"),
        llc("fefe03"),
        llc("0404f3"),
        llc("0000f3"),
    ],
    "802.3 with SNAP (AppleTalk, CDP)": [llc("aaaa03080007809b"), llc("aaaa0300000c2000", "01000ccccccc")],
    "802.3 raw (Novell's IPX)": [llc("ffff0022")],
    "shorter than 60 bytes": [ether(0x0806, bytes(28)), ether(0x6002, b""), ether(0, b"")],
    "shorter than 14 bytes": [ether(0x0800)[:13], b"", b"\0"],
    "jumbo": [ether(0x0800, bytes(8986)), ether(0x8870, bytes(9000))],
    "802.1Q tags, service tags, both": [
        ether(0x8100, b"\0\x0a\x08\0" + bytes(46)),
        ether(0x8100, b"\xe0\0\x08\0" + bytes(46)),
        ether(0x88A8, b"\0\x14\x81\0\0\x0a\x08\0" + bytes(46)),
        ether(0x8100, b"\0\x14\x81\0\0\x0a\x08\0" + bytes(46)),
    ],
    "PPPoE, MPLS, loopback test, unknown EtherTypes": [
        *(ether(kind) for kind in (0x8863, 0x8864, 0x8847, 0x9000, 0x88B5, 0x88B6, 0xFFFF, 0x0601, 0x05DD)),
    ],
    "spanning tree, pause, LACP, 802.1X, LLDP (01:80:c2:00:00:00 to 0f)": [
        llc("424203", "0180c2000000"),
        *(reserved(last) for last in (1, 2, 3, 14, 15)),
    ],
    "GVRP, GMRP (01:80:c2:00:00:20 to 2f), Cisco's multicasts": [
        llc("424203", "0180c2000021"),
        ether(0x0800, to=bytes.fromhex("01000ccccccd")),
        reserved(0x10),
    ],
    "with a frame check sequence": [ether(0x0800, bytes(46) + b"\x12\x34\x56\x78")],
}


def rows() -> dict[str, str]:
    """What the page's table says of each kind of frame."""
    table = PAGE.split("## Which frames pass")[1]
    return dict(re.findall(r"^\| (?!frames |---)(.+?) \| (.+?) \|$", table, flags=re.MULTILINE))


def test_the_table_has_every_kind_that_is_tried_here() -> None:
    assert rows().keys() == FRAMES.keys()


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_pass_as_the_table_says(kind: str) -> None:
    said = rows()[kind]
    for frame in FRAMES[kind]:
        bridge = Bridge(2)
        bridge.ends[0].send(frame)
        assert bridge.ends[1].taken() == ([frame] if said.startswith("passes") else []), frame.hex()
        if "transparent" in said:
            bridge = Bridge(2, transparent=True)
            bridge.ends[0].send(frame)
            assert bridge.ends[1].taken() == [frame]
    if not said.startswith("passes"):
        assert sum(bridge.switch.ports[0].sent.drops.values()) == (0 if "transparent" in said else 1)
