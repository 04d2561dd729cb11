"""Filters on running connections: by name and by expression, in each direction, in the file and live."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.machines import Machine
from tmelink import load
from tmelink.difference import between
from tmelink.element import connect
from tmelink.errors import MachineError
from tmelink.frame import Burst, Frame
from tmelink.inline import filters
from tmelink.inline.filters import NAMED, filter_of, set_filter
from tmelink.inline.pcap_filter import PcapFilter

TWO = """
host0: tmelink/host inet 10.0.0.1/24
host1 at host0: tmelink/host inet 10.0.0.2/24
"""


def frame(ethertype: int, data: bytes = b"", tag: int | None = None) -> bytes:
    vlan = b"" if tag is None else b"\x81\x00" + tag.to_bytes(2, "big")
    whole = b"\x02\0\0\0\0\2" + b"\x02\0\0\0\0\1" + vlan + ethertype.to_bytes(2, "big") + data
    return whole + bytes(max(0, 60 - len(whole)))


def udp(source: int, destination: int) -> bytes:
    head = bytes.fromhex("4500002800000000401100000a0000010a000002")
    return head + source.to_bytes(2, "big") + destination.to_bytes(2, "big") + b"\0\x14\0\0" + bytes(12)


def snap(protocol: int) -> bytes:
    return bytes.fromhex("aaaa03080007") + protocol.to_bytes(2, "big") + bytes(30)


ROUTER_ADVERTISEMENT = bytes.fromhex("6000000000103aff") + bytes(32) + b"\x86" + bytes(15)
NEIGHBOUR_SOLICITATION = bytes.fromhex("6000000000183aff") + bytes(32) + b"\x87" + bytes(23)

SAMPLES: dict[str, list[bytes]] = {
    "appletalk": [frame(38, snap(0x809B)), frame(0x80F3)],
    "arp": [frame(0x0806), frame(0x8035)],
    "chaos": [frame(0x0804)],
    "decnet": [frame(0x6003)],
    "dhcp": [frame(0x0800, udp(68, 67)), frame(0x0800, udp(67, 68))],
    "ip": [frame(0x0800, udp(5000, 53)), frame(0x86DD, NEIGHBOUR_SOLICITATION)],
    "ip6": [frame(0x86DD, NEIGHBOUR_SOLICITATION)],
    "ipx": [frame(0x8137), frame(30, b"\xff\xff" + bytes(28)), frame(33, b"\xe0\xe0\x03" + bytes(30))],
    "lat": [frame(0x6004)],
    "loopback": [frame(0x9000)],
    "mop": [frame(0x6001), frame(0x6002)],
    "netbeui": [frame(46, b"\xf0\xf0\x03" + bytes(43))],
    "ra": [frame(0x86DD, ROUTER_ADVERTISEMENT)],
    "xns": [frame(0x0600)],
}
PARTS = {"arp": {"ip"}, "dhcp": {"ip"}, "ip6": {"ip"}, "ra": {"ip", "ip6"}}
"""Names whose frames another name has too."""


def passing(words: str, *frames: bytes) -> list[bool]:
    return filters.Selection(words.split(), "ethernet").passing(frames)


def test_every_name_selects_its_frames_and_no_others_tagged_or_not() -> None:
    assert SAMPLES.keys() == NAMED.keys()
    for name in NAMED:
        for other, samples in SAMPLES.items():
            tagged = [each[:12] + b"\x81\x00\x00\x07" + each[12:] for each in samples]
            doubly = [each[:12] + b"\x88\xa8\x00\x09" + each[12:] for each in samples]
            expected = name == other or name in PARTS.get(other, ()) or (name, other) == ("ip6", "ip")
            if (name, other) == ("ip6", "ip"):
                samples, tagged, doubly = samples[1:], tagged[1:], doubly[1:]
            all_of_them = [*samples, *tagged, *doubly]
            assert passing(name, *all_of_them) == [expected] * len(all_of_them), (name, other)
            assert passing(f"no-{name}", *all_of_them) == [not expected] * len(all_of_them), (name, other)


def test_names_and_expressions_are_joined() -> None:
    decnet, lat, dhcp, dns = frame(0x6003), frame(0x6004), SAMPLES["dhcp"][0], SAMPLES["ip"][0]
    assert passing("decnet lat", decnet, lat, dns) == [True, True, False]
    assert passing("ip no-dhcp", decnet, dhcp, dns) == [False, False, True]
    both = filters.Selection(["decnet", "udp port 53", "ether proto 0x6004", "no-lat"], "ethernet")
    assert both.passing([decnet, lat, dhcp, dns]) == [True, False, False, True]


@pytest.mark.parametrize(
    "expression",
    ["ip", "udp port 53", "ip6 and udp port 53", "tcp[tcp[12] >> 2:4] = 0x47455420", "vlan and arp"],
)
def test_no_more_of_a_frame_is_copied_than_the_program_looks_at(expression: str) -> None:
    selected = PcapFilter(expression)
    whole = [each + bytes(2000) for samples in SAMPLES.values() for each in samples]
    assert selected.matching(whole) == selected.matching([memoryview(each) for each in whole])
    assert (selected._looks_at < 200) == ("tcp[" not in expression)


def test_what_does_not_pass_is_counted_in_its_direction_alone() -> None:
    a, b = Machine(), Machine()
    connect(a.port(), b.port())
    port = a.ports[0]
    set_filter(port, ["decnet"])
    burst: list[Frame] = [frame(0x6003), memoryview(frame(0x6004)), bytearray(frame(0x6003))]
    port.send(Burst(burst))
    assert b.frames == [frame(0x6003)] * 2
    assert port.sent.drops == {"filtered": 1}
    b.send(frame(0x6004))
    assert a.frames == [frame(0x6004)]
    set_filter(port, [])
    assert port.inline is None, "no cost where there is none"


def test_a_filter_of_the_file_holds_changes_by_apply_and_ends_with_the_lab() -> None:
    async def body() -> None:
        async with load(TWO + "filter host0 at host1 no-ip direction out\n").run() as lab:
            (port,) = lab.ports_between("host0", "host1")
            ping = ["ping", "10.0.0.2", "count", "1", "timeout", "0.05"]
            assert "0 received" in await lab["host0"].command(ping)

            async def apply(text: str) -> None:
                assert await lab.reconcile(between(lab.machine, load(text))) == {}

            await apply(TWO + "filter host1 at host0 ip\nfilter host0 at host1 ip arp direction out\n")
            assert port.peer is not None
            held = [each.selection.words for end in (port, port.peer) if (each := filter_of(end))]
            assert held == [("ip", "arp"), ("ip",)]
            assert "1 received" in await lab["host0"].command(ping)
            lab.impair("host0", "host1", ["delay", "1ms"])
            await apply(TWO + "filter host1 at host0 ip\nfilter host0 at host1 clear\n")
            assert filter_of(port) is filter_of(port.peer) is None
            assert port.inline is not None, "what was set live on it stays"
        assert port.inline is None

    asyncio.run(body())


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        ("filter host0 at host1 direction in", "4:23", "a filter needs what passes"),
        ("filter host0 at host1 no-dhpc", "4:23", "not a valid filter expression"),
        ("filter host0 at host1 ip direction up", "4:36", "direction is in, out or both"),
        ("filter host0 at host2 ip", "4:17", "unknown element host2"),
        ("filter host0 at host0 ip", "4:8", "not connected"),
        ('filter host0 at host1 ip "udp prt 5"', "4:26", "not a valid filter expression"),
    ],
)
def test_mistakes_are_told_at_their_words(line: str, place: str, message: str) -> None:
    with pytest.raises(MachineError, match=message) as caught:
        load(TWO + line + "\n")
    (mistake,) = caught.value.mistakes
    assert f"{mistake.place.line}:{mistake.place.column}" == place


def test_a_protocol_of_ethernet_is_no_filter_of_ip_packets() -> None:
    text = "tun0: tme/host/tun/tun\nu0 at tun0: tme/host/openvpn/socket/link --dev tun --remote 192.0.2.2\n"
    with pytest.raises(MachineError, match="'no-lat' is about Ethernet frames, and IP packets cross"):
        load(text + "filter u0 at tun0 no-lat\n")
    (held,) = load(text + "filter u0 at tun0 ip no-dhcp\n").filters
    selection = filters.Selection(held.request.words, "ip")
    assert selection.passing([SAMPLES["dhcp"][0][14:], SAMPLES["ip"][0][14:]]) == [False, True]
