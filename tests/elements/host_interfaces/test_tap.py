"""A TAP's arguments in TME's words and in OpenVPN's, and what it does without an interface."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

import pytest

from tmelink.element import Claim, connect
from tmelink.elements.host_interfaces.openvpn_tap import OpenvpnTap
from tmelink.elements.host_interfaces.tap import Tap
from tmelink.errors import UnsupportedHere
from tmelink.frame import Burst
from tmelink.source import Mistake, Place, Source, Word
from tmelink.system.interfaces import AssignedAddress


def read(cls: type[Tap], text: str) -> tuple[Tap.Arguments | None, list[Mistake]]:
    source = Source("test.conf", text)
    words, column = [], 0
    for word in text.split():
        column = text.index(word, column)
        words.append(Word(word, Place(source, 1, column + 1, len(word))))
        column += len(word)
    mistakes: list[Mistake] = []
    return cls.parse(words, Place(source, 1, 1), mistakes.append), mistakes


def settings(cls: type[Tap], text: str) -> Tap.Arguments:
    arguments, mistakes = read(cls, text)
    assert mistakes == []
    assert arguments is not None
    return arguments


def mistakes(cls: type[Tap], text: str) -> list[str]:
    arguments, found = read(cls, text)
    assert arguments is None
    return [str(mistake) for mistake in found]


def test_both_spellings_say_the_same() -> None:
    words = settings(
        Tap,
        "interface tap3 inet 10.0.0.1 netmask 255.255.255.0 inet6 fd00::1/64 mac 02:00:00:00:00:01 mtu 1400",
    )
    options = settings(
        OpenvpnTap,
        "--dev tap3 --ifconfig 10.0.0.1 255.255.255.0 --tun-ipv6 --ifconfig-ipv6 fd00::1/64 fd00::2 "
        "--lladdr 02:00:00:00:00:01 --tun-mtu 1400",
    )
    assert words.addresses() == options.addresses()
    assert words.addresses() == [
        AssignedAddress(IPv4Interface("10.0.0.1/24"), IPv4Address("10.0.0.255")),
        AssignedAddress(IPv6Interface("fd00::1/64")),
    ]
    assert (words.interface, words.mac, words.mtu) == (options.interface, options.mac, options.mtu)
    assert (words.interface, words.mac, words.mtu) == ("tap3", b"\2\0\0\0\0\1", 1400)


@pytest.mark.parametrize(
    ("text", "interface", "broadcast"),
    [
        ("inet 10.1.2.3", "10.1.2.3/8", "10.255.255.255"),
        ("inet 172.16.2.3", "172.16.2.3/16", "172.16.255.255"),
        ("inet 192.168.2.3", "192.168.2.3/24", "192.168.2.255"),
        ("inet 192.168.2.3/28", "192.168.2.3/28", "192.168.2.15"),
        ("inet 192.168.2.3/31", "192.168.2.3/31", None),
        ("inet 192.168.2.3 netmask 255.255.0.0", "192.168.2.3/16", "192.168.255.255"),
        ("inet 10.0.0.1/24 bcast 10.0.0.0", "10.0.0.1/24", "10.0.0.0"),
    ],
)
def test_an_ipv4_address_has_its_netmask_and_broadcast(
    text: str, interface: str, broadcast: str | None
) -> None:
    expected = AssignedAddress(IPv4Interface(interface), IPv4Address(broadcast) if broadcast else None)
    assert settings(Tap, text).addresses() == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interfce", "test.conf:1:1: unknown argument 'interfce' (did you mean interface?)"),
        ("netmask 255.0.0.0", "test.conf:1:1: 'netmask' needs 'inet ADDR' too"),
        ("nat eth0", "test.conf:1:1: 'nat' needs 'inet ADDR' too"),
        (
            "inet 10.0.0.1/8 netmask 255.0.0.0",
            "test.conf:1:17: 'inet 10.0.0.1/8' already has a prefix; leave one of them out",
        ),
        ("inet 10.0.0.300", "test.conf:1:6: inet: '10.0.0.300' is not a valid IPv4 address"),
        ("offload maybe", "test.conf:1:9: offload: 'maybe' is not one of on, off"),
        (
            "bridge br0 inet 10.0.0.1/8",
            "test.conf:1:1: a TAP in a bridge has no address of its own; give the address to the bridge "
            "('ip addr add … dev br0') or leave 'bridge' out",
        ),
    ],
)
def test_mistakes_in_words_are_located(text: str, expected: str) -> None:
    assert mistakes(Tap, text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["test.conf:1:1: missing option: --dev tap"]),
        ("tap0", ["test.conf:1:1: 'tap0' is not an option (options begin with --, as in --dev tap)"]),
        ("--dev tun0", ["test.conf:1:7: --dev: 'tun0' is a TUN, which carries no Ethernet"]),
        (
            "--dev lan",
            ["test.conf:1:7: '--dev lan' does not say whether it is a TAP or a TUN (add --dev-type tap)"],
        ),
        ("--dev tap --dev-type tun", ["test.conf:1:22: --dev-type: 'tun' carries no Ethernet"]),
        (
            "--dev tap --lladr x",
            ["test.conf:1:11: unknown option '--lladr' for a TAP (did you mean --lladdr?)"],
        ),
        ("--dev tap --ifconfig 10.0.0.1", ["test.conf:1:11: '--ifconfig' takes ADDR MASK"]),
        (
            "--dev tap --ifconfig 10.0.0.1 10.0.0.2",
            ["test.conf:1:22: --ifconfig: '10.0.0.2' is not a valid netmask"],
        ),
        (
            "--dev tap --ifconfig-ipv6 fd00::1 fd00::2",
            ["test.conf:1:27: --ifconfig-ipv6: 'fd00::1' is not a valid IPv6"],
        ),
        (
            "--dev tap --up route-up.sh",
            ["test.conf:1:11: '--up' is not accepted here: TAPs and TUNs run no scripts"],
        ),
        ("--dev tap --dev tap1", ["test.conf:1:11: option '--dev' is given twice"]),
        ("--dev tap --dev-node /dev/tap", ["test.conf:1:22: --dev-node: '/dev/tap' is not"]),
        (
            "--dev tap --tun-mtu 5 --lladdr 1",
            ["test.conf:1:21: --tun-mtu: mtu 5", "test.conf:1:32: --lladdr: '1'"],
        ),
    ],
)
def test_mistakes_in_options_are_located(text: str, expected: list[str]) -> None:
    found = [message for message in mistakes(OpenvpnTap, text) if "missing option" not in message or not text]
    assert len(found) == len(expected)
    for message, start in zip(found, expected, strict=True):
        assert message.startswith(start)


def test_a_device_of_another_name_is_taken_with_its_type() -> None:
    assert settings(OpenvpnTap, "--dev lan --dev-type tap --dev-node /dev/net/tun").interface == "lan"
    assert settings(OpenvpnTap, "--dev tap").interface is None


def test_a_named_interface_is_claimed() -> None:
    assert Tap("tap1", Tap.Arguments(interface="tap0")).claims() == [Claim("interface", ("tap0",))]
    assert Tap("tap1", Tap.Arguments()).claims() == []


def test_super_frames_can_be_switched_off() -> None:
    assert Tap("tap1", Tap.Arguments()).port().offload
    assert not Tap("tap1", settings(Tap, "offload off")).port().offload


def test_frames_before_open_are_counted() -> None:
    a, b = Tap("a", Tap.Arguments()).port(), Tap("b", Tap.Arguments()).port()
    connect(a, b)
    a.send(Burst([bytes(60)] * 3))
    assert b.sent.drops == {"closed": 3}


def test_the_options_are_shown_as_they_are_written() -> None:
    usage = OpenvpnTap.usage("tme/host/openvpn/tap")
    assert usage.startswith("tme/host/openvpn/tap --dev tap|NAME [--dev-type tap]")
    rows = dict(OpenvpnTap.reference())
    assert "--ifconfig ADDR MASK" in rows
    assert "--up SCRIPT" not in rows


def test_another_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(UnsupportedHere, match="needs Linux, and this is darwin"):
        asyncio.run(Tap("tap1", Tap.Arguments()).open())


@pytest.mark.parametrize("name", ["all", "default", "tap%d", "50%", ".", "..", "a:b", "sixteen-letters-"])
def test_names_that_the_kernel_does_not_take_are_mistakes(name: str) -> None:
    [mistake] = mistakes(Tap, f"interface {name}")
    assert "is not a valid interface name" in mistake
