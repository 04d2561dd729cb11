"""--mssfix: which MSS fits which keys, as openvpn 2.6.14 --verb 7 shows it, and which frames are changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.support.grouped import plain as plain_settings
from tests.support.grouped import tls as tls_settings
from tests.support.wire import pieces
from tmelink.frame import Run, SuperFrame
from tmelink.openvpn.data import keys as data_keys
from tmelink.openvpn.data.clamp import clamped
from tmelink.openvpn.data.direction import StaticDirection
from tmelink.openvpn.data.records import Record
from tmelink.openvpn.data.replay import USUAL
from tmelink.openvpn.plain import mtu
from tmelink.openvpn.session import Carried, Item
from tmelink.openvpn.settings import Mssfix
from tmelink.openvpn.tls.keyring import fragment_room
from tmelink.openvpn.tls.negotiated import NegotiatedOptions
from tmelink.openvpn.tls.payload import Payloads

DIRECTION = StaticDirection(bytes(64), bytes(64))


@pytest.mark.parametrize(
    ("options", "cipher", "mss"),
    [
        ({"proto": "udp4"}, "AES-256-GCM", 1368),
        ({"proto": "tcp4-server"}, "AES-256-GCM", 1354),
        ({"proto": "udp4"}, "AES-256-CBC", 1331),
        ({"proto": "udp4", "mssfix": Mssfix(1400)}, "AES-256-GCM", 1304),
        ({"proto": "udp4", "mssfix": Mssfix(1300), "fragment": 1300}, "AES-256-GCM", 1200),
        ({"proto": "udp4", "framing": "stub"}, "AES-256-GCM", 1367),
    ],
)
def test_what_fits_under_keys_is_what_openvpn_reckons(options: dict[str, Any], cipher: str, mss: int) -> None:
    settings = plain_settings(**options)
    keys = data_keys.make(cipher, "SHA256", DIRECTION, DIRECTION, Counter(), epoch=False, window=USUAL)
    room = fragment_room(keys, NegotiatedOptions(cipher, peer_id=0), mtu.mss_datagram(settings))
    assert room - mtu.mss_overhead(settings) == mss


def test_a_fixed_mss_and_none_need_no_keys() -> None:
    assert mtu.mss_datagram(plain_settings(mssfix=Mssfix(1400, "fixed"))) == 0
    assert mtu.mss_limit(plain_settings(mssfix=Mssfix(1400, "fixed"))) == 1360
    assert mtu.mss_datagram(plain_settings(mssfix=Mssfix(0))) == 0
    assert mtu.mss_limit(plain_settings(mssfix=Mssfix(0))) == 0


def syn(mss: int, version: int = 4, flags: str = "S") -> bytes:
    network = IP(src="10.0.0.1", dst="10.0.0.2") if version == 4 else IPv6(src="fd00::1", dst="fd00::2")
    return bytes(Ether() / network / TCP(flags=flags, options=[("MSS", mss)]))


def mss_of(frame: Carried | Record) -> int:
    assert not isinstance(frame, Run | SuperFrame | Record)
    found: dict[str, int] = dict(Ether(bytes(frame))[TCP].options)
    return found["MSS"]


@pytest.mark.parametrize(("version", "most"), [(4, 1300), (6, 1280)])
def test_only_what_opens_a_connection_and_asks_for_more_is_changed(version: int, most: int) -> None:
    small, large, later = syn(500, version), syn(1460, version), syn(1460, version, "A")
    long = bytes(1000)
    items: list[Item] = [long, small, large, later]
    out = clamped(items, 1300, ip=False)
    assert [out[0], out[1], out[3]] == [long, small, later]
    assert mss_of(out[2]) == most
    assert clamped([long, small, later], 1300, ip=False) == [long, small, later]


def test_a_syn_at_the_end_of_a_run_is_found() -> None:
    large = syn(1460)
    run = Run(memoryview(bytes(600) + large), 300)
    out = clamped([run], 1300, ip=False)
    assert pieces(out[:2]) == [bytes(300), bytes(300)]
    assert mss_of(out[2]) == 1300
    untouched = Run(memoryview(bytes(600)), 300)
    assert clamped([untouched], 1300, ip=False) == [untouched]


def test_a_link_with_tls_clamps_both_ways_once_it_has_keys() -> None:
    drops: Counter[str] = Counter()
    payloads = Payloads(tls_settings(server=True, mss_datagram=1444, mss_overhead=72), drops, 0)
    assert mss_of(payloads.outgoing([syn(1460)])[0]) == 1460
    payloads.clamp(1420)
    assert mss_of(payloads.outgoing([syn(1460)])[0]) == 1348
    frames: list[Carried] = [syn(1460)]
    payloads.incoming([syn(1460)], frames, 0.0)
    assert [mss_of(frame) for frame in frames] == [1460, 1348]
    fixed = Payloads(tls_settings(server=True, mss=1000), drops, 0)
    fixed.clamp(0)
    assert mss_of(fixed.outgoing([syn(1460)])[0]) == 1000
