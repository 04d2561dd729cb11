"""What tcpdump sees of a link on the wire, and two computers joined by the sample's two files.

Every link here is started as a user starts it, `tmelink run` in a namespace of its own.
"""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path

import pytest

from tests.support.netns import Namespace, Net
from tmelink.resources import folder

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]

ROOT = Path(__file__).parent.parent.parent

PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")

BACK_SECONDS = 30
"""For a link to be back after a restart; less than a neighbour entry needs to be forgotten."""

ROLES = {"udp": ("", ""), "tcp": ("--proto tcp-server", "--proto tcp-client")}
"""What is added to the sample's two links."""


def peers(proto: str, options: str = "") -> tuple[str, str]:
    """The sample's two files under a protocol, with more options on both."""
    files = ("peer-a.conf", "peer-b.conf")
    texts = [(folder("machines") / file).read_text().rstrip() for file in files]
    ends = [f"{text} {role} {options}\n" for text, role in zip(texts, ROLES[proto], strict=True)]
    return ends[0], ends[1]


QUICK_START = {
    "tcp" if "tcp" in command else "udp": command
    for command in re.findall(
        r"^sudo (openvpn .*)$", (ROOT / "docs/quick-start.md").read_text(), re.MULTILINE
    )
}
"""What the quick start tells to type on the second computer."""


@pytest.fixture
def computers(net: Net) -> tuple[Namespace, Namespace]:
    """Two computers with the sample's addresses, and no IPv6 of their own that would speak unasked."""
    a, b = net.pair()
    for number, host in enumerate((a, b), 1):
        host.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
        host.run("sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    return a, b


def datagrams(packets: list[bytes]) -> list[bytes]:
    """The UDP payloads in frames that carry IPv4, fragments put together; in order of their last fragment."""
    whole: list[bytes] = []
    parts: dict[tuple[bytes, bytes], dict[int, bytes]] = {}
    for packet in packets:
        header = 14 + (packet[14] & 0xF) * 4
        length, number, flags = struct.unpack_from("!H2sH", packet, 16)
        found = parts.setdefault((packet[26:34], number), {})
        found[(flags & 0x1FFF) * 8] = packet[header : 14 + length]
        data = b"".join(part for _at, part in sorted(found.items()))
        if len(data) >= 8 and len(data) == struct.unpack_from("!H", data, 4)[0]:
            whole.append(data[8:])
    return whole


def segment(packet: bytes) -> bytes:
    """What a TCP segment over IPv4 carries."""
    start = 14 + (packet[14] & 0xF) * 4
    return packet[start + (packet[start + 12] >> 4) * 4 : 14 + struct.unpack_from("!H", packet, 16)[0]]


MAGIC = "0x2a187bf3"
"""The first four bytes of OpenVPN's ping."""

CARRIES = "(ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2)) != 0"
"""TCP segments that are more than an acknowledgement."""

DATA = "tcp[((tcp[12] & 0xf0) >> 2) + 2:4]"
"""The first four bytes behind the length."""


@pytest.mark.needs("tcpdump")
def test_over_udp_a_datagram_is_a_frame_and_nothing_else(computers: tuple[Namespace, Namespace]) -> None:
    a, b = computers
    one, two = peers("udp", "--ping 1 --disable-occ")
    a.tmelink(one)
    b.tmelink(two)
    a.ping("10.0.77.2", count=1)
    with (
        a.capture("tap0", "icmp", packets=2) as inner,
        b.capture("eth0", f"udp port 1194 and udp[8:4] != {MAGIC}", packets=2) as outer,
        b.capture("eth0", f"udp port 1194 and udp[8:4] = {MAGIC}", packets=2) as pings,
    ):
        a.ping("10.0.77.2", count=1)
    assert [len(frame) for frame in inner.packets] == [98, 98]
    assert datagrams(outer.packets) == inner.packets
    assert datagrams(pings.packets) == [PING, PING]


@pytest.mark.needs("tcpdump")
def test_over_tcp_a_length_stands_before_each_frame(computers: tuple[Namespace, Namespace]) -> None:
    a, b = computers
    one, two = peers("tcp", "--ping 1 --disable-occ")
    a.tmelink(one)
    b.tmelink(two).expect("link1: connected")
    a.ping("10.0.77.2", count=1)
    with (
        a.capture("tap0", "icmp", packets=2) as inner,
        b.capture("eth0", f"tcp port 1194 and {CARRIES} and {DATA} != {MAGIC}", packets=2) as outer,
        b.capture("eth0", f"tcp port 1194 and {CARRIES} and {DATA} = {MAGIC}", packets=2) as pings,
    ):
        a.ping("10.0.77.2", count=1)
    assert [segment(packet) for packet in outer.packets] == [b"\0\x62" + frame for frame in inner.packets]
    assert [segment(packet) for packet in pings.packets] == [b"\0\x10" + PING] * 2


@pytest.mark.needs("tcpdump")
@pytest.mark.parametrize(("mtu", "fragments"), [(1500, 2), (9000, 7)])
def test_a_frame_larger_than_the_wire_crosses_in_fragments(
    computers: tuple[Namespace, Namespace], mtu: int, fragments: int
) -> None:
    a, b = computers
    for computer, text in zip(computers, peers("udp", f"--tun-mtu {mtu}"), strict=True):
        computer.tmelink(text.replace("interface tap0", f"interface tap0 mtu {mtu}"))
    a.ping("10.0.77.2", count=1)
    with (
        a.capture("tap0", "icmp", packets=2) as inner,
        b.capture("eth0", "ip proto 17 and net 192.168.0.0/24", packets=2 * fragments) as outer,
    ):
        a.ping("10.0.77.2", count=1, size=mtu - 28, M="do")
    assert [len(frame) for frame in inner.packets] == [mtu + 14, mtu + 14]
    assert all(len(packet) <= 1514 for packet in outer.packets)
    assert datagrams(outer.packets) == inner.packets


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("proto", ROLES)
def test_the_first_ping_is_answered_whoever_sends_it(
    computers: tuple[Namespace, Namespace], proto: str, first: str
) -> None:
    a, b = computers
    one, two = peers(proto)
    a.tmelink(one)
    other = b.tmelink(two)
    if proto == "tcp":
        other.expect("link1: connected")
    if first == "a":
        a.ping("10.0.77.2", count=1)
    else:
        b.ping("10.0.77.1", count=1)


@pytest.mark.needs("openvpn")
@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("proto", ROLES)
def test_the_first_ping_is_answered_with_openvpn_at_the_other_end(
    computers: tuple[Namespace, Namespace], proto: str, first: str
) -> None:
    a, b = computers
    one, _two = peers(proto)
    a.tmelink(one)
    openvpn = b.start(*QUICK_START[proto].split())
    openvpn.expect("link remote: ")
    if first == "a":
        a.ping("10.0.77.2", count=1)
    else:
        b.ping("10.0.77.1", count=1)


@pytest.mark.parametrize("killed", ["server", "client"])
def test_a_tcp_end_is_killed_and_started_again(computers: tuple[Namespace, Namespace], killed: str) -> None:
    """The end that goes on has the link back by itself, in seconds; how many is printed."""
    a, b = computers
    one, two = peers("tcp")
    server = a.tmelink(one)
    client = b.tmelink(two)
    client.expect("link1: connected")
    a.ping("10.0.77.2", count=1)
    if killed == "server":
        server.kill()
        a.tmelink(one)
        other, address, running = b, "10.0.77.1", client
    else:
        client.kill()
        b.tmelink(two)
        other, address, running = a, "10.0.77.2", server
    begun = time.monotonic()
    said = other.run("ping", "-c", "1", "-i", "0.05", "-w", str(BACK_SECONDS), address, check=False)
    assert re.search(r" [1-9]\d* received", said), said
    print(f"TCP {killed} killed and started again: back after {time.monotonic() - begun:.2f} s")
    assert running.stop() == 0
