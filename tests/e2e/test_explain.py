"""What `tmelink explain` says of the samples is what tcpdump sees: interface, outer addresses, every size."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterable

import pytest

import tmelink
from tests.e2e.netns import Namespace, Net
from tmelink.elements.host import Host
from tmelink.machine import load
from tmelink.proof import choice
from tmelink.proof.ground import Ground
from tmelink.proof.hops import Outside, Proof
from tmelink.proof.sizes import Ping
from tmelink.proof.walk import prove
from tmelink.resources import folder

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "tcpdump")]

MACHINES = folder("machines")

SIZES = (1, 1400, 1430, 1431, 1472, 1473, 1500, 9000)
"""Bytes of data: around what fits one packet outside (1430), one packet inside (1472), and far beyond."""

TAIL = 5
"""Pings behind those that are looked at: what tcpdump has not read when it ends is of them."""

TAIL_SIZE = 3
"""Bytes of data in them: no other ping here is as long."""


def proved(sample: str, source: str, target: str, size: int, *, df: bool = False) -> Proof:
    ground = Ground(load(MACHINES / sample))
    ((begin, end),) = choice.chosen(ground, source, target)
    return prove(ground, begin, end, Ping(4, size, df))


def outside(proof: Proof) -> Outside:
    (sent,) = [hop.outside for hop in proof.hops if hop.outside is not None]
    return sent


def computers(net: Net) -> tuple[Namespace, Namespace]:
    one, two = net.pair()
    for number, host in enumerate((one, two), 1):
        host.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
    return one, two


def run(host: Namespace, sample: str, *options: str, up: str | None = None) -> None:
    process = host.start(sys.executable, "-m", "tmelink", "run", *options, sample, cwd=MACHINES)
    process.expect("running:")
    if up is not None:
        process.expect(up)


def sizes(packets: Iterable[bytes]) -> list[int]:
    """Bytes of each IP packet."""
    return [struct.unpack_from("!H", packet, 16)[0] for packet in packets]


def without_tail(found: list[int], tail: int) -> list[int]:
    """The sizes before those of the tail, of which as many may be there as were sent."""
    count = 0
    while found and found[-1] == tail and count < TAIL:
        found = found[:-1]
        count += 1
    assert count, f"nothing of the tail was seen: {found}"
    return found


def stream(packets: Iterable[bytes]) -> bytes:
    """What TCP segments carry, in order; each byte once."""
    data: dict[int, int] = {}
    for packet in packets:
        start = 14 + (packet[14] & 0xF) * 4
        (sequence,) = struct.unpack_from("!I", packet, start + 4)
        payload = packet[start + (packet[start + 12] >> 4) * 4 : 14 + sizes([packet])[0]]
        data.update(enumerate(payload, sequence))
    return bytes(data[at] for at in sorted(data))


def framed(data: bytes) -> list[int]:
    """The lengths, with the two bytes that say so, of frames with IP in a stream."""
    found, at = [], 0
    while at + 2 <= len(data):
        (length,) = struct.unpack_from("!H", data, at)
        if data[at + 2 + 12 : at + 2 + 14] == b"\x08\x00":
            found.append(length + 2)
        at += 2 + length
    return found


def pings(host: Namespace, address: str, expected: dict[tuple[int, bool], Proof]) -> None:
    """A ping of the kernel's for each proof, which answers or fails as that says; then the tail."""
    for (size, df), proof in expected.items():
        said = host.run(
            "ping", "-c", "1", "-W", "2", "-s", str(size), "-M", "do" if df else "dont", address, check=False
        )
        answered = " 1 received" in said
        assert answered == (proof.verdict != "dropped"), f"{size} {df} {proof.reason}\n{said}"
        if not answered:
            assert re.search("message too long|Message too long", said), said
    host.ping(address, count=TAIL, size=TAIL_SIZE)


UDP = "ip proto 17 and src {} and dst {} and (ip[6:2] & 0x1fff != 0 or udp[20:2] = 0x0800)"
"""Datagrams with a frame that holds IPv4, and their fragments."""

TCP = "tcp and src {} and dst {}"


@pytest.mark.parametrize(
    ("sample", "target", "address"),
    [
        ("lab.conf", "c/le0", "10.0.78.13"),
        ("lab.conf", "d/le0", "10.0.78.14"),
        ("peer-a.conf", "10.0.77.2", "10.0.77.2"),
        ("autonat.conf", "b-le0", "10.0.78.12"),
    ],
)
def test_a_computers_packets_go_as_explained(net: Net, sample: str, target: str, address: str) -> None:
    one, two = computers(net)
    source = {"lab.conf": "a/tap1", "peer-a.conf": "le0", "autonat.conf": "tap0"}[sample]
    if sample == "lab.conf":
        one.run("ip", "route", "add", "default", "via", "192.168.0.2")
        run(two, sample, "--host", "two")
        run(one, sample, "--host", "one", up="link2: up|link2: connected")
    elif sample == "autonat.conf":
        one.run("ip", "route", "add", "default", "via", "192.168.0.2")
        run(two, sample, "--host", "two")
        run(one, sample, "--host", "one")
    else:
        run(two, "peer-b.conf")
        run(one, sample)
    one.ping(address, count=2)
    expected = {
        (size, df): proved(sample, source, target, size, df=df) for df in (False, True) for size in SIZES
    }
    assert len(expected) >= 12
    sent = outside(expected[1, False])
    tail = proved(sample, source, target, TAIL_SIZE)
    filtered = (TCP if sent.stream else UDP).format(sent.source, sent.destination)
    with (
        one.capture("eth0", filtered) as outer,
        one.capture("tap0", "-Q", "out", f"ip proto 1 and dst {address}") as inner,
    ):
        pings(one, address, expected)
    for proof in expected.values():
        if proof.verdict != "dropped":
            assert (outside(proof).source, outside(proof).destination) == (sent.source, sent.destination)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    seen = framed(stream(outer.packets)) if sent.stream else sizes(outer.packets)
    assert without_tail(seen, _outside_sizes(tail)[0]) == wanted
    inside = [size for proof in expected.values() for size in _inside_sizes(proof)]
    assert without_tail(sizes(inner.packets), tail.ping.packet) == inside


def _outside_sizes(proof: Proof) -> tuple[int, ...]:
    return () if proof.verdict == "dropped" else outside(proof).sizes


def _inside_sizes(proof: Proof) -> tuple[int, ...]:
    return () if proof.verdict == "dropped" else proof.hops[0].packets


@pytest.mark.needs("ethtool")
@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("b", "a")])
def test_built_in_machines_packets_go_as_explained(net: Net, source: str, target: str) -> None:
    """hello.conf, over the loopback interface; a built-in machine sends without DF."""
    here = net.namespace()
    here.run("ethtool", "-K", "lo", "tx-udp-segmentation", "off")
    expected = [
        proved("hello.conf", f"{source}/le0", f"{target}/le0", size)
        for size in (*SIZES, 56, 2000, 3000, 65507 - 14 - 42)
    ]
    tail = proved("hello.conf", f"{source}/le0", f"{target}/le0", TAIL_SIZE)
    sent = outside(tail)
    address = "10.0.77.1" if target == "a" else "10.0.77.2"

    async def main() -> None:
        async with tmelink.load(MACHINES / "hello.conf").run() as lab:
            machine = lab[f"{source}/le0"]
            assert isinstance(machine, Host)
            for proof in [*expected, *[tail] * TAIL]:
                result = await machine.ping(address, count=1, size=proof.ping.data)
                assert result.received == 1, (proof.ping, result)

    filtered = f"udp dst port {sent.port} and src {sent.source} and dst {sent.destination}"
    with here.capture("lo", f"{filtered} and udp[20:2] = 0x0800 and ip[42+9] = 1") as outer:
        here.call(main)
    # Behind the outer headers is the frame; an answer to the other one's announcement is none of ours.
    assert all(proof.verdict == "arrives" for proof in expected)
    wanted = [size for proof in expected for size in outside(proof).sizes]
    assert without_tail(sizes(outer.packets), outside(tail).sizes[0]) == wanted


def test_packets_in_a_tunnel_in_a_tunnel_go_as_explained(net: Net) -> None:
    """nested.conf: a built-in machine, its gateway, and two headers of IP in IP."""
    one, two = computers(net)
    run(two, "nested.conf", "--host", "right")
    expected = [proved("nested.conf", "le0", "le1", size) for size in (*SIZES, 56, 1432, 1433, 3000)]
    tail = proved("nested.conf", "le0", "le1", TAIL_SIZE)

    def sizes_of(proof: Proof) -> tuple[int, ...]:
        *_inner, outer = [hop.outside for hop in proof.hops if hop.outside is not None]
        assert (outer.source, outer.destination) == ("192.168.0.1", "192.168.0.2")
        return outer.sizes

    async def main() -> None:
        async with tmelink.load(MACHINES / "nested.conf", host="left").run() as lab:
            machine = lab["le0"]
            assert isinstance(machine, Host)
            for proof in [*expected, *[tail] * TAIL]:
                result = await machine.ping("10.1.2.2", count=1, size=proof.ping.data)
                assert result.received == 1, (proof.ping, result)

    with one.capture("eth0", "ip proto 4 and src 192.168.0.1 and dst 192.168.0.2") as outer:
        one.call(main)
    wanted = [size for proof in expected for size in sizes_of(proof)]
    assert without_tail(sizes(outer.packets), sizes_of(tail)[0]) == wanted


ENCRYPTED = (
    "ip proto 17 and src {} and dst {} "
    "and (ip[6:2] & 0x1fff != 0 or (udp[8] & 0xf8 = 0x48 and udp[4:2] > 78))"
)
"""Datagrams with data under TLS (P_DATA_V2) that are longer than those with ARP or OpenVPN's ping."""


def test_encrypted_packets_go_as_explained(net: Net) -> None:
    """secure-link.conf, with keys made as it says."""
    one, two = computers(net)
    text = (MACHINES / "secure-link.conf").read_text()
    for name, placeholder in (("one", "11"), ("two", "22")):
        said = one.run(sys.executable, "-m", "tmelink", "keygen", str(net.directory / name))
        (fingerprint,) = set(re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", said))
        text = text.replace(":".join([placeholder] * 32), fingerprint)
    sample = net.directory / "secure-link.conf"
    sample.write_text(text)
    for host in (one, two):
        host.run("sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    first = one.start(sys.executable, "-m", "tmelink", "run", str(sample), "--host", "one")
    first.expect("running:")
    second = two.start(sys.executable, "-m", "tmelink", "run", str(sample), "--host", "two")
    second.expect("link1: (up|connected)")
    first.expect("link0: (up|connected)")
    one.ping("10.0.77.2", count=2)
    # The last fragment of 1473 is shorter than ARP, and could not be told from it.
    chosen = [size for size in SIZES if size != 1473]
    expected = {
        (size, df): proved(str(sample), "le0", "le1", size, df=df) for df in (False, True) for size in chosen
    }
    assert len(expected) >= 12
    tail = proved(str(sample), "le0", "le1", TAIL_SIZE)
    sent = outside(tail)
    assert (sent.source, sent.destination) == ("192.168.0.1", "192.168.0.2")
    with one.capture("eth0", ENCRYPTED.format(sent.source, sent.destination)) as outer:
        pings(one, "10.0.77.2", expected)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    assert without_tail(sizes(outer.packets), sent.sizes[0]) == wanted
