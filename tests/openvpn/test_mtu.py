"""Sizes and options strings, as the log of openvpn 2.6.14 --verb 7 shows them for the same options."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.grouped import plain as plain_settings
from tmelink.openvpn.plain import mtu
from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.settings import Mssfix

KEY = Secret(bytes(256))


def made(**options: Any) -> Settings:
    return plain_settings(**options)


def keyed(**options: Any) -> Settings:
    return plain_settings(**{"key": KEY, "cipher": "AES-256-CBC", **options})


SECRET = "cipher AES-256-CBC,auth SHA1,keysize 256,secret"


@pytest.mark.parametrize(
    ("settings", "string"),
    [
        (made(), "V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4"),
        (made(proto="tcp-server"), "V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto TCPv4_SERVER"),
        (made(proto="tcp6-client"), "V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto TCPv4_CLIENT"),
        (made(kind="ip"), "V4,dev-type tun,link-mtu 1500,tun-mtu 1500,proto UDPv4"),
        (
            made(fragment=1300, mssfix=Mssfix(0)),
            "V4,dev-type tap,link-mtu 1536,tun-mtu 1500,proto UDPv4,mtu-dynamic",
        ),
        (made(framing="stub-v2"), "V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4,comp-lzo"),
        (made(framing="comp-lzo no"), "V4,dev-type tap,link-mtu 1533,tun-mtu 1500,proto UDPv4,comp-lzo"),
        (made(tun_mtu=9000), "V4,dev-type tap,link-mtu 9032,tun-mtu 9000,proto UDPv4"),
        (made(link_mtu=1500), "V4,dev-type tap,link-mtu 1532,tun-mtu 1492,proto UDPv4"),
        (keyed(), f"V4,dev-type tap,link-mtu 1592,tun-mtu 1500,proto UDPv4,{SECRET}"),
        (keyed(key_direction=1), f"V4,dev-type tap,link-mtu 1592,tun-mtu 1500,proto UDPv4,keydir 1,{SECRET}"),
        (
            keyed(cipher="AES-128-CBC", auth="SHA256"),
            "V4,dev-type tap,link-mtu 1604,tun-mtu 1500,proto UDPv4,"
            "cipher AES-128-CBC,auth SHA256,keysize 128,secret",
        ),
        (
            keyed(cipher="AES-192-CBC", auth="SHA512"),
            "V4,dev-type tap,link-mtu 1636,tun-mtu 1500,proto UDPv4,"
            "cipher AES-192-CBC,auth SHA512,keysize 192,secret",
        ),
        (
            keyed(auth="none"),
            "V4,dev-type tap,link-mtu 1572,tun-mtu 1500,proto UDPv4,"
            "cipher AES-256-CBC,auth [null-digest],keysize 256,secret",
        ),
        (
            keyed(cipher="none"),
            "V4,dev-type tap,link-mtu 1560,tun-mtu 1500,proto UDPv4,"
            "cipher [null-cipher],auth SHA1,keysize 0,secret",
        ),
        (
            keyed(cipher="none", auth="none"),
            "V4,dev-type tap,link-mtu 1540,tun-mtu 1500,proto UDPv4,"
            "cipher [null-cipher],auth [null-digest],keysize 0,secret",
        ),
        (
            keyed(fragment=1200, framing="stub"),
            f"V4,dev-type tap,link-mtu 1597,tun-mtu 1500,proto UDPv4,comp-lzo,mtu-dynamic,{SECRET}",
        ),
        (keyed(link_mtu=1500), f"V4,dev-type tap,link-mtu 1592,tun-mtu 1448,proto UDPv4,{SECRET}"),
        (
            keyed(tun_mtu=1400, occ_mtu=1500),
            f"V4,dev-type tap,link-mtu 1492,tun-mtu 1500,proto UDPv4,{SECRET}",
        ),
    ],
)
def test_options_strings(settings: Settings, string: str) -> None:
    assert mtu.options_string(settings, remote=False) == string


def test_the_string_expected_of_the_peer_is_its_own() -> None:
    assert "keydir 0" in mtu.options_string(keyed(key_direction=1), remote=True)
    assert "TCPv4_CLIENT" in mtu.options_string(made(proto="tcp-server"), remote=True)


@pytest.mark.parametrize(
    ("settings", "fragment", "mss"),
    [
        (made(proto="udp", fragment=1300), 1288, 1168),
        (keyed(fragment=1300, fragment_counts_encapsulation=True), 1219, 1147),
        (keyed(fragment=1300, mssfix=Mssfix(1200)), 1251, 1067),
        (keyed(cipher="none", fragment=1300), 1268, 1168),
        (keyed(fragment=1200, framing="stub"), 1139, 1050),
    ],
)
def test_fragments_and_segments(settings: Settings, fragment: int, mss: int) -> None:
    assert mtu.fragment_size(settings) == fragment
    assert mtu.mss_limit(settings) == mss


@pytest.mark.parametrize(
    ("settings", "mss"),
    [
        (made(tun_mtu=1400), 1360),
        (made(mssfix=Mssfix(0)), 0),
        (made(link_mtu=1500), 0),
        (made(mssfix=Mssfix(1300, "fixed")), 1260),
        (made(), 1492 - 28 - 8 - 32 - 40),
        (made(proto="udp6"), 1492 - 48 - 8 - 32 - 40),
        (made(proto="tcp4-client"), 1492 - 40 - 2 - 8 - 32 - 40),
        (made(kind="ip"), 1492 - 28 - 8 - 40),
        (made(mssfix=Mssfix(10)), 0),
    ],
)
def test_segments_without_fragments(settings: Settings, mss: int) -> None:
    assert mtu.mss_limit(settings) == mss
