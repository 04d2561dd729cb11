"""What a TUN takes as arguments, and what it can be joined to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

import pytest

from tmelink import machine
from tmelink.elements.host_interfaces.tun import Tun
from tmelink.errors import MachineError
from tmelink.system.interfaces import AssignedAddress


def tun(arguments: str, module: str = "tme/host/tun/tun") -> Tun:
    element = machine.load(f"tun0: {module} {arguments}\n").find("tun0")
    assert isinstance(element, Tun)
    return element


def mistakes(text: str) -> list[str]:
    with pytest.raises(MachineError) as caught:
        machine.load(text)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_an_address_has_a_network_or_a_peer() -> None:
    net = IPv4Interface("10.8.0.1/24")
    assert tun("inet 10.8.0.1/24").arguments.addresses() == [AssignedAddress(net)]
    assert tun("inet 10.8.0.1 peer 10.8.0.2 inet6 fd08::1/64").arguments.addresses() == [
        AssignedAddress(IPv4Interface("10.8.0.1/32"), peer=IPv4Address("10.8.0.2")),
        AssignedAddress(IPv6Interface("fd08::1/64")),
    ]


def test_a_tunnel_over_a_tun_knows_its_mtu() -> None:
    ends = "local 10.1.0.1 remote 10.1.0.2"
    text = (
        f"t: tme/host/tun/tun mtu 1400\ni: tmelink/ipip {ends}\ni outer at t\nu: tme/host/tun/tun\nu at i\n"
    )
    loaded = machine.load(text)
    inner = loaded.find("i").ports[1]
    assert loaded.find("i").mtu(inner) == 1380
    assert loaded.find("u").mtu(loaded.find("u").ports[0]) is None


def test_openvpns_words_mean_the_same() -> None:
    module = "tme/host/openvpn/tun"
    options = "--dev tun7 --ifconfig 10.8.0.1 10.8.0.2 --ifconfig-ipv6 fd08::1/64 fd08::2 --tun-mtu 1400"
    words = "interface tun7 inet 10.8.0.1 peer 10.8.0.2 inet6 fd08::1/64 mtu 1400"
    assert tun(options, module).arguments == tun(words).arguments
    options = "--dev mine --dev-type tun --topology subnet --ifconfig 10.8.0.1 255.255.255.0"
    assert tun(options, module).arguments == tun("interface mine inet 10.8.0.1/24").arguments


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "t: tme/host/tun/tun inet 10.8.0.1\n",
            "<text>:1:21: 'inet 10.8.0.1' needs a network, as 10.8.0.1/24, or 'peer ADDR' too",
        ),
        ("t: tme/host/tun/tun peer 10.8.0.1\n", "<text>:1:21: 'peer' needs 'inet ADDR' too"),
        (
            "t: tme/host/tun/tun inet 10.8.0.1/24 peer 10.8.0.2\n",
            "<text>:1:38: 'inet 10.8.0.1/24' names a network already; write 'inet 10.8.0.1'",
        ),
        (
            "t: tme/host/openvpn/tun --dev tap0\n",
            "<text>:1:31: --dev: 'tap0' is a TAP, which carries an Ethernet; write tun, or a name and "
            "--dev-type tun",
        ),
        (
            "t: tme/host/openvpn/tun --dev tun --topology subnet --ifconfig 10.8.0.1 10.8.0.2\n",
            "<text>:1:53: --ifconfig: '10.8.0.2' is not a valid netmask, such as 255.255.255.0",
        ),
    ],
)
def test_mistakes_say_what_to_write(text: str, mistake: str) -> None:
    assert mistakes(text) == [mistake]


def test_packets_and_frames_do_not_mix() -> None:
    text = "le0: tmelink/host inet 10.0.0.1/24\nt at le0: tme/host/tun/tun\n"
    assert mistakes(text) == [
        "<text>:2:6: t carries IP packets and le0 carries Ethernet frames: put a tmelink/gateway between them"
    ]
    text = "le0: tmelink/host inet 10.0.0.1/24\nl at le0: tme/host/openvpn/socket/link --dev tun --remote a\n"
    (mistake,) = mistakes(text)
    assert "put a tmelink/gateway between them" in mistake
    machine.load("t: tme/host/tun/tun\nl at t: tme/host/openvpn/socket/link --dev tun --remote a\n")
