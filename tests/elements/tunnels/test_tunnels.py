"""Tunnels in one process: nested, fragmented, refused; each outer packet read by scapy."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from typing import Any

import pytest
from scapy.contrib.etherip import EtherIP
from scapy.layers.inet import ICMP, IP, TCP, UDP, defragment
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet

from tests.support.aio import run
from tests.support.machines import opened
from tmelink import machine
from tmelink.difference import between
from tmelink.element import Element, OuterMtu, Port, connect
from tmelink.elements.builtin.host import Host
from tmelink.elements.tunnels.base import TunnelElement
from tmelink.errors import MachineError
from tmelink.frame import Burst, Counters, Gso, Kind
from tmelink.offload import segmented
from tmelink.offload.virtio import TCP4
from tmelink.source import Place, Source, Word

ENDS = "local 10.0.0.1 remote 10.0.0.2"
DATA = random.Random(4).randbytes(9000)


class End(Element):
    """The other end of a connection: keeps what arrives, and sends."""

    def __init__(self, kind: Kind = "ip", mtu: int | None = 1500) -> None:
        super().__init__("end", None)
        self.got: list[bytes] = []
        self._kind: Kind = kind
        self._mtu = mtu

    def make_port(self) -> Port:
        return Port(self, kind=self._kind)

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        return self._mtu

    def receive(self, port: Port, burst: Burst) -> None:
        self.got += map(bytes, burst.frames)

    def send(self, *packets: Packet | bytes) -> None:
        self.ports[0].send(Burst([bytes(packet) for packet in packets]))

    def take(self) -> list[bytes]:
        got, self.got = self.got, []
        return got


def element(text: str, name: str = "t0") -> Any:
    return machine.load(text + "\n").find(name)


def words(text: str) -> Any:
    """Connection arguments as a machine file has them."""
    return [Word(text, Place(Source("test", text), 1, 1))]


class Lab:
    """One tunnel with an end inside and one outside."""

    def __init__(self, arguments: str, kind: Kind = "ip", mtu: int | None = 1500) -> None:
        self.tunnel = element(f"t0: tmelink/{arguments} local 192.0.2.1 remote 192.0.2.2")
        self.inside, self.outside = End(kind), End("ip", mtu)
        connect(self.tunnel.port(), self.inside.port())
        connect(self.tunnel.port(words("outer")), self.outside.port())

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        async def opened() -> None:
            await self.tunnel.open()
            try:
                await main
            finally:
                await self.tunnel.close()

        run(opened)

    def out(self, *packets: Packet | bytes) -> list[Packet]:
        """What is outside of what is sent inside."""

        async def main() -> None:
            self.inside.send(*packets)

        self.run(main())
        return [IP(packet) for packet in self.outside.take()]

    def into(self, *packets: Packet | bytes) -> list[bytes]:
        """What is inside of what is sent outside."""

        async def main() -> None:
            self.outside.send(*packets)

        self.run(main())
        return self.inside.take()

    @property
    def drops(self) -> dict[str, int]:
        return {**self.tunnel.received.drops, **self.tunnel.inner.sent.drops, **self.tunnel.sent.drops}


INNER = IP(src="10.0.0.1", dst="10.0.0.2", ttl=9, tos=0xBA)
OUTER = IP(src="192.0.2.2", dst="192.0.2.1")


def test_ip_in_ip_both_ways() -> None:
    lab = Lab("ipip ttl 33")
    inner = bytes(INNER / UDP() / b"data")
    (outer,) = lab.out(inner)
    assert (outer.src, outer.dst, outer.proto, outer.ttl) == ("192.0.2.1", "192.0.2.2", 4, 33)
    assert outer.tos == 0xBA
    assert bytes(outer.payload) == inner, "the inner TTL is left alone: nothing was forwarded"
    six = bytes(IPv6(src="fd00::1", dst="fd00::2", tc=0x2E) / UDP() / b"six")
    (outer,) = lab.out(six)
    assert (outer.proto, outer.tos, bytes(outer.payload)) == (41, 0x2E, six)
    assert lab.into(OUTER / IP(inner), OUTER / IPv6(six)) == [inner, six]
    marked = IP(lab.into(IP(src="192.0.2.2", dst="192.0.2.1", tos=3) / IP(inner))[0])
    assert marked.tos == 0xBB


def test_the_outer_packet_may_be_fragmented_only_where_the_inner_may() -> None:
    lab = Lab("ipip")
    assert lab.tunnel.mtu(lab.tunnel.inner) == 1480
    flags = [str(p.flags) for p in lab.out(INNER / UDP() / DATA[:100], IP(flags="DF") / UDP())]
    assert flags == ["", "DF"]
    pieces = lab.out(INNER / UDP() / DATA[:3000])
    assert all(len(piece) <= 1500 for piece in pieces)
    inner = defragment([IP(bytes(piece.payload)) for piece in pieces])
    assert bytes(inner[0][UDP].payload) == DATA[:3000], "it was cut before, so the other end need not join"
    assert lab.out(IP(src="10.0.0.1", flags="DF") / UDP() / DATA[:1481]) == []
    (error,) = map(IP, lab.inside.take())
    assert (error.dst, error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == ("10.0.0.1", 3, 4, 1480)
    assert lab.out(IPv6(src="fd00::1", dst="fd00::2") / UDP() / DATA[:1481]) == []
    assert IPv6(lab.inside.take()[0])[ICMPv6PacketTooBig].mtu == 1480


def test_ipv6_has_its_1280_bytes_on_a_narrow_path_too() -> None:
    lab = Lab("ipip", mtu=1000)
    six = bytes(IPv6(src="fd00::1", dst="fd00::2") / UDP() / DATA[:1200])
    pieces = lab.out(six)
    assert max(len(piece) for piece in pieces) <= 1000
    assert bytes(defragment(pieces)[0].payload) == six
    lab.out(IPv6(src="fd00::1", dst="fd00::2") / UDP() / DATA[:1300])
    assert IPv6(lab.inside.take()[0])[ICMPv6PacketTooBig].mtu == 1280


def test_a_router_outside_can_narrow_the_path() -> None:
    lab = Lab("ipip")

    async def main() -> None:
        sent = IP(src="192.0.2.1", dst="192.0.2.2", proto=4) / INNER
        told = IP(src="198.51.100.1", dst="192.0.2.1") / ICMP(type=3, code=4, nexthopmtu=1400) / sent
        lab.outside.send(told)
        assert lab.tunnel.mtu(lab.tunnel.inner) == 1380
        for quoted in (IP(src="192.0.2.1", dst="192.0.2.9"), IP(src="192.0.2.9", dst="192.0.2.2")):
            lab.outside.send(OUTER / ICMP(type=3, code=4, nexthopmtu=700) / quoted / UDP())
        lab.outside.send(OUTER / ICMP(type=3, code=4, nexthopmtu=1) / sent)
        assert lab.tunnel.inner_mtu() == 68
        assert lab.tunnel.mtu(lab.tunnel.inner) == 1280, "which IPv6 needs; they travel in fragments"
        lab.outside.send(OUTER / ICMP())

    lab.run(main())
    assert lab.drops == {"ICMP: error about an unknown packet": 2, "ICMP: not served": 1}


def test_an_error_is_answered_by_none() -> None:
    lab = Lab("ipip")
    lab.out(IP(flags="DF") / ICMP(type=3, code=4) / DATA[:1490])
    assert lab.inside.take() == []
    assert lab.drops == {"too big, and not to be fragmented": 1}


def test_what_comes_in_fragments_is_put_together() -> None:
    lab = Lab("etherip", "ethernet")
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88B5)) + DATA[:3000]
    pieces = lab.out(frame)
    assert len(pieces) == 3
    whole = defragment(pieces)[0]
    assert (whole.proto, bytes(EtherIP(bytes(whole.payload)).payload)) == (97, frame)
    for piece in pieces:
        piece.src, piece.dst = piece.dst, piece.src
        del piece.chksum
    assert lab.into(*reversed(pieces)) == [frame]


def test_gre_carries_what_its_inner_side_has() -> None:
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / INNER / UDP())
    lab = Lab("gre key 7 sequence checksum", "ethernet")
    outer = lab.out(frame, frame)
    read = [GRE(bytes(packet.payload)) for packet in outer]
    assert [(r.proto, r.key, r.sequence_number, bytes(r.payload)) for r in read] == [
        (0x6558, 7, number, frame) for number in range(2)
    ]
    assert lab.tunnel.overhead == 20 + 16 + 14
    assert lab.into(OUTER / GRE(proto=0x6558, key_present=1, key=7, seqnum_present=1) / frame) == [frame]
    lab = Lab("gre")
    assert lab.tunnel.overhead == 24
    assert lab.tunnel.mtu(lab.tunnel.inner) == 1476
    (outer_ip,) = lab.out(INNER / UDP())
    assert GRE(bytes(outer_ip.payload)).proto == 0x0800


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (IP(src="192.0.2.3", dst="192.0.2.1") / INNER, "not the remote"),
        (IP(src="192.0.2.2", dst="192.0.2.9") / INNER, "for another address"),
        (OUTER / UDP(), "other protocol"),
        (OUTER / IP(tos=0) / UDP(), None),
        (
            IP(src="192.0.2.2", dst="192.0.2.1", tos=3) / IP(tos=0) / UDP(),
            "ECN: congestion",
        ),
        (b"junk", "IPv4: short packet"),
        (b"", "IPv4: short packet"),
    ],
)
def test_what_is_not_the_tunnels_is_counted(packet: Packet | bytes, reason: str | None) -> None:
    lab = Lab("ipip")
    assert len(lab.into(packet)) == (0 if reason else 1)
    assert [drop[: len(reason or "")] for drop in lab.drops] == ([reason] if reason else [])


def test_a_super_frame_is_cut_before_it_is_sealed() -> None:
    lab = Lab("ipip")
    raw = bytes(IP(src="10.0.0.1", dst="10.0.0.2", flags="DF") / TCP(flags="PA") / DATA)

    async def main() -> None:
        lab.inside.ports[0].send(Burst([raw], [Gso(TCP4, 1000, 40, 20, 16)]))

    lab.run(main())
    pieces = [IP(bytes(IP(packet).payload)) for packet in lab.outside.take()]
    assert b"".join(bytes(piece[TCP].payload) for piece in pieces) == DATA
    expected = segmented(Burst([raw], [Gso(TCP4, 1000, 40, 20, 16)]), Counters(), ip=True).frames
    assert [bytes(piece) for piece in pieces] == [bytes(piece) for piece in expected]


# Inside each other


NESTED = """
a: tmelink/host inet 10.0.0.1/24
b: tmelink/host inet 10.0.0.2/24
inmost-a at a: tmelink/etherip local 10.1.0.1 remote 10.1.0.2
inmost-b at b: tmelink/etherip local 10.1.0.2 remote 10.1.0.1
middle-a: tmelink/gre key 5 local 10.2.0.1 remote 10.2.0.2
middle-b: tmelink/gre key 5 local 10.2.0.2 remote 10.2.0.1
outmost-a: tmelink/ipip local 10.3.0.1 remote 10.3.0.2
outmost-b: tmelink/ipip local 10.3.0.2 remote 10.3.0.1
inmost-a outer at middle-a
inmost-b outer at middle-b
middle-a outer at outmost-a
middle-b outer at outmost-b
outmost-a outer at outmost-b outer
"""


def test_tunnels_inside_each_other_and_their_mtus() -> None:
    loaded = machine.load(NESTED)
    sizes = {}
    for name in ("outmost-a", "middle-a", "inmost-a"):
        tunnel = loaded.find(name)
        assert isinstance(tunnel, TunnelElement)
        sizes[name] = tunnel.inner_mtu()
    assert sizes == {"outmost-a": 1480, "middle-a": 1480 - 28, "inmost-a": 1452 - 36}

    async def main() -> None:
        async with opened(*loaded.elements.values()):
            host = loaded.find("a")
            assert isinstance(host, Host)
            for size in (56, 1388, 1400, 1472, 8000):
                result = await host.ping("10.0.0.2", count=2, interval=0.01, size=size)
                assert result.received == 2, size

    run(main)


@pytest.mark.parametrize(
    ("joins", "way"),
    [
        (["t0 outer at t1", "t1 outer at t0"], "t1 in t0 in t1"),
        (["t0 outer at t1", "t1 outer at t2", "t2 outer at t0"], "t2 in t0 in t1 in t2"),
        (["t0 outer at t1", "t2 outer at t0", "t1 outer at t2"], "t1 in t2 in t0 in t1"),
    ],
)
def test_a_circle_of_tunnels_is_a_mistake(joins: list[str], way: str) -> None:
    tunnels = [f"t{n}: tmelink/ipip local 10.{n}.0.1 remote 10.{n}.0.2" for n in range(3)]
    with pytest.raises(MachineError) as caught:
        machine.load("\n".join([*tunnels, *joins]) + "\n")
    (mistake,) = caught.value.mistakes
    assert mistake.message == f"{way}: a tunnel cannot carry itself"
    assert mistake.place.line == 3 + len(joins)


def test_a_packet_that_is_led_into_its_own_tunnel_is_dropped() -> None:
    lab = Lab("ipip")
    assert lab.out(IP(src="192.0.2.1", dst="192.0.2.2", proto=4) / INNER) == []
    assert lab.out(IP(ttl=0) / UDP()) == []
    assert lab.drops == {"routed into itself": 1, "time to live exceeded": 1}


class Wire(Element):
    """Sends back inside what comes out of a tunnel, as routes may."""

    inside: Port

    def make_port(self) -> Port:
        return Port(self, kind="ip")

    def receive(self, port: Port, burst: Burst) -> None:
        self.inside.send(burst)


def test_a_loop_at_run_time_ends() -> None:
    tunnel = element("t0: tmelink/gre local 192.0.2.1 remote 192.0.2.2 mtu 1400")
    inside, wire = End(), Wire("wire", None)
    connect(tunnel.port(), inside.port())
    connect(tunnel.port(words("outer")), wire.port())
    wire.inside = inside.ports[0]

    async def main() -> None:
        await tunnel.open()
        # From another address to the other end, so that it is not known by its addresses alone.
        inside.send(INNER / UDP())
        await tunnel.close()

    run(main)
    assert sum(tunnel.inner.sent.drops.values()) == 1


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("t0: tmelink/ipip local 10.0.0.1", "missing argument: remote ADDR"),
        ("t0: tmelink/ipip local 10.0.0.1 remote 10.0.0.1", "both ends of a tunnel have the same address"),
        ("t0: tmelink/ipip local 10.0.0.1 remote 224.0.0.1", "224.0.0.1 is not a unicast address"),
        ("t0: tmelink/gre local 10.0.0.1 remote 10.0.0.2 key -1", "out of range"),
        ("t0: tmelink/ipip local 10.0.0.1 remote 10.0.0.2\ns: tmelink/switch\nt0 within at s", "'outer'"),
        (
            "t0: tmelink/ipip local 10.0.0.1 remote 10.0.0.2\nle0 at t0: tmelink/host inet 10.1.0.1/24",
            "put a tmelink/gateway between them",
        ),
        (
            f"t0: tmelink/ipip {ENDS}\nt1: tmelink/ipip {ENDS}",
            "/t1 wants IP protocol 4 from 10.0.0.1 to 10.0.0.2, which /t0 has",
        ),
        ("v: tmelink/vxlan vni 1", "a vxlan needs one or more remote ADDR"),
        ("v: tmelink/vxlan vni 16777216 remote 10.0.0.1", "out of range"),
        ('v: tmelink/vxlan vni 1 remote 10.0.0.1 remote "fd00::1"', "all ends must use the same IP version"),
        (
            "v: tmelink/vxlan vni 1 remote 10.0.0.1\nt: tme/host/tun/tun\nv outer at t",
            "v needs 'local ADDR', an IPv4 address, to use a connection",
        ),
    ],
)
def test_mistakes(text: str, mistake: str) -> None:
    with pytest.raises(MachineError) as caught:
        machine.load(text + "\n")
    assert mistake in str(caught.value.mistakes[0])


def test_keys_tell_tunnels_between_the_same_addresses_apart() -> None:
    machine.load(f"t0: tmelink/gre {ENDS} key 1\nt1: tmelink/gre {ENDS} key 2\n")


@pytest.mark.parametrize("kind", ["vxlan vni 7", "ipip"])
def test_another_carrier_makes_a_tunnel_anew(kind: str) -> None:
    """A tunnel chooses between a socket and a connection when it opens."""
    ends = "remote 192.0.2.2 local 192.0.2.1"
    alone = f"v: tmelink/{kind} {ends}\nt: tmelink/ipip local 10.0.0.1 remote 10.0.0.2\n"
    change = between(machine.load(alone), machine.load(f"{alone}v outer at t\n"))
    assert ("replace", "v") in [(each.kind, each.what) for each in change.changes]
