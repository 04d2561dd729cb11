"""A host with two addresses answers from the one that was asked, whatever its routes prefer."""

from __future__ import annotations

import pytest

from tests.e2e.secured import Site
from tests.support.netns import Namespace, Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]

SECOND, SECOND6 = "10.1.0.101", "fd01::101"
"""The addresses that the kernel does not choose by itself; the first ones are 10.1.0.1 and fd01::1."""

LINK = "tme/host/openvpn/socket/link --dev tap"
SERVER = "tme/host/openvpn/socket/server --dev tap --server 10.9.0.0 255.255.255.0"
INSIDE = ("10.9.0.1", "10.9.0.2")

KINDS = {
    "link over IPv4": (f"{LINK} --proto udp4 --float", f"{LINK} --proto udp4 --remote {SECOND}"),
    "link over IPv6": (f"{LINK} --proto udp6 --float", f"{LINK} --proto udp6 --remote {SECOND6}"),
    "link over IPv4 and IPv6": (f"{LINK} --proto udp6 --float", f"{LINK} --proto udp4 --remote {SECOND}"),
    "link without GSO": (
        f"{LINK} --proto udp4 --float --udp-offload off",
        f"{LINK} --proto udp4 --remote {SECOND}",
    ),
    "link that knows its peer": (
        f"{LINK} --proto udp4 --remote 10.1.0.2",
        f"{LINK} --proto udp4 --remote {SECOND}",
    ),
    "tmelink/udp": ("tmelink/udp local 5000 float", f"tmelink/udp local 5000 remote {SECOND}:5000"),
    "tmelink/vxlan over IPv4": (
        "tmelink/vxlan vni 7 remote 10.1.0.2",
        f"tmelink/vxlan vni 7 remote {SECOND}",
    ),
    "tmelink/vxlan over IPv6": (
        'tmelink/vxlan vni 7 remote "fd01::2"',
        f'tmelink/vxlan vni 7 remote "{SECOND6}"',
    ),
}


def hosts(net: Net) -> tuple[Namespace, Namespace]:
    a, b = net.pair()
    a.run("ip", "addr", "add", f"{SECOND}/24", "dev", "eth0")
    a.run("ip", "addr", "add", f"{SECOND6}/64", "dev", "eth0", "nodad")
    # The kernel prefers the first one of each version.
    a.run("ip", "route", "replace", "10.1.0.0/24", "dev", "eth0", "src", "10.1.0.1")
    a.run("ip", "-6", "route", "replace", "fd01::2/128", "dev", "eth0", "src", "fd01::1")
    return a, b


def tap(namespace: Namespace, number: int, element: str) -> None:
    namespace.tmelink(
        f"own: tme/host/tun/tap interface own0 inet {INSIDE[number]}/24 mtu 1400\nwire at own: {element}\n"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.needs("iperf3")
def test_it_answers_from_the_address_that_was_asked(net: Net, kind: str) -> None:
    a, b = hosts(net)
    for namespace, number, element in zip((a, b), (0, 1), KINDS[kind], strict=True):
        tap(namespace, number, element)
    b.ping(INSIDE[0])
    # Runs of datagrams and super-frames, both ways.
    for options in ([], ["-R"]):
        done = b.iperf3(a, INSIDE[0], "-n", "2M", *options)
        assert done["end"]["sum_received"]["bytes"] > 256 << 10


@pytest.mark.needs("openvpn")
@pytest.mark.parametrize("server", ["tmelink", "openvpn"])
def test_servers_answer_from_the_address_that_was_asked(net: Net, server: str) -> None:
    """OpenVPN with --multihome is the control."""
    site = Site(net)
    a, b = hosts(net)
    identity = site.identity("server", "server")
    if server == "tmelink":
        a.tmelink(f"own: tme/host/tun/tap interface own0\nserver at own: {SERVER} --multihome {identity}\n")
    else:
        own = f"--dev tap0 --server 10.9.0.0 255.255.255.0 --dh none --proto udp4 --multihome {identity}"
        site.openvpn(a, own, until="Initialization Sequence Completed")
    b.tmelink(
        "own: tme/host/tun/tap interface own0\n"
        f"wire at own: {LINK} --client --nobind --proto udp4 --remote {SECOND} "
        f"{site.identity('client', 'client')}\n",
        until="set: address",
    )
    b.ping(INSIDE[0])


def test_an_address_that_is_taken_away_is_not_insisted_on(net: Net) -> None:
    """The peer floats, so that it hears the host at its other address."""
    a, b = hosts(net)
    tap(a, 0, f"{LINK} --proto udp4 --remote 10.1.0.2")
    tap(b, 1, f"{LINK} --proto udp4 --float --remote {SECOND}")
    b.ping(INSIDE[0])
    a.run("ip", "addr", "del", f"{SECOND}/24", "dev", "eth0")
    a.ping(INSIDE[1])


@pytest.mark.parametrize("version", ["4", "6"])
def test_a_tcp_client_whose_address_has_gone_calls_again_from_another(net: Net, version: str) -> None:
    """Long before --ping-restart: nothing of a connection from a lost address arrives any more."""
    a, b = net.pair()
    there, old, new, bits = (
        ("10.1.0.1", "10.1.0.2", "10.1.0.3", 24) if version == "4" else ("fd01::1", "fd01::2", "fd01::3", 64)
    )
    a.tmelink(
        f"own: tme/host/tun/tap interface own0 inet {INSIDE[0]}/24\n"
        f"link at own: {LINK} --proto tcp{version}-server --float\n"
    )
    client = b.tmelink(
        f"own: tme/host/tun/tap interface own0 inet {INSIDE[1]}/24\n"
        f"link at own: {LINK} --proto tcp{version}-client --remote {there} --connect-retry 1 1\n",
        until="link: up",
    )
    seen = len(client.lines)
    b.run("ip", "addr", "del", f"{old}/{bits}", "dev", "eth0")
    b.run("ip", "addr", "add", f"{new}/{bits}", "dev", "eth0", *(["nodad"] if version == "6" else []))
    client.expect(f"{old} has left this computer", since=seen)
    client.expect("link: up", since=seen)
    b.ping(INSIDE[0])
